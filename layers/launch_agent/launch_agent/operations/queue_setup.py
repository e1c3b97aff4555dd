"""Whether a stack can launch the runs of a queue, according to the queue's configuration in W&B."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from launch_agent.deployment import ecr_host
from launch_agent.errors import LaunchError
from launch_agent.operations.setup import Needs
from launch_agent.plan.agent import Agent
from launch_agent.plan.launch_plan import plan_launch
from launch_agent.plan.queue_block import sagemaker_args
from launch_agent.run_queue.configured_queue import ConfiguredQueue, has_variable
from launch_agent.run_queue.items import RESOURCE, ItemRef, parse_run_spec

_KEY_ID = re.compile(r"(?:arn:.*:key/)?([0-9a-z-]+)")


class Instances(NamedTuple):
    """The instances of one run, by the quota that they count against."""

    quota: str
    instance_count: int


def queue_faults(queue: ConfiguredQueue, needs: Needs, agent: Agent) -> list[str]:
    """Return why the stack cannot launch the runs of a queue for SageMaker.

    The configuration is checked by planning a run with it. `agent` has a configuration without `secure_mode`.
    """
    if queue.resource != RESOURCE:
        return []
    if not queue.config:
        return [
            "it has no configuration yet. Paste the stack's output QueueConfiguration, which `make queue` prints too."
        ]
    config = sagemaker_args(queue.default_config)
    known = {key: value for key, value in config.items() if not has_variable(value)}
    faults = [*_role_faults(known, needs), *_output_faults(known, needs), *_key_faults(known, needs)]
    if known == config:
        faults += _faults_of_a_run(config, queue.name, agent)
    return faults


def resource_faults(queue: ConfiguredQueue) -> Iterator[str]:
    """Say whether a queue is of another resource."""
    if queue.resource != RESOURCE:
        yield f"its resource is {queue.resource or 'not set'}. Create a queue with SageMaker as its resource."


def _role_faults(config: Mapping[str, Any], needs: Needs) -> Iterator[str]:
    role = config.get("RoleArn")
    if role and not any(allowed == role or allowed.endswith(f":role/{role}") for allowed in needs.role_arns):
        yield f"its RoleArn is {role}, which this stack may not pass. Use {' or '.join(sorted(needs.role_arns))}."


def _output_faults(config: Mapping[str, Any], needs: Needs) -> Iterator[str]:
    output = str(_block(config, "OutputDataConfig").get("S3OutputPath") or "")
    if needs.makes_role and output and not f"{output}/".startswith(f"s3://{needs.bucket}/"):
        yield f"its S3OutputPath is {output}, but the stack's role may write only to s3://{needs.bucket}/."
    if needs.makes_role and config.get("VpcConfig") and not needs.training_in_vpc:
        yield "it sets VpcConfig, but the stack's role may not use a VPC. Set TrainingInVpc to true."


def _key_faults(config: Mapping[str, Any], needs: Needs) -> Iterator[str]:
    named = _KEY_ID.fullmatch(str(_block(config, "ResourceConfig").get("VolumeKmsKeyId") or ""))
    own = _KEY_ID.fullmatch(needs.volume_key_arn)
    if named and (own is None or named[1] != own[1]):
        yield f"its VolumeKmsKeyId is {named[0]}, which the stack may not use. Set VolumeKmsKeyArn to this key's ARN."


def _faults_of_a_run(config: Mapping[str, Any], queue: str, agent: Agent) -> list[str]:
    image = f"{ecr_host(agent.deployment.account_id, agent.deployment.region)}/any:latest"
    run = {"entity": "any", "project": "any", "docker": {"docker_image": image}, "resource": RESOURCE}
    item = ItemRef(id="any", queue=queue, entity="any", run_id="any")
    try:
        plan_launch(parse_run_spec({**run, "resource_args": {RESOURCE: config}}), None, item, agent)
    except LaunchError as error:
        return [str(error)]
    return []


def instances_of(queue: ConfiguredQueue) -> list[Instances]:
    """Return the instances of a run with the defaults of the template variables.

    Instances of a training plan are reserved, and count against no quota.
    """
    config = sagemaker_args(queue.default_config)
    resources = _block(config, "ResourceConfig")
    if resources.get("TrainingPlanArn"):
        return []
    spot = "spot training job" if config.get("EnableManagedSpotTraining") is True else "training job"
    groups = resources.get("InstanceGroups")
    entries = [resources, *(groups if isinstance(groups, list) else ())]
    found = []
    for entry in (each for each in entries if isinstance(each, Mapping)):
        kind, count = entry.get("InstanceType"), entry.get("InstanceCount", 1)
        if isinstance(kind, str) and not has_variable(kind):
            found.append(Instances(f"{kind} for {spot} usage", count if isinstance(count, int) else 1))
    return found


def quota_faults(instances: Instances, value: float) -> Iterator[str]:
    """Say whether a run needs more instances than the account's quota for training jobs."""
    if value < instances.instance_count:
        yield (
            f'a run needs {instances.instance_count}, but the account\'s quota "{instances.quota}" is {value:g}. '
            "Request a higher one in the Service Quotas console, Amazon SageMaker, or choose another instance type."
        )


def vpc_of(queue: ConfiguredQueue) -> tuple[list[str], list[str]]:
    """Return the subnets and the security groups of a queue's VpcConfig."""
    vpc = _block(sagemaker_args(queue.default_config), "VpcConfig")
    subnets, groups = (_ids(vpc.get(key)) for key in ("Subnets", "SecurityGroupIds"))
    return subnets, groups


def vpc_faults(where: Mapping[str, str | None]) -> Iterator[str]:
    """Say which subnets and security groups do not exist; `where` has the VPC of each, or None."""
    missing = [each for each, vpc in where.items() if vpc is None]
    if missing:
        yield f"its VpcConfig names {', '.join(missing)}, which do not exist in this region. Correct them."
    if len({vpc for vpc in where.values() if vpc}) > 1:
        yield "its VpcConfig names subnets and security groups of several VPCs. Use those of one VPC."


def _block(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    block = config.get(key)
    return block if isinstance(block, Mapping) else {}


def _ids(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
