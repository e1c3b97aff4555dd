"""The CreateTrainingJob request: the queue's configuration, the job's image and the run's environment in one.

It equals what the reference launch agent submits for the same run spec, but for the differences that
docs/compatibility.md lists.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from launch_agent.deployment import Deployment
from launch_agent.errors import InvalidRunSpec, UnsupportedJobSource
from launch_agent.model import Model
from launch_agent.plan.macros import Macros
from launch_agent.plan.queue_block import QueueBlock, sagemaker_args
from launch_agent.plan.run_environment import API_KEY, IDENTITY, RESUME, run_environment
from launch_agent.plan.source import Source
from launch_agent.run_queue.items import ItemRef, RunSpec
from launch_agent.training.training_job import ITEM_TAG, STACK_TAG

MAX_NAME = 63
DEFAULT_MAX_RUNTIME = 86_400
"""SageMaker's own limit on a training job that names none, in seconds."""

_MAX_TAG = 256
_PENDING_ALLOWANCE = 86_400
_MARGIN = 3_600


class Algorithm(Model):
    """What the training job runs, as `AlgorithmSpecification`, and the image that the run spec or its job names."""

    specification: dict[str, Any]
    job_image: str | None = None

    @property
    def is_provided(self) -> bool:
        """Whether SageMaker provides the algorithm, which then knows nothing of W&B."""
        return "AlgorithmName" in self.specification


class TrainingRequest(NamedTuple):
    """The request without the API key, and what it is made from."""

    body: dict[str, Any]
    args: Mapping[str, Any]
    """The queue's block, with its macros replaced."""
    algorithm: Algorithm
    environment: Mapping[str, str]
    """The variables that tie the container to its run, before the queue's are laid over them."""


def training_request(source: Source, item: ItemRef, block: QueueBlock, deployment: Deployment) -> TrainingRequest:
    """Make the request for a run. Raises UnsupportedJobSource when there is no image, InvalidRunSpec likewise."""
    args = sagemaker_args(_macros(source, item).render(block.raw))
    algorithm = _algorithm(args, source)
    environment = run_environment(source.spec, item, None if source.build else source.image, deployment)
    body = {
        **args,
        "TrainingJobName": legal_training_job_name(str(args.get("TrainingJobName") or item.run_id)),
        "AlgorithmSpecification": algorithm.specification,
        "Environment": _environment(args, environment),
        "Tags": _tags(args, launch_tags(item, source.spec, deployment)),
    }
    if isinstance(args.get("RoleArn"), str):
        body["RoleArn"] = deployment.role_arn(args["RoleArn"])
    return TrainingRequest(body, args, algorithm, environment)


def _macros(source: Source, item: ItemRef) -> Macros:
    return Macros(
        project_name=source.spec.project,
        entity_name=source.spec.entity,
        run_id=item.run_id,
        run_name=source.spec.name or None,
        image_uri=source.image,
        author=source.spec.author,
    )


def _algorithm(args: Mapping[str, Any], source: Source) -> Algorithm:
    """Choose what runs: the queue's algorithm or image if it names one, else the job's image."""
    own = args.get("AlgorithmSpecification", {})
    if not isinstance(own, Mapping):
        raise InvalidRunSpec(['AlgorithmSpecification must be an object, for example {"TrainingInputMode": "File"}.'])
    given = {"TrainingInputMode": "File", **{key: value for key, value in own.items() if value is not None}}
    if "AlgorithmName" in given:
        return Algorithm(specification=given, job_image=source.image)
    overrides = source.spec.overrides
    entry_point = overrides.entry_point
    if given.setdefault("TrainingImage", source.image) == source.image:
        if source.image is None:
            raise UnsupportedJobSource(source.why_no_image)
        entry_point = source.entry_point
    command = {"ContainerEntrypoint": entry_point, "ContainerArguments": overrides.args}
    return Algorithm(specification={**given, **{k: v for k, v in command.items() if v}}, job_image=source.image)


def _environment(args: Mapping[str, Any], computed: Mapping[str, str]) -> Any:
    """Lay the queue's variables over the computed ones, but for those that say which run it is, and the API key."""
    own = args.get("Environment", {})
    if not isinstance(own, Mapping):
        return own  # the check against SageMaker's model says what is wrong
    resume = {RESUME: "allow"} if args.get("EnableManagedSpotTraining") or args.get("RetryStrategy") else {}
    return {
        **computed,
        **resume,
        **{name: value for name, value in own.items() if name not in (API_KEY, *IDENTITY)},
    }


def _tags(args: Mapping[str, Any], ours: Mapping[str, str]) -> Any:
    own = args.get("Tags", [])
    if not isinstance(own, list):
        return own  # as above
    kept = [tag for tag in own if not (isinstance(tag, Mapping) and tag.get("Key") in ours)]
    return [*kept, *({"Key": key, "Value": value} for key, value in ours.items())]


def launch_tags(item: ItemRef, spec: RunSpec, deployment: Deployment) -> dict[str, str]:
    """Return the tags by which a training job is found again, with values cut to what SageMaker takes."""
    tags = {
        "WandbRunId": item.run_id,
        ITEM_TAG: item.id,
        "WandbEntity": spec.entity,
        "WandbProject": spec.project,
        "WandbQueue": item.queue,
        STACK_TAG: deployment.stack_name,
    }
    return {key: re.sub(r"[^\w .:/=+\-@]", "-", value)[:_MAX_TAG] for key, value in tags.items()}


def legal_training_job_name(wanted: str) -> str:
    """Make a name legal for SageMaker: letters, digits and hyphens between them, at most 63 characters."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", wanted)[:MAX_NAME].strip("-") or "run"


def alternative_training_job_name(name: str, item_id: str, attempt: int) -> str:
    """Return the name for attempt 1, 2, ... when `name` is taken: with eight hex digits of the item, then a number."""
    suffix = f"-{hashlib.sha256(item_id.encode()).hexdigest()[:8]}" + (f"-{attempt}" if attempt > 1 else "")
    return name[: MAX_NAME - len(suffix)].rstrip("-") + suffix


def time_limit(request: Mapping[str, Any]) -> int:
    """Return after how many seconds a training job has surely ended, by its own limits and a margin."""
    condition = request["StoppingCondition"]
    longest = max(condition.get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME), condition.get("MaxWaitTimeInSeconds", 0))
    return int(longest + condition.get("MaxPendingTimeInSeconds", _PENDING_ALLOWANCE) + _MARGIN)
