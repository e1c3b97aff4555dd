"""The functions and layers as they are deployed, built in a folder."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.documents import ROOT
from tests.handlers import variables_of

_LAYERS = {"LaunchAgentLayer": "layers/launch_agent", "LaunchConfigLayer": "layers/config"}
_NUMBERS = {
    "CAPACITY_WAIT_HOURS": "24",
    "POLL_INTERVAL_SECONDS": "15",
    "TRAINING_IN_VPC": "false",
    "WANDB_INIT_GRACE_SECONDS": "60",
}
_QUEUE = '{"RoleArn": "role", "OutputDataConfig": {"S3OutputPath": "s3://bucket/path"}}'


def build_layers(folder: Path, *, for_this_machine: bool) -> None:
    """Build the layers with their Makefiles, for this machine and Python or, as they are deployed, for Lambda's."""
    variables = {}
    if for_this_machine:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        machine = "aarch64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
        target = f"{machine}-apple-darwin" if sys.platform == "darwin" else f"{machine}-manylinux2014"
        variables = {"LAYER_PYTHON": version, "LAYER_TARGETS": target}
    path = os.pathsep.join([str(ROOT / ".venv/bin"), os.environ["PATH"]])
    for layer, source in _LAYERS.items():
        artifacts = {**variables, "ARTIFACTS_DIR": str(folder / layer)}
        command = [
            "make",
            "-s",
            "-C",
            str(ROOT / source),
            f"build-{layer}",
            *(f"{k}={v}" for k, v in artifacts.items()),
        ]
        subprocess.run(command, check=True, env={**os.environ, "PATH": path}, stdout=sys.stderr)


def layers_in(folder: Path) -> list[Path]:
    """Return the folders that Lambda puts on the import path."""
    return [folder / layer / "python" for layer in _LAYERS]


def environment_of(function: str, layers: Sequence[Path]) -> dict[str, str]:
    """Return the environment variables of a function, with which its module `app` is imported."""
    paths = [ROOT / "functions" / function, *layers]
    return {
        **{name: _NUMBERS.get(name, "bench") for name in variables_of(function)},
        "QUEUE_CONFIGURATION": _QUEUE,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "us-east-1",
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
    }
