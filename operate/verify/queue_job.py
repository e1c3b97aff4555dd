"""Run in the environment of the wandb client: make the job of `make verify`, and queue a run of it.

stdin: what `launch_add` takes, as JSON. The last line of stdout: the id of the run queue item.
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
    """Make the job, see that it is there, and queue it."""
    asked = json.load(sys.stdin)
    create = [sys.executable, "-m", "wandb", "job", "create", "code", str(_FOLDER), "-n", "verify", "-r", _PYTHON]
    where = ["-e", asked["entity"], "-p", asked["project"], "-E", "python main.py"]
    subprocess.run([*create, *where], check=True, stdout=sys.stderr)
    job = f"{asked['entity']}/{asked['project']}/verify:latest"
    # The command line exits with 0 where it has made no job, too.
    wandb.Api().artifact(job, type="job")
    print(launch_add(job=job, **asked).id)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001 - whatever the client raises is said in its words
        sys.exit(f"{type(error).__name__}: {error}")
