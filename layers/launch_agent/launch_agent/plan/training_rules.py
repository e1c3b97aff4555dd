"""Lists every fault of a CreateTrainingJob request: of its shape, and by the rules that the service model lacks.

Sources: CreateTrainingJob and its data types in the SageMaker API reference
(https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html). docs/compatibility.md lists what
is checked and what is not.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from launch_agent.deployment import ecr_address
from launch_agent.model import shown
from launch_agent.plan.agent import Agent
from launch_agent.plan.delivery import Delivery, start_of
from launch_agent.plan.environment_rules import environment_faults
from launch_agent.plan.fault import Fault
from launch_agent.plan.queue_block import QueueBlock
from launch_agent.plan.request_shape import Reading, shape_faults
from launch_agent.plan.resource_rules import EXAMPLE, resource_faults
from launch_agent.plan.run_environment import API_KEY, MAX_VALUE
from launch_agent.plan.training_request import MAX_NAME, TrainingRequest, legal_training_job_name

_EXAMPLES = {
    "RoleArn": '"arn:aws:iam::123456789012:role/SageMakerTraining"',
    "OutputDataConfig": '{"S3OutputPath": "s3://my-bucket/output"}',
    "ResourceConfig": EXAMPLE,
    "StoppingCondition": '{"MaxRuntimeInSeconds": 3600}',
}
_COMMAND = ("AlgorithmSpecification.ContainerEntrypoint", "AlgorithmSpecification.ContainerArguments")
_SECRET = ("Environment", "HyperParameters", *_COMMAND)
_FREE_TEXT = (*_SECRET, "AlgorithmSpecification.MetricDefinitions")
"""Keys in which two braces may be ordinary text."""
ANSWERS = frozenset(
    {
        *("AutoMLJobArn", "BillableTimeInSeconds", "BillableTokenCount", "CreationTime", "DebugRuleEvaluationStatuses"),
        *("FailureReason", "FinalMetricDataList", "LabelingJobArn", "LastModifiedTime", "MlflowDetails"),
        *("ModelArtifacts", "OutputModelPackageArn", "ProfilerRuleEvaluationStatuses", "ProfilingStatus"),
        *("ProgressInfo", "SecondaryStatus", "SecondaryStatusTransitions", "TrainingEndTime", "TrainingJobArn"),
        *("TrainingJobStatus", "TrainingStartTime", "TrainingTimeInSeconds", "TuningJobArn", "WarmPoolStatus"),
    }
)
"""The keys that DescribeTrainingJob returns and CreateTrainingJob does not accept."""
_READING = Reading(
    # SageMaker gets new instance types every month; the list in a pinned botocore would refuse them.
    open_enums=frozenset({"TrainingInstanceType", "ProcessingInstanceType"}),
    secret=_SECRET,
    answers=ANSWERS,
)
_ANY_KEY = "x" * 40
_ANY_FOLDER = "s3://bucket/folder/"
_MAX_TAGS = 50
_OFFLINE_MODES = ("offline", "disabled", "dryrun")
_TEMPLATE_VARIABLE = re.compile(r"\{\{\s{0,9}([\w.-]{1,80})\s{0,9}\}\}")


def request_faults(request: TrainingRequest, block: QueueBlock, agent: Agent, delivery: Delivery | None) -> list[str]:
    """Return every fault of a request as it will be submitted, with the variables that are added at the start."""
    body, own_key = request.body, request.own_environment.get(API_KEY)
    if isinstance(body["Environment"], Mapping):
        key = None if request.algorithm.is_provided and not own_key else own_key or _ANY_KEY
        # A key that is not a key shows its fault in Environment.
        given = delivery if key is None or (isinstance(key, str) and len(key) <= MAX_VALUE) else None
        body = start_of(body, given, folder=_ANY_FOLDER, api_key=key, again=True).request
    first = [*missing_blocks(body, block.queue), *_environment(body, request)]
    rules = [*_template_variables(body), *_name(body, block), *_tags(body), *rule_faults(body, request, agent)]
    better_said = tuple(f"{fault.at} " for fault in chain(first, rules) if fault.at)
    of_shape = [fault for fault in shape_faults(body, agent.shape, _READING) if not fault.startswith(better_said)]
    return [*(fault.says for fault in first), *of_shape, *(fault.says for fault in rules)]


def missing_blocks(body: Mapping[str, Any], queue: str) -> Iterator[Fault]:
    """Yield a fault for each required block that is missing in every spelling, with an example."""
    spelled = {key.lower() for key in body}
    for key, example in _EXAMPLES.items():
        if body.get(key) in (None, "") and (key in body or key.lower() not in spelled):
            says = (
                f'queue "{queue}" has no {key}. Add it to the queue\'s configuration, for example "{key}": {example}.'
            )
            yield Fault(key, says)


def rule_faults(body: Mapping[str, Any], request: TrainingRequest, agent: Agent) -> Iterator[Fault]:
    """Yield the faults that SageMaker's model does not find. The request may have any shape."""
    yield from resource_faults(body)
    yield from _image(body, agent.deployment.region)
    if not str(_block(body, "OutputDataConfig").get("S3OutputPath", "s3://")).startswith("s3://"):
        yield Fault("", "OutputDataConfig.S3OutputPath must begin with s3://.")
    if body.get("EnableNetworkIsolation") and expects_wandb_init(request):
        yield Fault(
            "",
            "With EnableNetworkIsolation the container cannot reach W&B, so its run would never appear. Set it to "
            'false, or add "WANDB_MODE": "offline" to Environment. For a container that never calls wandb.init, add '
            '"launch_agent": {"calls_wandb_init": false} to the queue\'s configuration.',
        )


