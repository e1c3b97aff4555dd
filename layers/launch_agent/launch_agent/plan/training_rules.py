"""What SageMaker refuses, or what cannot work, beyond what its service model says.

Sources: the texts of CreateTrainingJob and its shapes in the SageMaker API reference
(https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from launch_agent.plan.agent import Agent
from launch_agent.plan.request_shape import shape_faults
from launch_agent.plan.run_environment import artifacts_fault
from launch_agent.plan.training_request import DEFAULT_MAX_RUNTIME

_EXAMPLES = {
    "RoleArn": '"arn:aws:iam::123456789012:role/SageMakerTraining"',
    "OutputDataConfig": '{"S3OutputPath": "s3://my-bucket/output"}',
    "ResourceConfig": '{"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 50}',
    "StoppingCondition": '{"MaxRuntimeInSeconds": 3600}',
}
_ECR_IMAGE = re.compile(r"\d{12}\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/.+")
_OFFLINE_MODES = ("offline", "disabled", "dryrun")


_OPEN_ENUMS = frozenset({"TrainingInstanceType"})
"""SageMaker gets new instance types every month; a list frozen in botocore would refuse them."""


def request_faults(body: Mapping[str, Any], queue: str, agent: Agent) -> list[str]:
    """List every fault of a CreateTrainingJob request: of its shape, and of SageMaker's other rules."""
    better_said = missing_blocks(body, queue) | artifacts_fault(body["Environment"])
    of_shape = [
        fault
        for fault in shape_faults(body, agent.shape, open_enums=_OPEN_ENUMS)
        if not fault.startswith(tuple(f"{key} " for key in better_said))
    ]
    return [*better_said.values(), *of_shape, *rule_faults(body, region=agent.deployment.region)]


def missing_blocks(request: Mapping[str, Any], queue: str) -> dict[str, str]:
    """Say of each block that a queue must configure and that is not there what to add, by its key."""
    return {
        key: f'queue "{queue}" has no {key}. Add it to the queue\'s configuration, for example "{key}": {example}.'
        for key, example in _EXAMPLES.items()
        if not request.get(key)
    }


def rule_faults(request: Mapping[str, Any], *, region: str) -> Iterator[str]:
    """Say what is wrong beyond the shape, whatever the shape. `region` is where the job is to run."""
    yield from _resources(_block(request, "ResourceConfig"))
    yield from _spot(request)
    yield from _image(_block(request, "AlgorithmSpecification"), region)
    yield from _duplicate_tags(request)
    if not str(_block(request, "OutputDataConfig").get("S3OutputPath", "s3://")).startswith("s3://"):
        yield "OutputDataConfig.S3OutputPath must begin with s3://."
    if request.get("EnableNetworkIsolation") and not is_offline(request):
        yield (
            "EnableNetworkIsolation cuts the container off from W&B, so its run could never appear. "
            'Set it to false, or add "WANDB_MODE": "offline" to Environment.'
        )


def is_offline(request: Mapping[str, Any]) -> bool:
    """Whether the container is told not to talk to W&B."""
    return str(_block(request, "Environment").get("WANDB_MODE")).lower() in _OFFLINE_MODES


def _block(request: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    block = request.get(key)
    return block if isinstance(block, Mapping) else {}


def _resources(config: Mapping[str, Any]) -> Iterator[str]:
    if config.get("InstanceGroups") or config.get("InstancePreferences"):
        return
    for key in ("InstanceType", "InstanceCount"):
        if config and not config.get(key):
            yield f"ResourceConfig.{key} is missing or zero. For example {_EXAMPLES['ResourceConfig']}."


def _spot(request: Mapping[str, Any]) -> Iterator[str]:
    condition = _block(request, "StoppingCondition")
    runtime = condition.get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME)
    wait = condition.get("MaxWaitTimeInSeconds")
    if not isinstance(runtime, int) or not isinstance(wait, int | None):
        return
    if request.get("EnableManagedSpotTraining"):
        if wait is None or wait < runtime:
            yield (
                "EnableManagedSpotTraining needs StoppingCondition.MaxWaitTimeInSeconds of at least "
                f"MaxRuntimeInSeconds, which is {runtime}. It is {'missing' if wait is None else wait}."
            )
    elif wait is not None:
        yield "StoppingCondition.MaxWaitTimeInSeconds is for EnableManagedSpotTraining only. Leave it out."


def _image(specification: Mapping[str, Any], region: str) -> Iterator[str]:
    image, name = specification.get("TrainingImage"), specification.get("AlgorithmName")
    if image and name:
        yield "AlgorithmSpecification has both TrainingImage and AlgorithmName. Keep one."
    if not isinstance(image, str) or not image or specification.get("TrainingImageConfig"):
        return
    ecr = _ECR_IMAGE.fullmatch(image)
    if not ecr:
        yield (
            f'the image "{image}" is not in Amazon ECR, and SageMaker pulls from there only. Push it to an ECR '
            f"repository in {region}, or reach another registry through AlgorithmSpecification.TrainingImageConfig."
        )
    elif ecr["region"] != region:
        yield (
            f'the image "{image}" is in {ecr["region"]}, and SageMaker pulls from its own region, {region}, only. '
            "Push it there."
        )


def _duplicate_tags(request: Mapping[str, Any]) -> Iterator[str]:
    tags = request.get("Tags")
    keys = [tag.get("Key") for tag in tags if isinstance(tag, Mapping)] if isinstance(tags, list) else []
    for key in sorted({str(key) for key in keys if keys.count(key) > 1}):
        yield f'Tags has the key "{key}" more than once.'
