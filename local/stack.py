"""The whole application on this machine: the embedded AWS, a W&B server, and the real template deployed into the one
for the other.
"""

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import urllib3
from botocore.config import Config

from local import ACCOUNT_ID, REGION
from operate.api_key import store_api_key
from operate.sam import overrides as sam_overrides

ROOT = Path(__file__).parent.parent
CLOUD_PYTHON = ROOT / ".venvs/cloud/bin/python"
LAMBDA_PYTHON = ROOT / ".venvs/lambda/bin/python"
SAM = ROOT / ".venvs/sam/bin/sam"
WANDB_PYTHON = ROOT / ".venvs/training/bin/python"

STACK_NAME = "wandb-launch"
PROFILE = "wandb-launch-local"
DEMO_KEY = "local" * 8

_BOOT_SECONDS = 30

Say = Callable[[str], None]


class WandbLogin(NamedTuple):
    """The W&B server to serve, and as whom."""

    url: str
    entity: str
    queue: str
    api_key: str

    @property
    def environment(self) -> dict[str, str]:
        """What the wandb client reads."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": self.api_key, "WANDB_ENTITY": self.entity}


class LocalCloud(NamedTuple):
    """The embedded AWS."""

    url: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What AWS clients read. The profile exists only here: without it, nothing can reach a real account."""
        return {"AWS_CONFIG_FILE": str(self.folder / "aws-config"), "AWS_PROFILE": PROFILE}

    def client(self, service: str) -> Any:
        """Return a boto3 client of it, for its owner."""
        return _client(self.url, service)

    def put_image(self, name: str, image: Mapping[str, Any]) -> str:
        """Make `repository:tag` an image that training jobs can run; return its address."""
        _http("PUT", f"{self.url}/_local/images/{name}", image)
        return f"{ACCOUNT_ID}.dkr.ecr.{REGION}.amazonaws.com/{name}"

    def put_faults(self, faults: list[dict[str, Any]]) -> None:
        """Have training jobs go wrong, by a part of their name: see `local/aws/training.py`."""
        _http("PUT", f"{self.url}/_local/faults", faults)

    def limit_pulls(self, limits: Mapping[str, int]) -> None:
        """Have public registries refuse so many of the next pulls of builds that have not signed in."""
        _http("PUT", f"{self.url}/_local/pull-limits", limits)

    def hold_builds(self, held: bool) -> None:
        """Keep builds that are started queued, as where the account runs as many as it may, or let them go on."""
        _http("PUT", f"{self.url}/_local/builds", {"held": held})

    def put_call_faults(self, faults: list[dict[str, Any]]) -> None:
        """Have calls of functions go wrong: see `local/aws/call_faults.py`."""
        _http("PUT", f"{self.url}/_local/call-faults", faults)

    def forget_denials(self) -> None:
        """Begin the list of denials anew, after one that was to be."""
        _http("DELETE", f"{self.url}/_local/denials")

    def get(self, what: str) -> Any:
        """Return what the embedded AWS says of itself: `denials`, for instance."""
        return _http("GET", f"{self.url}/_local/{what}")


@cache
def _client(url: str, service: str) -> Any:
    make: Any = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION).client
    return make(service, endpoint_url=url, config=Config(s3={"addressing_style": "path"}))


class Deployed(NamedTuple):
    """The application, deployed."""

    cloud: LocalCloud
    wandb: WandbLogin
    outputs: dict[str, str]


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def embedded_cloud(
    folder: Path,
    *,
    port: int,
    speed: float,
    iam: bool,
    container_tool: str = "auto",
    trust_ca: Path | None = None,
) -> Iterator[LocalCloud]:
    """Run the embedded AWS as a process of its own, with its files below `folder`, until the block ends.

    Images are built with the container tool, and git trusts the certificate `trust_ca` in builds.
    """
    port = port or free_port()
    cloud = LocalCloud(f"http://127.0.0.1:{port}", folder)
    (folder / "aws-config").write_text(
        f"[profile {PROFILE}]\nregion = {REGION}\nendpoint_url = {cloud.url}\n"
        "aws_access_key_id = test\naws_secret_access_key = test\n"
    )
    command = [
        CLOUD_PYTHON,
        "-m",
        "local.aws",
        "--port",
        port,
        "--data",
        folder / "aws",
        "--lambda-python",
        LAMBDA_PYTHON,
    ]
    options = ["--speed", speed, "--container-tool", container_tool, *(["--iam"] if iam else [])]
    options += ["--trust-ca", trust_ca] if trust_ca else []
    process = subprocess.Popen(
        [str(part) for part in (*command, *options)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'layers/launch_agent'}"},
        start_new_session=True,  # Ctrl-C is ours to handle: it ends the block, and the block ends the cloud
    )
    try:
        _wait_until_healthy(cloud, process)
        yield cloud
    finally:
        process.terminate()
        process.wait()


