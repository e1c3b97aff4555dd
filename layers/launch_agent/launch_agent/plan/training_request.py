"""The CreateTrainingJob request: the queue's configuration, the job's image and the run's environment.

It is the request that `wandb launch-agent` submits for the same run spec, except for the differences listed in
docs/compatibility.md.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from launch_agent.deployment import Deployment
from launch_agent.plan.algorithm import Algorithm, algorithm
from launch_agent.plan.macros import Macros, macros_in
from launch_agent.plan.queue_block import QueueBlock, sagemaker_args
from launch_agent.plan.run_environment import API_KEY, IDENTITY, RESUME, run_environment
from launch_agent.plan.source import Source
from launch_agent.run_queue.items import ItemRef, RunSpec
from launch_agent.training.training_job import ITEM_TAG, STACK_TAG

MAX_NAME = 63
DEFAULT_MAX_RUNTIME = 86_400
"""SageMaker's own limit for a training job without MaxRuntimeInSeconds, in seconds."""

_MAX_TAG = 256
_MAX_TAG_KEY = 128
_LONGEST_TIMEOUT = 99_999_999
"""The longest TimeoutSeconds of a state, in seconds (https://states-language.net/#timeouts)."""
_PENDING_ALLOWANCE = 86_400
_MARGIN = 3_600


class TrainingRequest(NamedTuple):
    """The request without the API key, and the parts it consists of."""

    body: dict[str, Any]
    args: Mapping[str, Any]
    """The queue's block with its macros replaced."""
    algorithm: Algorithm
    environment: Mapping[str, str]
    """The variables that connect the container to its run, without those of the queue."""
    macros: Macros
    tags_left_out: tuple[str, ...]
    """Macros without a value that are in tags; these tags are left out."""

    @property
    def own_environment(self) -> Mapping[str, Any]:
        """The queue's own variables."""
        own = self.args.get("Environment")
        return own if isinstance(own, Mapping) else {}


def training_request(source: Source, item: ItemRef, block: QueueBlock, deployment: Deployment) -> TrainingRequest:
    """Return the request for a run.

    Raises UnsupportedJobSource if there is no image, and InvalidRunSpec if AlgorithmSpecification is not an object.
    """
    macros = _macros(source, item)
    args = sagemaker_args(macros.render(block.raw))
    runs = algorithm(args, source, block)
    environment = run_environment(source.spec, item, None if source.build else source.image, deployment)
    tags, left_out = _tags(block.args.get("Tags", []), macros, launch_tags(item, source.spec, deployment))
    body = {
        **args,
        "TrainingJobName": legal_training_job_name(str(args.get("TrainingJobName") or item.run_id)),
        "AlgorithmSpecification": runs.specification,
        "Environment": _environment(args, environment),
        "Tags": tags,
    }
    if isinstance(args.get("RoleArn"), str) and args["RoleArn"]:
        body["RoleArn"] = deployment.role_arn(args["RoleArn"])
    return TrainingRequest(body, args, runs, environment, macros, tuple(sorted(left_out)))


def _macros(source: Source, item: ItemRef) -> Macros:
    return Macros(
        project_name=source.spec.project,
        entity_name=source.spec.entity,
        run_id=item.run_id,
        run_name=source.spec.name or None,
        image_uri=source.image,
        author=source.spec.author,
    )


def _environment(args: Mapping[str, Any], computed: Mapping[str, str]) -> Any:
    """Return the computed variables, overridden by the queue's, except for the run's identity and the API key."""
    own = args.get("Environment", {})
    if not isinstance(own, Mapping):
        return own  # the check against SageMaker's model reports the fault
    resume = {RESUME: "allow"} if args.get("EnableManagedSpotTraining") or args.get("RetryStrategy") else {}
    return {
        **computed,
        **resume,
        **{name: value for name, value in own.items() if name not in (API_KEY, *IDENTITY)},
    }


def _tags(own: object, macros: Macros, ours: Mapping[str, str]) -> tuple[Any, set[str]]:
    """Return the queue's tags and ours. A macro's value is changed to what SageMaker accepts in a tag.

    A tag with a macro without a value is left out. Returns these macros, too.
    """
    if not isinstance(own, list):
        return own, set()  # as above
    kept, missing = [], set[str]()
    for tag in own:
        without_value = macros.without_value(tag)
        missing |= without_value
        if not without_value and not (isinstance(tag, Mapping) and tag.get("Key") in (*ours,)):
            kept.append(_legal(macros.render(tag)) if macros_in(tag) else tag)
    return [*kept, *({"Key": key, "Value": value} for key, value in ours.items())], missing


def _legal(tag: object) -> object:
    if not isinstance(tag, Mapping):
        return tag
    longest = {"Key": _MAX_TAG_KEY, "Value": _MAX_TAG}
    return {
        key: legal_tag(text, longest.get(key, _MAX_TAG)) if isinstance(text, str) else text for key, text in tag.items()
    }


def launch_tags(item: ItemRef, spec: RunSpec, deployment: Deployment) -> dict[str, str]:
    """Return the tags that identify a training job's run, queue item, queue and stack."""
    tags = {
        "WandbRunId": item.run_id,
        ITEM_TAG: item.id,
        "WandbEntity": spec.entity,
        "WandbProject": spec.project,
        "WandbQueue": item.queue,
        STACK_TAG: deployment.stack_name,
    }
    return {key: legal_tag(value, _MAX_TAG) for key, value in tags.items()}


def legal_tag(text: str, longest: int) -> str:
    """Replace characters that SageMaker does not accept in a tag, and cut the text to `longest` characters."""
    return re.sub(r"[^\w .:/=+\-@]", "-", text)[:longest]


def legal_training_job_name(text: str) -> str:
    """Return a name that SageMaker accepts: letters and digits, with hyphens between them, at most 63 characters."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", text)[:MAX_NAME].strip("-") or "run"


def alternative_training_job_name(name: str, item_id: str, attempt: int) -> str:
    """Return the name for attempt 1, 2, ... if `name` is taken: it ends with eight hex digits of the item's hash, and
    from attempt 2 on with the attempt.
    """
    suffix = f"-{hashlib.sha256(item_id.encode()).hexdigest()[:8]}" + (f"-{attempt}" if attempt > 1 else "")
    return name[: MAX_NAME - len(suffix)].rstrip("-") + suffix


def time_limit(request: Mapping[str, Any]) -> int:
    """Return how long a training job can take, in seconds: its own limits and a margin of an hour."""
    condition = request["StoppingCondition"]
    longest = max(condition.get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME), condition.get("MaxWaitTimeInSeconds", 0))
    limit = longest + condition.get("MaxPendingTimeInSeconds", _PENDING_ALLOWANCE) + _MARGIN
    return min(int(limit), _LONGEST_TIMEOUT)