def expects_wandb_init(request: TrainingRequest) -> bool:
    """Whether the container is expected to create its run in W&B."""
    mode = str(_block(request.body, "Environment").get("WANDB_MODE")).lower()
    return not request.algorithm.is_provided and mode not in _OFFLINE_MODES


def _block(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    block = body.get(key)
    return block if isinstance(block, Mapping) else {}


def _environment(body: Mapping[str, Any], request: TrainingRequest) -> Iterator[Fault]:
    own = request.own_environment
    variables = _block(body, "Environment")
    return environment_faults(
        variables,
        own=own,
        computed=request.environment,
        has_own_key=bool(own.get(API_KEY)) or request.algorithm.is_provided,
    )


def _template_variables(body: Mapping[str, Any]) -> Iterator[Fault]:
    for path, text in _texts(body, ""):
        found = _TEMPLATE_VARIABLE.search(text)
        if found and not path.startswith(_FREE_TEXT):
            yield Fault(
                path,
                f'{path} is "{shown(text)}": the template variable {found[1]} has no value. Set it when you queue '
                "the run, or write the value into the queue's configuration.",
            )


def _texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}[{index}]")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, f"{path}.{shown(key)}" if path else shown(key))


def _name(body: Mapping[str, Any], block: QueueBlock) -> Iterator[Fault]:
    """A training job's name can be used only once in an account and region, so each run needs its own."""
    raw = block.args.get("TrainingJobName")
    if raw in (None, ""):
        return
    if not isinstance(raw, str) or "${run_id}" not in raw:
        example = legal_training_job_name(raw)[:40] if isinstance(raw, str) else "train"
        yield Fault(
            "TrainingJobName",
            f"TrainingJobName is {shown(raw)}. SageMaker accepts each name only once, so only one run could use it. "
            f"Leave it out, or put the run's id into it, for example {example}-${{run_id}}.",
        )
    elif len(legal_training_job_name(raw.partition("${run_id}")[0])) > MAX_NAME - 8:
        yield Fault(
            "TrainingJobName",
            f"TrainingJobName leaves no room for the run's id: it can have {MAX_NAME} characters. Shorten it.",
        )


def _tags(body: Mapping[str, Any]) -> Iterator[Fault]:
    tags = body.get("Tags")
    keys = [str(tag.get("Key")) for tag in tags if isinstance(tag, Mapping)] if isinstance(tags, list) else []
    seen, repeated = set[str](), set[str]()
    for key in keys:
        (repeated if key in seen else seen).add(key)
    for key in sorted(repeated):
        yield Fault("", f'Tags has the key "{shown(key)}" more than once. Keep one.')
    for key in sorted(key for key in seen if key.lower().startswith("aws:")):
        yield Fault("", f'Tags has the key "{shown(key)}". The prefix aws: is reserved for AWS. Use another key.')
    if len(keys) > _MAX_TAGS:
        yield Fault(
            "Tags",
            f"Tags has {len(keys)} entries, with those of the launch agent, and SageMaker allows {_MAX_TAGS}. Remove "
            f"{len(keys) - _MAX_TAGS} from the queue's Tags.",
        )


def _image(body: Mapping[str, Any], region: str) -> Iterator[Fault]:
    specification = _block(body, "AlgorithmSpecification")
    image, name = specification.get("TrainingImage"), specification.get("AlgorithmName")
    if image and name:
        yield Fault("", "AlgorithmSpecification has both TrainingImage and AlgorithmName. Keep one.")
    if not isinstance(image, str) or not image:
        return
    through_vpc = _block(specification, "TrainingImageConfig").get("TrainingRepositoryAccessMode") == "Vpc"
    if through_vpc and not body.get("VpcConfig"):
        yield Fault("", "AlgorithmSpecification.TrainingImageConfig uses a registry in a VPC. Add VpcConfig.")
    if through_vpc or "{{" in image:
        return
    address = ecr_address(image)
    if address is None or not address.repository:
        yield Fault(
            "",
            f'the image "{shown(image)}" is not in Amazon ECR, and SageMaker pulls images from ECR only. Push it to an '
            f"ECR repository in {region}, or configure AlgorithmSpecification.TrainingImageConfig for its registry.",
        )
    elif address.region != region:
        yield Fault(
            "",
            f'the image "{shown(image)}" is in {address.region}. SageMaker in {region} pulls images from {region} '
            f"only. Push it to {region}.",
        )
