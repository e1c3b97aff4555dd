"""What a stack needs before it can launch runs, and the sentence for each thing that is missing.

`check_setup` collects the facts. A fault of what the stack is deployed with fails the deployment. A fault of a queue's
configuration or of a quota does not: it is fixed without a deployment, and a first deployment creates the role and
the bucket that the configuration names.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from launch_agent.model import Model

SAGEMAKER = "sagemaker.amazonaws.com"
_BUILD_QUOTAS = {
    "BUILD_GENERAL1_SMALL": "Concurrently running builds for Linux/Small environment",
    "BUILD_GENERAL1_MEDIUM": "Concurrently running builds for Linux/Medium environment",
    "BUILD_GENERAL1_LARGE": "Concurrently running builds for Linux/Large environment",
}
"""The names of CodeBuild's quotas: https://docs.aws.amazon.com/codebuild/latest/userguide/limits.html"""
_GATEWAYS = ("dynamodb", "s3")
_LONGEST_REASON = 3_000
"""CloudFormation takes an answer of 4,096 bytes:
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html"""


class Finding(Model):
    """One thing that was checked."""

    what: str
    queue: str = ""
    """The run queue that it is about, if it is about one."""
    faults: tuple[str, ...] = ()
    not_checked: str = ""
    """Why it could not be checked; empty if it was."""
    fails_deployment: bool = False
    """Whether a deployment fails if there is a fault."""

    @property
    def status(self) -> str:
        """One of `fault`, `not checked` and `ok`."""
        return "fault" if self.faults else "not checked" if self.not_checked else "ok"


class Role(NamedTuple):
    """A role in IAM, and the services that its trust policy lets assume it."""

    arn: str
    exists: bool
    trusts: frozenset[str] = frozenset()


class Key(NamedTuple):
    """A KMS key, with its state as KMS names it; empty if the key does not exist."""

    arn: str
    state: str


class Needs(Model):
    """What a stack was deployed with, as far as runs depend on it."""

    region: str
    role_arns: tuple[str, ...]
    """The training roles that the stack can pass."""
    makes_role: bool
    bucket: str
    """The bucket of the configuration that the stack suggests."""
    volume_key_arn: str
    training_in_vpc: bool


def deployment_failure(findings: Iterable[Finding]) -> str:
    """Return why a deployment fails, with every fault; empty if it does not fail."""
    found = [each for each in findings if each.faults]
    if not any(each.fails_deployment for each in found):
        return ""
    lines = [f"{each.what}: {fault}" for each in sorted(found, key=_later) for fault in each.faults]
    text = "The stack would not work. " + " | ".join(lines)
    if len(text) > _LONGEST_REASON:
        text = f"{text[:_LONGEST_REASON]}..."
    return f"{text} | To deploy it with these faults, set the parameter SetupCheck to warn."


def _later(finding: Finding) -> bool:
    return not finding.fails_deployment


def destination_faults(destination: str | None, repository: str) -> Iterator[str]:
    """Say whether launch-config.yaml names another repository for images than the stack's."""
    if destination and repository and destination != repository:
        yield (
            f"it names the repository {destination} for images, and the stack pushes to {repository}. Remove "
            "builder.destination and registry.uri, or deploy the stack in that repository's account and region with "
            f"ImageRepositoryName={destination.partition('/')[2]}."
        )


def key_rejected(why: str, secret_arn: str) -> str:
    """Say that the W&B API key is not valid, or cannot be read."""
    return f"{why} The secret is {secret_arn}. W&B shows your key under User settings."


def wandb_unreachable(why: str) -> str:
    """Say that W&B cannot be reached."""
    return (
        f"{why}. The functions reach W&B over the internet. Check WandbBaseUrl, and that the server accepts "
        "connections from AWS."
    )


