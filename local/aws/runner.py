"""Runs a training container's command under the `/opt/ml` contract.

An image is in the registry, or is a description stored here: the command, environment and folder of a plain process.
For a described image, `/opt/ml` in arguments and environment is replaced with the job's own folder, and SM_MODEL_DIR
and similar variables point into it
(https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html).
"""

import hashlib
import json
import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local import ACCOUNT_ID, REGION
from local.aws import seams
from local.aws.containers import Containers, Run

_OWN_REGISTRY = f"{ACCOUNT_ID}.dkr.ecr.{REGION}.amazonaws.com/"
_GRACE_SECONDS = 5.0
"""How long a container may take to end after SIGTERM; SageMaker allows 120 s."""


class NoSuchImage(Exception):
    """The address is not in the account's own registry."""


class Images:
    """The described images, by repository and tag, and the container tool for those in the registry."""

    def __init__(self, folder: Path, containers: Containers, url: str) -> None:
        """Keep the descriptions in this folder. ECR's addresses of their configurations begin with `url`."""
        self._folder, self.containers, self._url = folder, containers, url
        self._configs: dict[str, dict[str, Any]] = {}
        """The configurations that ECR has given addresses of, by a digest that cannot be guessed."""
        self._salt = secrets.token_hex(16)

    def install(self) -> None:
        """Let ECR show the configurations of described images."""
        seams.wrap("ministack.services.ecr:_batch_get_image", self._batch_get_image)
        seams.wrap("ministack.services.ecr:_get_download_url_for_layer", self._download_url)

    def _batch_get_image(self, old: Any, data: dict[str, Any]) -> Any:
        (image,) = data["imageIds"]
        described = self.get(f"{_OWN_REGISTRY}{data['repositoryName']}:{image.get('imageTag')}")
        if described is None:
            return old(data)
        config = {"config": {"Entrypoint": described.get("entrypoint"), "Cmd": described.get("cmd")}}
        digest = f"sha256:{hashlib.sha256(f'{self._salt}{config}'.encode()).hexdigest()}"
        self._configs[digest] = config
        manifest = json.dumps({"schemaVersion": 2, "config": {"digest": digest}})
        found = {"repositoryName": data["repositoryName"], "imageId": image, "imageManifest": manifest}
        return seams.use("ministack.core.responses:json_response")({"images": [found], "failures": []})

    def _download_url(self, _: Any, data: dict[str, Any]) -> Any:
        url = f"{self._url}/_local/image-configs/{data['layerDigest']}"
        answer = {"downloadUrl": url, "layerDigest": data["layerDigest"]}
        return seams.use("ministack.core.responses:json_response")(answer)

    def config(self, digest: str) -> dict[str, Any] | None:
        """Return the configuration of a described image, by its digest."""
        return self._configs.get(digest)

    def put(self, name: str, image: dict[str, Any]) -> None:
        """Store an image: {"entrypoint": [...], "cmd": [...], "env": {...}, "working_dir": "..."}."""
        self._folder.mkdir(exist_ok=True)
        self._path(name).write_text(json.dumps(image))

    def get(self, address: str) -> dict[str, Any] | None:
        """Return an address's description, if it has one. Raises NoSuchImage for an address in another registry."""
        repository, reference = in_own_registry(address)
        path = self._path(f"{repository}:{reference}")
        return dict(json.loads(path.read_text())) if path.exists() else None

    def _path(self, name: str) -> Path:
        return self._folder / (re.sub(r"[^A-Za-z0-9._@-]", "+", name) + ".json")


def run_of(image: dict[str, Any], command: list[str], environment: dict[str, str], opt_ml: Path) -> Run:
    """Return how to run a described image's command: as a plain process on this machine."""
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

    Raises NoSuchImage for an address in another registry.
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
    """A running container: one process, and all processes that it starts."""

    def __init__(self, run: Run) -> None:
        """Start the container. Raises OSError if the command cannot be run."""
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
        """Call `on_line` with each line of output; return the exit code when the container has ended."""
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
        """Send SIGTERM and, after the grace period, SIGKILL."""
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
    """Return the command that SageMaker runs: the job's own, or the image's with `train`."""
    entry_point = specification.get("ContainerEntrypoint") or image.get("entrypoint") or []
    arguments = specification.get("ContainerArguments")
    if arguments is None:
        arguments = [] if specification.get("ContainerEntrypoint") else ["train"]
    return [*entry_point, *arguments]
