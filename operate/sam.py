"""The AWS SAM CLI: builds the application and deploys it."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from launch_agent.errors import InvalidLaunchConfig
from launch_agent.run_queue.launch_config import LaunchConfig, parse_launch_config
from operate.errors import CannotOperate
from operate.template import ROOT

_SAM = ROOT / ".venvs/sam/bin/sam"
_CONFIG = ROOT / "samconfig.toml"


def read_launch_config(path: Path) -> LaunchConfig:
    """Read a launch-config.yaml. Raises CannotOperate if it cannot be read or is invalid."""
    try:
        return parse_launch_config(path.read_text())
    except (InvalidLaunchConfig, OSError, UnicodeDecodeError) as error:
        raise CannotOperate(f"{path}: {error}") from None


def build(launch_config: Path, runtime: str) -> None:
    """Build the application for a Lambda runtime, with a launch-config.yaml. Raises CannotOperate if that fails."""
    print("Building the application ...", flush=True)
    variables = {"LAUNCH_CONFIG": str(launch_config), "LAYER_PYTHON": runtime.removeprefix("python")}
    _sam(["build", "--no-cached"], variables, quietly=True)


def deploy(stack: str, region: str, parameters: Mapping[str, str]) -> None:
    """Deploy the built application. Raises CannotOperate if that fails; SAM prints why.

    The stack's files are in a folder of SAM's bucket: without one, `delete` would delete those of other stacks, which a
    rollback needs.
    """
    where = ["--stack-name", stack, "--s3-prefix", stack, "--region", region, "--no-confirm-changeset"]
    try:
        _sam(["deploy", *where, *overrides(parameters)])
    except KeyboardInterrupt:
        print(f"\nCloudFormation continues if it has begun to change {stack}. When it has ended, deploy again.")
        raise


def overrides(parameters: Mapping[str, str]) -> list[str]:
    """Return SAM's arguments for parameters; values may contain quotes and backslashes."""
    escaped = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in parameters.items()}
    return ["--parameter-overrides", *(f'{name}="{value}"' for name, value in escaped.items())]


def delete(stack: str, region: str) -> None:
    """Delete a stack, and the files that SAM uploaded for it. Raises CannotOperate if that fails; SAM prints why."""
    _sam(["delete", "--stack-name", stack, "--region", region, "--no-prompts"])


def _sam(arguments: list[str], variables: Mapping[str, str] | None = None, *, quietly: bool = False) -> None:
    """Run SAM. Its output is shown at once or, if `quietly`, only when it fails."""
    own = {"SAM_CLI_TELEMETRY": "0", "PATH": os.pathsep.join([str(ROOT / ".venv/bin"), os.environ.get("PATH", "")])}
    environment = {**(variables or {}), **os.environ, **own}
    command = [str(_SAM), *arguments, "--config-file", str(_CONFIG)]
    output = subprocess.PIPE if quietly else None
    finished = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=output, stderr=output and subprocess.STDOUT, text=True, check=False
    )
    if finished.returncode:
        print(finished.stdout or "", end="")
        raise CannotOperate(f"sam {arguments[0]} failed; its output is above.")
