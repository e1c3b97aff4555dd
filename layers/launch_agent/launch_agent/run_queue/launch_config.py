"""launch-config.yaml: the file of `wandb launch-agent`, with its keys, defaults and rules.

Keys that have no effect without a server are accepted with a warning, so that an existing file can be used unchanged.
https://docs.wandb.ai/guides/launch/setup-agent-advanced describes the keys.
"""

import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from launch_agent.deployment import ecr_address, ecr_host
from launch_agent.errors import InvalidLaunchConfig
from launch_agent.model import Model, faults_of, json_fault, shown
from launch_agent.run_queue.items import Slot
from launch_agent.run_queue.policy import Policy

FILE_NAME = "launch-config.yaml"

Platform = Literal["linux/amd64", "linux/arm64"]

_LONGEST_FILE = 100_000
_MOST_VALUES = 1_000
_DEEPEST = 20
_MOST_ALIASES = 20
"""Each alias can repeat everything that the alias before it repeats."""

_ECR_ARN = re.compile(r"arn:aws[a-z-]*:ecr:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):repository/(?P<repository>.+)")
_ECR_REPOSITORY = re.compile(r"(?=.{2,256}\Z)[a-z0-9]+((\.|__?|-+|/)[a-z0-9]+)*")
_STORES = re.compile(r"s3://.+|gs://.+|https://[^/]+\.blob\.core\.windows\.net/.+")
_ECR_EXAMPLE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/launch"


def _registry_uri(uri: str) -> str:
    """Return an ECR repository's address without a scheme. Raises ValueError with what to write instead."""
    arn = _ECR_ARN.fullmatch(uri)
    if arn:
        address = f"{ecr_host(arn['account'], arn['region'])}/{arn['repository']}"
        raise ValueError(f"expected the repository's address, not its ARN. Write {address}")
    address = uri.removeprefix("https://").rstrip("/")
    found = ecr_address(address)
    if not found and re.match(r"\d{12}\.ecr\.", address):
        raise ValueError(f"the host of an ECR repository has .dkr.ecr. in it. Write for example {_ECR_EXAMPLE}")
    if not found:
        raise ValueError(f"SageMaker pulls images from Amazon ECR only. Write for example {_ECR_EXAMPLE}")
    if found.version:
        raise ValueError(f"images are tagged by their contents. Leave {shown(found.version)} out")
    if not found.repository:
        raise ValueError(f"the name of the repository is missing. Write for example {_ECR_EXAMPLE}")
    if not _ECR_REPOSITORY.fullmatch(found.repository):
        raise ValueError("the name of an ECR repository has lower-case letters and digits, with . _ - / between them")
    return address


def _store(uri: str) -> str:
    if not _STORES.fullmatch(uri):
        raise ValueError("expected a bucket. Write for example s3://my-bucket/build-contexts")
    return uri


RegistryUri = Annotated[str, AfterValidator(_registry_uri)]


class Environment(Model):
    """The `environment` block: the cloud and region of the agent. The stack uses its own region instead."""

    model_config = ConfigDict(frozen=True, extra="allow")  # `wandb launch-agent` only warns of other keys, too

    type: Literal["aws"] | None = None
    region: str


class Registry(Model):
    """The `registry` block: where built images go. It is the older form of `builder.destination`."""

    model_config = ConfigDict(frozen=True, extra="allow")  # each kind of registry has its own keys

    type: Literal["ecr"] | None = None
    uri: RegistryUri | None = None


class Builder(Model):
    """The `builder` block. `docker` and `kaniko` both mean AWS CodeBuild here; `noop` means existing images only."""

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


