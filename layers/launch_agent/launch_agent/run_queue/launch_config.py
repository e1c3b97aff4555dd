"""launch-config.yaml: the reference agent's file, with its keys, defaults and rules.

Keys that mean nothing without a server are taken with a warning, so that the file can be brought as it is.
https://docs.wandb.ai/guides/launch/setup-agent-advanced describes them.
"""

import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from launch_agent.errors import InvalidLaunchConfig
from launch_agent.model import Model, faults_of
from launch_agent.run_queue.items import Slot

FILE_NAME = "launch-config.yaml"

Platform = Literal["linux/amd64", "linux/arm64"]

_ECR_URI = re.compile(
    r"(https://)?(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?(/(?P<repository>[^:@]+))?(?P<tag>[:@].*)?"
)
_ECR_ARN = re.compile(r"arn:aws[a-z-]*:ecr:(?P<region>[^:]+):(?P<account>\d+):repository/(?P<repository>.+)")
_STORES = re.compile(r"s3://.+|gs://.+|https://[^/]+\.blob\.core\.windows\.net/.+")
_ECR_EXAMPLE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/launch"


def _registry_uri(uri: str) -> str:
    """Return an ECR repository's address without a scheme. Raises ValueError that says what to write instead."""
    arn = _ECR_ARN.fullmatch(uri)
    if arn:
        address = "{account}.dkr.ecr.{region}.amazonaws.com/{repository}".format(**arn.groupdict())
        raise ValueError(f"that is the repository's ARN, and its address is wanted. Write {address}")
    if re.search(r"\.ecr\.[a-z0-9-]+\.amazonaws\.com", uri) and ".dkr." not in uri:
        raise ValueError(f"the host of an ECR repository has .dkr.ecr. in it. Write for example {_ECR_EXAMPLE}")
    match = _ECR_URI.fullmatch(uri)
    if not match:
        raise ValueError(f"SageMaker pulls images from Amazon ECR only. Write for example {_ECR_EXAMPLE}")
    if match["tag"]:
        raise ValueError(f"images are tagged by their contents. Leave {match['tag']} out")
    if not match["repository"]:
        raise ValueError(f"the name of the repository is missing. Write for example {_ECR_EXAMPLE}")
    return uri.removeprefix("https://")


def _store(uri: str) -> str:
    if not _STORES.fullmatch(uri):
        raise ValueError("a bucket is wanted. Write for example s3://my-bucket/build-contexts")
    return uri


RegistryUri = Annotated[str, AfterValidator(_registry_uri)]


class Environment(Model):
    """The `environment` block: where the agent's cloud is. Here the stack's own region holds."""

    model_config = ConfigDict(frozen=True, extra="allow")  # the reference warns of other keys, so do we

    type: Literal["aws"] | None = None
    region: str


class Registry(Model):
    """The `registry` block: where built images go, the older way to say `builder.destination`."""

    model_config = ConfigDict(frozen=True, extra="allow")  # each registry has keys of its own

    type: Literal["ecr"] | None = None
    uri: RegistryUri | None = None


