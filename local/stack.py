"""The whole application on this machine: the real template, deployed into the embedded AWS for a W&B server."""

import json
import os
import platform
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import urllib3
import yaml
from botocore.config import Config
from rich.console import Console

from local import ACCOUNT_ID, REGION
from local.loopback import listening
from local.progress import timed
from local.signals import held_back
from operate.api_key import store_api_key
from operate.sam import overrides as sam_overrides

ROOT = Path(__file__).parent.parent
CLOUD_PYTHON = ROOT / ".venvs/cloud/bin/python"
LAMBDA_PYTHON = ROOT / ".venvs/lambda/bin/python"
SAM = ROOT / ".venvs/sam/bin/sam"
WANDB_PYTHON = ROOT / ".venvs/training/bin/python"

STACK_NAME = "wandb-launch"
PROFILE = "wandb-launch-local"
DEMO_KEY = secrets.token_hex(20)
"""The API key of this process's own W&B server."""

_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_BOOT_SECONDS = 60
_END_SECONDS = 30


class WandbLogin(NamedTuple):
    """The W&B server, entity and queue to use, and the API key."""

    url: str
    entity: str
    queue: str
    api_key: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables for the wandb client."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": self.api_key, "WANDB_ENTITY": self.entity}


class LocalCloud(NamedTuple):
    """The embedded AWS, and its owner's key."""

    url: str
    folder: Path
    access_key: str
    secret_key: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables for AWS clients. The profile exists only here, so no client can reach a real account."""
        return {"AWS_CONFIG_FILE": str(self.folder / "aws-config"), "AWS_PROFILE": PROFILE}

    def client(self, service: str) -> Any:
        """Return a boto3 client with the owner's keys."""
        return _client(self, service)

    def put_image(self, name: str, image: Mapping[str, Any]) -> str:
        """Store the image description as `repository:tag`, for training jobs to run; return its address."""
        self._ask("PUT", f"images/{name}", image)
        return f"{ACCOUNT_ID}.dkr.ecr.{REGION}.amazonaws.com/{name}"

    def put_faults(self, faults: list[dict[str, Any]]) -> None:
        """Plan faults for training jobs, by a part of their name: see `local/aws/training.py`."""
        self._ask("PUT", "faults", faults)

    def limit_pulls(self, limits: Mapping[str, int]) -> None:
        """Make public registries refuse this many of the builds' next anonymous pulls."""
        self._ask("PUT", "pull-limits", limits)

    def hold_builds(self, held: bool) -> None:
        """Keep new builds queued, as if the account's limit were reached, or let them continue."""
        self._ask("PUT", "builds", {"held": held})

    def put_quotas(self, quotas: Mapping[str, Mapping[str, float]]) -> None:
        """Set quotas of the account, by service and name."""
        self._ask("PUT", "quotas", quotas)

    def put_call_faults(self, faults: list[dict[str, Any]]) -> None:
        """Plan faults for the functions' calls: see `local/aws/call_faults.py`."""
        self._ask("PUT", "call-faults", faults)

    def behave(self, **switches: Any) -> None:
        """Change switches of its behaviour: see `local/aws/behaviour.py`."""
        self._ask("PUT", "behaviour", switches)

    def forget_denials(self) -> None:
        """Clear the list of denials, after an expected one."""
        self._ask("DELETE", "denials")

    def get(self, what: str) -> Any:
        """Return one of the embedded AWS's reports, for example `denials`."""
        return self._ask("GET", what)

    def _ask(self, method: str, what: str, body: Any = None) -> Any:
        url, headers = f"{self.url}/_local/{what}", {"Authorization": f"Bearer {self.secret_key}"}
        answer = urllib3.request(method, url, json=body, headers=headers, retries=False, timeout=5.0)
        if answer.status >= 300:
            raise SystemExit(f"{method} {url}: HTTP {answer.status} {answer.data.decode(errors='replace')}")
        return json.loads(answer.data or b"null")


@cache
def _client(cloud: LocalCloud, service: str) -> Any:
    make: Any = boto3.Session(cloud.access_key, cloud.secret_key, region_name=REGION).client
    return make(service, endpoint_url=cloud.url, config=Config(s3={"addressing_style": "path"}))


class Deployed(NamedTuple):
    cloud: LocalCloud
    wandb: WandbLogin
    outputs: dict[str, str]


@contextmanager
def embedded_cloud(
    folder: Path, *, speed: float, port: int = 0, container_tool: str = "auto", trust_ca: Path | None = None
) -> Iterator[LocalCloud]:
    """Run the embedded AWS in its own process, with its files in `folder`, until the block ends.

    Images are built with the container tool, and git trusts the certificate `trust_ca` in builds. Raises SystemExit if
    the port is in use or the embedded AWS does not start.
    """
    with listening(port) as listener:
        cloud = _new_cloud(f"http://127.0.0.1:{listener.getsockname()[1]}", folder)
        command = [CLOUD_PYTHON, "-m", "local.aws", "--socket", listener.fileno(), "--data", folder / "aws"]
        command += ["--owner", folder / "aws-config", "--lambda-python", LAMBDA_PYTHON]
        command += ["--speed", speed, "--container-tool", container_tool]
        command += ["--trust-ca", trust_ca] if trust_ca else []
        with _started(
            [str(part) for part in command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'layers/launch_agent'}"},
            stdin=subprocess.PIPE,  # it ends when this is closed, even if we are killed
            pass_fds=[listener.fileno()],
        ) as process:
            listener.close()
            _wait_until_healthy(cloud, process)
            yield cloud