def endpoint_faults(unreachable: Mapping[str, str], region: str) -> Iterator[str]:
    """Say which services the functions do not reach. `unreachable` has the reasons by the names of VPC endpoints."""
    for name, why in sorted(unreachable.items()):
        kind = (
            "a gateway in their route tables" if name in _GATEWAYS else "it has to accept HTTPS from SecurityGroupIds"
        )
        yield (
            f"no connection from SubnetIds reaches {name} ({why}). Create the VPC endpoint "
            f"com.amazonaws.{region}.{name} ({kind}), or a route to the internet."
        )


def entity_hidden(entity: str) -> str:
    """Say that the entity does not exist, or that the API key cannot see it."""
    return (
        f"there is no entity {entity} that the API key can see. Correct entity in launch-config.yaml, or store the key "
        f"of a member of {entity}."
    )


def queue_missing(entity: str, others: Sequence[str]) -> str:
    """Say that a run queue does not exist."""
    return (
        f"{entity} has no queue with this name. Create it in W&B with SageMaker as its resource, or deploy with "
        f"CreateQueues=true. The queues of {entity}: {', '.join(others) or 'none'}."
    )


def role_faults(role: Role) -> Iterator[str]:
    """Say what is wrong with a training role."""
    if not role.exists:
        yield f"The role {role.arn} does not exist. Create it, or name another one in TrainingRoleArns."
    elif SAGEMAKER not in role.trusts:
        yield (f"The role {role.arn} cannot be assumed by SageMaker. Add the service {SAGEMAKER} to its trust policy.")


def bucket_faults(region: str | None, needs: Needs) -> Iterator[str]:
    """Say what is wrong with the bucket for output. `region` is where it is; None if it does not exist."""
    bucket = needs.bucket
    if region is None:
        yield f"The bucket {bucket} does not exist. Create it in {needs.region}, or name another one in BucketName."
    elif region != needs.region:
        yield (
            f"The bucket {bucket} is in {region}, but the stack is in {needs.region}. Name a bucket in {needs.region} "
            "in BucketName."
        )


def key_faults(key: Key, parameter: str, region: str) -> Iterator[str]:
    """Say what is wrong with the KMS key of a template parameter."""
    of_key = key.arn.split(":")[3]
    if of_key != region:
        yield f"The KMS key {key.arn} is in {of_key}, but the stack is in {region}. Name another key in {parameter}."
    elif not key.state:
        yield f"The KMS key {key.arn} does not exist. Name another one in {parameter}."
    elif key.state != "Enabled":
        yield (
            f"The KMS key {key.arn} is not enabled; its state is {key.state}. Enable it, or name another one in "
            f"{parameter}."
        )


def build_quota(compute_type: str) -> str:
    """Return the name of CodeBuild's quota for a size of machine."""
    return _BUILD_QUOTAS[compute_type]


def build_quota_faults(quota: str, value: float) -> Iterator[str]:
    """Say whether CodeBuild builds nothing in this account."""
    if value < 1:
        yield (
            f'The account\'s quota "{quota}" is {value:g}, so no image can be built. Request a higher one in the '
            "Service Quotas console, AWS CodeBuild, or set BuildImages to false."
        )


def queue_configuration(suggested: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configuration and the template variables of a new queue, from the stack's suggestion.

    Who queues a run can choose the instance type and the longest run time; the defaults are the suggestion's.
    """
    resources, stopping = suggested["ResourceConfig"], suggested["StoppingCondition"]
    config = {
        **suggested,
        "ResourceConfig": {**resources, "InstanceType": "{{instance_type}}"},
        "StoppingCondition": {**stopping, "MaxRuntimeInSeconds": "{{max_runtime_seconds}}"},
    }
    runtime = {"type": "integer", "default": stopping["MaxRuntimeInSeconds"], "minimum": 60, "maximum": 2_419_200}
    kind = {"type": "string", "default": resources["InstanceType"]}
    return config, {"instance_type": {"schema": kind}, "max_runtime_seconds": {"schema": runtime}}
