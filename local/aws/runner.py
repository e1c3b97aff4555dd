"""Runs the command of a training container under the `/opt/ml` contract.

An image is one of the registry, or a description that was put here under its name: how its container starts, with which
environment, in which folder, as a plain process. `/opt/ml` in arguments and environment of such a one stands for a
folder of the job's own, which SM_MODEL_DIR and its like name too
(https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html).
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

from local import ACCOUNT_ID, REGION
from local.aws.containers import Containers, Run

_OWN_REGISTRY = f"{ACCOUNT_ID}.dkr.ecr.{REGION}.amazonaws.com/"
_GRACE_SECONDS = 5.0
"""How long a container may take to end after SIGTERM; SageMaker gives 120 s."""


class NoSuchImage(Exception):
    """There is no such image in the account's own registry."""


class Images:
    """The images that are described here, by repository and tag, and what runs those of the registry."""

    def __init__(self, folder: Path, containers: Containers) -> None:
        """Take the folder that holds the descriptions."""
        self._folder, self.containers = folder, containers

    def put(self, name: str, image: dict[str, Any]) -> None:
        """Store an image: {"entrypoint": [...], "cmd": [...], "env": {...}, "working_dir": "..."}."""
        self._folder.mkdir(exist_ok=True)
        self._path(name).write_text(json.dumps(image))

    def get(self, address: str) -> dict[str, Any] | None:
        """Return the description put under an address; None where there is none. Raises NoSuchImage."""
        repository, reference = in_own_registry(address)
        path = self._path(f"{repository}:{reference}")
        return dict(json.loads(path.read_text())) if path.exists() else None

    def _path(self, name: str) -> Path:
        return self._folder / (re.sub(r"[^A-Za-z0-9._@-]", "+", name) + ".json")


def run_of(image: dict[str, Any], command: list[str], environment: dict[str, str], opt_ml: Path) -> Run:
    """Return how a described image's command is run: as a plain process of this machine."""
    own = {name: str(value).replace("/opt/ml", str(opt_ml)) for name, value in environment.items()}
    folders = {
        "SM_CHECKPOINT_DIR": "checkpoints",
        "SM_INPUT_DIR": "input",
        "SM_MODEL_DIR": "model",
        "SM_OUTPUT_DIR": "output",
    }
    return Run(
        [part.replace("/opt/ml", str(opt_ml)) for part in command],
        {
            "PATH": os.defpath,
            "HOME": str(opt_ml),
            "TMPDIR": str(opt_ml),
            **image.get("env", {}),
            **{name: str(opt_ml / folder) for name, folder in folders.items()},
            **own,
        },
        Path(image.get("working_dir") or opt_ml),
    )


def in_own_registry(address: str) -> tuple[str, str]:
    """Return the repository, and the tag or digest, of an address in the account's own registry.

    Raises NoSuchImage for an address elsewhere.
    """
    if not address.startswith(_OWN_REGISTRY):
        raise NoSuchImage(address)
    name = address.removeprefix(_OWN_REGISTRY)
    repository, _, digest = name.partition("@")
    if digest:
        return repository, digest
    repository, _, tag = name.partition(":")
    return repository, tag or "latest"


class Container:
    """A running container: one process, and whatever it starts."""

    def __init__(self, run: Run) -> None:
        """Start it. Raises OSError when the command cannot be run."""
        self._afterwards, self._environment = run.afterwards, run.environment
        self.process = subprocess.Popen(
            run.command,
            cwd=run.folder,
            env=run.environment,
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
        code = self.process.wait()
        for command in self._afterwards:
            subprocess.run(command, capture_output=True, env=self._environment, check=False)
        return code

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