def _new_cloud(url: str, folder: Path) -> LocalCloud:
    """Create the owner's key, and write the config file for AWS clients."""
    access_key = "AKIA" + "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(16))
    cloud = LocalCloud(url, folder, access_key, secrets.token_urlsafe(30))
    path = folder / "aws-config"
    path.touch(mode=0o600)
    path.write_text(
        f"[profile {PROFILE}]\nregion = {REGION}\nendpoint_url = {url}\n"
        f"aws_access_key_id = {cloud.access_key}\naws_secret_access_key = {cloud.secret_key}\n"
    )
    return cloud


@contextmanager
def _started(command: list[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a process until the block ends; then terminate it, and kill its remaining processes."""
    process: subprocess.Popen[Any] | None = None
    try:
        with held_back():
            # The new session keeps the terminal's Ctrl-C from the process; we get it, and end the block.
            process = subprocess.Popen(command, start_new_session=True, **options)
        yield process
    finally:
        if process:
            with process:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_END_SECONDS)
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def _wait_until_healthy(cloud: LocalCloud, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + _BOOT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            cloud.get("health")
        except urllib3.exceptions.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"The embedded AWS did not start at {cloud.url}; its output is above.")


def deploy(
    cloud: LocalCloud,
    wandb: WandbLogin,
    *,
    max_jobs: int,
    grace_seconds: int,
    console: Console,
    queues: Sequence[str] = (),
    stopped_run_timeout: int = 60,
    stack_name: str = STACK_NAME,
    more_parameters: Mapping[str, str] | None = None,
    source: Path = ROOT,
) -> Deployed:
    """Build the template and deploy it into the embedded AWS with the real SAM CLI.

    `queues` are the queues that it serves, if they are more than that of `wandb`.
    `source` is the application's folder, which may hold another version.
    """
    config = cloud.folder / "launch-config.yaml"
    behaviour = {"max_jobs": max_jobs, "stopped_run_timeout": stopped_run_timeout}
    config.write_text(json.dumps({"entity": wandb.entity, "queues": [*queues] or [wandb.queue], **behaviour}))
    parameters = {
        "Architecture": "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64",
        "PythonRuntime": f"python{_PYTHON}",
        "WandbApiKeySecretArn": store_api_key(cloud.client("secretsmanager"), stack_name, wandb.api_key),
        "WandbBaseUrl": wandb.url,
        "WandbInitGraceSeconds": str(grace_seconds),
        **(more_parameters or {}),
    }
    overrides = sam_overrides(parameters)
    environment = {
        "LAUNCH_CONFIG": str(config),
        **layer_variables(),
        "LAYER_PLATFORMS": f"manylinux2014_{platform.machine()}",  # of 0.1.0. Delete with tests/upgrade/0.1.0.
    }
    with timed("building the template with sam build", console):
        _sam(cloud, ["build", "--build-dir", str(cloud.folder / "build"), *overrides], environment, folder=source)
        _rewrite_as_json(cloud.folder / "build/template.yaml")
    with timed("deploying it with sam deploy", console):
        deploy_built(cloud, overrides, stack_name=stack_name)
    (stack,) = cloud.client("cloudformation").describe_stacks(StackName=stack_name)["Stacks"]
    return Deployed(cloud, wandb, {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]})


def _rewrite_as_json(template: Path) -> None:
    """Rewrite a built template: SAM reads it several times, and takes seconds to read it as YAML."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    template.write_text(json.dumps(yaml.load(template.read_text(), loader)))  # noqa: S506 - a safe loader


def deploy_built(cloud: LocalCloud, overrides: Sequence[str] = (), *, stack_name: str = STACK_NAME) -> None:
    """Deploy the result of `sam build` in the cloud's folder; parameters without an override stay unchanged."""
    built = str(cloud.folder / "build/template.yaml")
    _sam(cloud, ["deploy", "--template-file", built, "--stack-name", stack_name, *overrides], {})


def layer_variables() -> dict[str, str]:
    """Return the variables that make a build for this machine and its Python, because functions run here."""
    return {"LAYER_PYTHON": _PYTHON, "LAYER_TARGETS": _target_of_wheels()}


def _target_of_wheels() -> str:
    """Return uv's name for this machine."""
    machine = "aarch64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
    return f"{machine}-apple-darwin" if sys.platform == "darwin" else f"{machine}-manylinux2014"


def _sam(cloud: LocalCloud, arguments: list[str], environment: Mapping[str, str], *, folder: Path = ROOT) -> str:
    """Run the SAM CLI in a folder, with a clean environment; return its output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAM_", "WANDB_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return printed_by(
        [str(SAM), *arguments, "--config-file", str(ROOT / "samconfig.toml"), "--config-env", "local"],
        folder=folder,
        environment={
            **kept,
            **cloud.environment,
            "PATH": path,
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "0.5",
            **environment,
        },
    )


def printed_by(command: list[str], *, folder: Path, environment: Mapping[str, str], given: str = "") -> str:
    """Run a program to its end, and kill its remaining processes; return its output. Raises SystemExit if it fails."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with _started(command, cwd=folder, env=environment, text=True, **pipes) as process:
        output, errors = process.communicate(given)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(os.path.basename, command[:3]))} failed:\n{output}{errors}")
    return str(output)