class Schedulers(Model):
    """The `schedulers` block: sweep schedulers that are jobs of their own. Not a key of `wandb launch-agent`."""

    instance_type: str = Field(default="ml.m5.large", pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")


def _check_served(named: Mapping[str, Any], info: ValidationInfo) -> None:
    """Raise ValueError for the name of a queue that is not in `queues`."""
    others = named.keys() - set(info.data.get("queues", []))
    if others:
        raise ValueError(f"the queue {shown(min(others))} is not in queues. Correct the name, or add the queue")


class LaunchConfig(Model):
    """A parsed launch-config.yaml. A limit of -1 means no limit."""

    entity: str | None = None
    queues: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    max_jobs: int = Field(default=1, ge=-1)
    max_jobs_per_queue: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    max_jobs_per_instance_type: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """By a pattern of instance types, as in `policy`."""
    max_schedulers: int = Field(default=1, ge=-1)
    secure_mode: bool = False
    api_key_delivery: Literal["channel", "environment"] = "channel"
    allow_agent_key: bool = True
    log_model_artifact: bool = True
    """Whether the model in S3 becomes an artifact of the run. `wandb launch-agent` does not know this key."""
    stopped_run_timeout: int = Field(default=60, ge=0)
    verbosity: int = Field(default=0, ge=0, le=2)
    environment: Environment | None = None
    registry: Registry | None = None
    builder: Builder | None = None
    policy: Policy | None = None
    schedulers: Schedulers = Field(default_factory=Schedulers)

    @field_validator("policy")
    @classmethod
    def _of_queues_that_are_served(cls, policy: Policy | None, info: ValidationInfo) -> Policy | None:
        _check_served(policy.queues if policy else {}, info)
        return policy

    @field_validator("max_jobs_per_queue")
    @classmethod
    def _limits_queues_that_are_served(cls, limits: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        _check_served(limits, info)
        return limits

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change only if the configuration changes; then the agent registers with W&B again."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    def limit(self, slot: Slot) -> int:
        """Return how many runs of this kind may be open; -1 for no limit."""
        return self.max_jobs if slot is Slot.JOB else self.max_schedulers

    @property
    def image_destination(self) -> str | None:
        """The repository for built images; None for the stack's own repository."""
        return (self.builder and self.builder.destination) or (self.registry and self.registry.uri) or None

    @property
    def is_noop(self) -> bool:
        """Whether the agent builds no images."""
        return self.builder is not None and self.builder.type == "noop"

    @property
    def platform(self) -> Platform:
        """The platform to build images for, unless a queue names another."""
        return (self.builder and self.builder.platform) or "linux/amd64"

    def warnings(self) -> Iterator[str]:
        """Yield a warning for each key that has no effect, with the reason, and for one that shows API keys."""
        if self.api_key_delivery == "environment":
            yield (
                "api_key_delivery is environment: everyone who can call sagemaker:DescribeTrainingJob can read the W&B "
                "API key of each container."
            )
        for key, why in _WITHOUT_EFFECT.items():
            if self.builder and getattr(self.builder, key.replace("-", "_")) is not None:
                yield f"builder.{key} has no effect: {why}."
        for key in (self.environment and self.environment.model_extra) or {}:
            yield f"environment.{shown(key)} has no effect: the launch agent does not know this key."
        for key in (self.registry and self.registry.model_extra) or {}:
            yield f"registry.{shown(key)} has no effect: registry.uri or builder.destination names the repository."


_WITHOUT_EFFECT = {
    "build-context-store": "build contexts go through the stack's own bucket",
    "build-job-name": "AWS CodeBuild names the builds",
    "secret-name": "AWS CodeBuild uses its own role",
    "secret-key": "AWS CodeBuild uses its own role",
    "kaniko-image": "images are built by AWS CodeBuild, not by kaniko",
}

_EXAMPLES = {
    "queues": "queues: [sagemaker]",
    "max_jobs": "max_jobs: 4, or -1 for no limit",
    "max_jobs_per_queue": "max_jobs_per_queue: {gpu: 2}",
    "max_jobs_per_instance_type": 'max_jobs_per_instance_type: {"ml.p4d.*": 1}',
    "max_schedulers": "max_schedulers: 1, or -1 for no limit",
    "stopped_run_timeout": "stopped_run_timeout: 60",
    "api_key_delivery": "api_key_delivery: channel",
    "allow_agent_key": "allow_agent_key: false",
    "environment.region": "environment: {type: aws, region: us-east-1}",
    "environment.type": "environment: {type: aws, region: us-east-1}",
    "registry.type": "registry: {type: ecr}",
    "schedulers.instance_type": "schedulers: {instance_type: ml.m5.large}",
    "builder.type": "builder: {type: docker}, or {type: noop} for existing images only",
    "builder.platform": "builder: {platform: linux/amd64}",
}


def read_launch_config() -> LaunchConfig:
    """Read launch-config.yaml from the import path, where its own layer puts it. Raises InvalidLaunchConfig."""
    for folder in sys.path:
        path = Path(folder, FILE_NAME)
        if path.is_file():
            return parse_launch_config(path.read_bytes())
    raise InvalidLaunchConfig(f"{FILE_NAME} is not on the import path. The stack's configuration layer provides it.")


def parse_launch_config(content: str | bytes) -> LaunchConfig:
    """Parse a launch-config.yaml, in UTF-8 or with a byte order mark.

    Raises InvalidLaunchConfig with the key and value of each fault, and an example.
    """
    raw = _yaml(content)
    fault = json_fault(raw, most=_MOST_VALUES)
    if fault:
        raise InvalidLaunchConfig(f"{FILE_NAME} cannot be read: {fault}")
    if not isinstance(raw, Mapping) or not raw:
        raise InvalidLaunchConfig(f"{FILE_NAME} has no keys. Add at least the queues: {_EXAMPLES['queues']}")
    if "launchConfig" in raw:
        raise InvalidLaunchConfig(
            f"{FILE_NAME} contains the values of a Helm chart. Save the part under launchConfig as {FILE_NAME}."
        )
    try:
        return LaunchConfig.model_validate(_with_reference_spelling(raw))
    except ValidationError as error:
        lines = [_with_example(fault) for fault in faults_of(error)]
        raise InvalidLaunchConfig("\n".join([f"{FILE_NAME} has faults:", *lines])) from None


def _yaml(content: str | bytes) -> object:
    if len(content) > _LONGEST_FILE:
        raise InvalidLaunchConfig(f"{FILE_NAME} has more than {_LONGEST_FILE:,} characters. Is it the right file?")
    try:
        _check_size(content)
        return yaml.safe_load(content)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InvalidLaunchConfig(f"{FILE_NAME} is not YAML: {shown(error.problem or error.context)}{where}.") from None
    except yaml.reader.ReaderError as error:
        raise InvalidLaunchConfig(f"{FILE_NAME} is not text in UTF-8: {shown(error.reason)}.") from None
    except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
        # PyYAML's constructors raise these for a value that does not fit its form or its tag, such as 2024-13-45.
        raise InvalidLaunchConfig(f"{FILE_NAME} has a value that is not valid: {shown(str(error))}.") from None


def _check_size(content: str | bytes) -> None:
    """Raise InvalidLaunchConfig for a text that PyYAML would expand to a huge value or parse for hours."""
    depth = aliases = 0
    for count, event in enumerate(yaml.parse(content)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        if depth > _DEEPEST or aliases > _MOST_ALIASES or count > 2 * _MOST_VALUES:
            raise InvalidLaunchConfig(
                f"{FILE_NAME} has more than {_DEEPEST} levels, {_MOST_ALIASES} aliases or {_MOST_VALUES:,} values. "
                "Is it the right file?"
            )


def _with_reference_spelling(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Apply the rules of `wandb launch-agent`: a key with null or {} is absent, and `queue: name` adds a queue."""
    config = {key: value for key, value in raw.items() if value is not None and value != {}}
    queue, queues = config.pop("queue", None), config.get("queues", [])
    if queue is not None and isinstance(queues, list):
        config["queues"] = [*queues, queue]
    return config


def _with_example(fault: str) -> str:
    example = next((example for key, example in _EXAMPLES.items() if fault.startswith(f"{key} ")), None)
    return f"- {fault} For example {example}." if example else f"- {fault}"


def main() -> int:
    """Check the file named on the command line, print its faults or warnings, and return the exit code."""
    try:
        config = parse_launch_config(Path(sys.argv[1]).read_bytes())
    except (InvalidLaunchConfig, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the output of the command
        return 1
    for warning in config.warnings():
        print(warning, file=sys.stderr)  # noqa: T201 - as above
    return 0


if __name__ == "__main__":
    sys.exit(main())