class Builder(Model):
    """The `builder` block. `docker` and `kaniko` both mean AWS CodeBuild here, `noop` means existing images only."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    type: Literal["docker", "kaniko", "noop"] | None = None
    destination: RegistryUri | None = None
    platform: Platform | None = None
    build_context_store: Annotated[str, AfterValidator(_store)] | None = Field(
        alias="build-context-store", default=None
    )
    build_job_name: str | None = Field(alias="build-job-name", default=None)
    secret_name: str | None = Field(alias="secret-name", default=None)
    secret_key: str | None = Field(alias="secret-key", default=None)
    kaniko_image: str | None = Field(alias="kaniko-image", default=None)


class LaunchConfig(Model):
    """A parsed launch-config.yaml. A limit of -1 means no limit."""

    entity: str | None = None
    queues: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    max_jobs: int = Field(default=1, ge=-1)
    max_schedulers: int = Field(default=1, ge=-1)
    secure_mode: bool = False
    stopped_run_timeout: int = Field(default=60, ge=0)
    verbosity: int = Field(default=0, ge=0, le=2)
    environment: Environment | None = None
    registry: Registry | None = None
    builder: Builder | None = None

    @property
    def fingerprint(self) -> str:
        """Change if and only if the configuration changes: a changed one is registered with W&B anew."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    def limit(self, slot: Slot) -> int:
        """Return how many runs with this kind of slot may be open; -1 for no limit."""
        return self.max_jobs if slot is Slot.JOB else self.max_schedulers

    @property
    def image_destination(self) -> str | None:
        """Where built images are to go; None for the stack's own repository."""
        return (self.builder and self.builder.destination) or (self.registry and self.registry.uri) or None

    @property
    def is_noop(self) -> bool:
        """Whether no images are to be built."""
        return self.builder is not None and self.builder.type == "noop"

    @property
    def platform(self) -> Platform:
        """The platform to build images for, unless a queue names another."""
        return (self.builder and self.builder.platform) or "linux/amd64"

    def warnings(self) -> Iterator[str]:
        """Say of each key that has no effect here why it has none."""
        for key, why in _WITHOUT_EFFECT.items():
            if self.builder and getattr(self.builder, key.replace("-", "_")) is not None:
                yield f"builder.{key} has no effect: {why}."
        if self.environment:
            yield from (
                f"environment.{key} is not a key the launch agent knows; it has no effect."
                for key in self.environment.model_extra or {}
            )


_WITHOUT_EFFECT = {
    "build-context-store": "build contexts go through the stack's own bucket",
    "build-job-name": "AWS CodeBuild names the builds",
    "secret-name": "AWS CodeBuild works with a role of its own",
    "secret-key": "AWS CodeBuild works with a role of its own",
    "kaniko-image": "images are built by AWS CodeBuild, not by kaniko",
}

_EXAMPLES = {
    "queues": "queues: [sagemaker]",
    "max_jobs": "max_jobs: 4, or -1 for no limit",
    "max_schedulers": "max_schedulers: 1, or -1 for no limit",
    "stopped_run_timeout": "stopped_run_timeout: 60",
    "environment.region": "environment: {type: aws, region: us-east-1}",
    "environment.type": "environment: {type: aws, region: us-east-1}",
    "registry.type": "registry: {type: ecr}",
    "builder.type": "builder: {type: docker}, or {type: noop} for existing images only",
    "builder.platform": "builder: {platform: linux/amd64}",
}


def parse_launch_config(text: str) -> LaunchConfig:
    """Parse a launch-config.yaml. Raises InvalidLaunchConfig with the key and value of each fault, and an example."""
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidLaunchConfig(f"{FILE_NAME} is not YAML: {error}") from None
    if not isinstance(raw, Mapping):
        raise InvalidLaunchConfig(f"{FILE_NAME} has no keys. Give at least the queues: {_EXAMPLES['queues']}")
    try:
        return LaunchConfig.model_validate(_with_reference_spelling(raw))
    except ValidationError as error:
        lines = [_with_example(fault) for fault in faults_of(error)]
        raise InvalidLaunchConfig("\n".join([f"{FILE_NAME} has faults:", *lines])) from None


def _with_reference_spelling(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Read as the reference does: a null or an empty block is an absent key, `queue: name` one more queue."""
    config = {key: value for key, value in raw.items() if value is not None and value != {}}
    queue = config.pop("queue", None)
    if queue is not None:
        config["queues"] = [*config.get("queues", []), queue]
    return config


def _with_example(fault: str) -> str:
    example = next((example for key, example in _EXAMPLES.items() if fault.startswith(f"{key} ")), None)
    return f"- {fault} For example {example}." if example else f"- {fault}"


def main() -> int:
    """Check the file named on the command line; print its faults, or its warnings, and return the exit code."""
    try:
        config = parse_launch_config(Path(sys.argv[1]).read_text())
    except (InvalidLaunchConfig, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command speaks to its user
        return 1
    for warning in config.warnings():
        print(warning, file=sys.stderr)  # noqa: T201 - as above
    return 0


if __name__ == "__main__":
    sys.exit(main())
