"""Creates the job of `make verify` and queues a run of it. Runs in the wandb client's environment.

stdin: the arguments of `launch_add`, as JSON. The last line of stdout: the id of the run queue item.
"""

import json
import subprocess
import sys
from pathlib import Path

import wandb
from wandb.sdk.launch import launch_add

_FOLDER = Path(__file__).parent / "job"
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def main() -> None:
    """Create the job, check that it exists, and queue a run of it."""
    asked = json.load(sys.stdin)
    create = [sys.executable, "-m", "wandb", "job", "create", "code", str(_FOLDER), "-n", "verify", "-r", _PYTHON]
    where = ["-e", asked["entity"], "-p", asked["project"], "-E", "python main.py"]
    subprocess.run([*create, *where], check=True, stdout=sys.stderr)
    job = f"{asked['entity']}/{asked['project']}/verify:latest"
    # `wandb job create` exits with 0 even if it created no job.
    wandb.Api().artifact(job, type="job")
    print(launch_add(job=job, **asked).id)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001 - the caller shows any error of the client
        sys.exit(f"{type(error).__name__}: {error}")
