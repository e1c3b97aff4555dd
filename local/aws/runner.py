"""Runs the command of a training container as a process of this machine, under the `/opt/ml` contract.

An image is a description that was put here under its name: how its container starts, with which environment, in which
folder. `/opt/ml` in arguments and environment stands for a folder of the job's own, which SM_MODEL_DIR and its like
name too (https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html).
"""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local.aws.cloud import ACCOUNT_ID, REGION

_OWN_REGISTRY = f"{ACCOUNT_ID}.dkr.ecr.{REGION}.amazonaws.com/"
_GRACE_SECONDS = 5.0
"""How long a container may take to end after SIGTERM; SageMaker gives 120 s."""


class NoSuchImage(Exception):
    """The registry has no such image."""


class Images:
    """The images of this machine, by repository and tag or digest."""

    def __init__(self, folder: Path) -> None:
        """Take the folder that holds their descriptions."""
        self._folder = folder

    def put(self, name: str, image: dict[str, Any]) -> None:
        """Store an image: {"entrypoint": [...], "cmd": [...], "env": {...}, "working_dir": "..."}."""
        self._folder.mkdir(exist_ok=True)
        self._path(name).write_text(json.dumps(image))

    def get(self, address: str) -> dict[str, Any]:
        """Return the image at an address of the account's own registry. Raises NoSuchImage."""
        path = self._path(address.removeprefix(_OWN_REGISTRY))
        if not address.startswith(_OWN_REGISTRY) or not path.exists():
            raise NoSuchImage(address)
        return dict(json.loads(path.read_text()))

    def _path(self, name: str) -> Path:
        return self._folder / (re.sub(r"[^A-Za-z0-9._@-]", "+", name) + ".json")


class Container:
    """A running container: one process, and whatever it starts."""

    def __init__(self, image: dict[str, Any], command: list[str], environment: dict[str, str], opt_ml: Path) -> None:
        """Start it. Raises OSError when the command cannot be run."""
        own = {name: str(value).replace("/opt/ml", str(opt_ml)) for name, value in environment.items()}
        folders = {
            "SM_CHECKPOINT_DIR": "checkpoints",
            "SM_INPUT_DIR": "input",
            "SM_MODEL_DIR": "model",
            "SM_OUTPUT_DIR": "output",
        }
        self.process = subprocess.Popen(
            [part.replace("/opt/ml", str(opt_ml)) for part in command],
            cwd=image.get("working_dir") or opt_ml,
            env={
                "PATH": os.defpath,
                "HOME": str(opt_ml),
                "TMPDIR": str(opt_ml),
                **image.get("env", {}),
                **{name: str(opt_ml / folder) for name, folder in folders.items()},
                **own,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def wait(self, on_line: Callable[[str], None]) -> int:
        """Hand over each line it prints; return its exit code when it has ended."""
        output = self.process.stdout
        if output is not None:
            for line in output:
                on_line(line)
            output.close()
        return self.process.wait()

    def stop(self) -> None:
        """Ask it to end; after the grace period, end it."""
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return


def command_of(image: dict[str, Any], specification: dict[str, Any]) -> list[str]:
    """Return what SageMaker runs: the image's command with `train`, unless the job gives its own."""
    entry_point = specification.get("ContainerEntrypoint") or image.get("entrypoint") or []
    arguments = specification.get("ContainerArguments")
    if arguments is None:
        arguments = [] if specification.get("ContainerEntrypoint") else ["train"]
    return [*entry_point, *arguments]