def _wait_until_healthy(cloud: LocalCloud, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _BOOT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            cloud.get("health")
        except urllib3.exceptions.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"The embedded AWS did not start at {cloud.url}; what it wrote is above.")


def deploy(
    cloud: LocalCloud,
    wandb: WandbLogin,
    *,
    max_jobs: int,
    grace_seconds: int,
    say: Say,
    stopped_run_timeout: int = 60,
    stack_name: str = STACK_NAME,
    more_parameters: Mapping[str, str] | None = None,
) -> Deployed:
    """Build the template and deploy it into the embedded AWS with the real SAM CLI; return its outputs."""
    config = cloud.folder / "launch-config.yaml"
    behaviour = {"max_jobs": max_jobs, "stopped_run_timeout": stopped_run_timeout}
    config.write_text(json.dumps({"entity": wandb.entity, "queues": [wandb.queue], **behaviour}))
    runtime = f"{sys.version_info.major}.{sys.version_info.minor}"
    machine = platform.machine()
    parameters = {
        "Architecture": "arm64" if machine in ("arm64", "aarch64") else "x86_64",
        "PythonRuntime": f"python{runtime}",
        "WandbApiKeySecretArn": store_api_key(cloud.client("secretsmanager"), stack_name, wandb.api_key),
        "WandbBaseUrl": wandb.url,
        "WandbInitGraceSeconds": str(grace_seconds),
        **(more_parameters or {}),
    }
    overrides = sam_overrides(parameters)
    environment = {
        "LAUNCH_CONFIG": str(config),
        "LAYER_PYTHON": runtime,
        "LAYER_PLATFORMS": f"manylinux2014_{machine}",
    }
    with timed("building the template with sam build", say):
        _sam(cloud, ["build", "--build-dir", str(cloud.folder / "build"), *overrides], environment)
    with timed("deploying it with sam deploy", say):
        deploy_built(cloud, overrides, stack_name=stack_name)
    (stack,) = cloud.client("cloudformation").describe_stacks(StackName=stack_name)["Stacks"]
    return Deployed(cloud, wandb, {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]})


def deploy_built(cloud: LocalCloud, overrides: Sequence[str] = (), *, stack_name: str = STACK_NAME) -> None:
    """Deploy what `sam build` has left in the cloud's folder; parameters that are not overridden stay."""
    built = str(cloud.folder / "build/template.yaml")
    _sam(cloud, ["deploy", "--template-file", built, "--stack-name", stack_name, *overrides], {})


def _sam(cloud: LocalCloud, arguments: list[str], environment: Mapping[str, str]) -> str:
    """Run the SAM CLI with an environment of its own; return what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAM_", "WANDB_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    finished = subprocess.run(
        [str(SAM), *arguments, "--config-file", str(ROOT / "samconfig.toml"), "--config-env", "local"],
        cwd=ROOT,
        env={
            **kept,
            **cloud.environment,
            "PATH": path,
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "0.5",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise SystemExit(f"sam {arguments[0]} failed:\n{finished.stdout}{finished.stderr}")
    return finished.stdout


@contextmanager
def timed(what: str, say: Say) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    started = time.monotonic()
    say(f"{what} ...")
    yield
    say(f"{what}: {time.monotonic() - started:.1f} s")


def _http(method: str, url: str, body: Any = None) -> Any:
    answer = urllib3.request(method, url, json=body, retries=False, timeout=5.0)
    if answer.status >= 300:
        raise SystemExit(f"{method} {url}: HTTP {answer.status} {answer.data.decode(errors='replace')}")
    return json.loads(answer.data or b"null")


def remove(folder: Path) -> None:
    """Remove a folder and what is in it; it may be gone."""
    shutil.rmtree(folder, ignore_errors=True)
