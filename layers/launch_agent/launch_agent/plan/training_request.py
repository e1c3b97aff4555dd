"""The CreateTrainingJob request: the queue's configuration, the job's image and the run's environment in one.

It equals what the reference launch agent submits for the same run spec, but for the differences that
docs/compatibility.md lists.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from launch_agent.deployment import Deployment
from launch_agent.model import Model
from launch_agent.plan.run_environment import API_KEY, IDENTITY, RESUME
from launch_agent.run_queue.items import ItemRef, RunSpec

MAX_NAME = 63
_MAX_TAG = 256
_FOR_LAUNCH_AGENTS = ("EcrRepoName", "region", "profile", "builder")
_DEFAULT_MAX_RUNTIME = 86_400
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


def sagemaker_args(queue_config: Mapping[str, Any]) -> dict[str, Any]:
    """Spell the keys of the queue's block as SageMaker does, and leave out nulls and what is for launch agents."""
    return {
        camel_case(key): value
        for key, value in queue_config.items()
        if value is not None and key not in _FOR_LAUNCH_AGENTS
    }


def camel_case(key: str) -> str:
    """Spell a snake_case key as SageMaker does. A key without underscore stays, right or wrong."""
    return "".join(part.title() for part in key.split("_")) if "_" in key else key


def training_request(
    args: Mapping[str, Any],
    *,
    algorithm: Algorithm,
    environment: Mapping[str, str],
    tags: Mapping[str, str],
    run_id: str,
    deployment: Deployment,
) -> dict[str, Any]:
    """Return the request, but for the API key. `args` is the queue's block after `sagemaker_args`."""
    request = {
        **args,
        "TrainingJobName": legal_training_job_name(str(args.get("TrainingJobName") or run_id)),
        "AlgorithmSpecification": algorithm.specification,
        "Environment": _environment(args, environment),
        "Tags": _tags(args, tags),
    }
    if isinstance(args.get("RoleArn"), str):
        request["RoleArn"] = deployment.role_arn(args["RoleArn"])
    return request


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
        "WandbRunQueueItemId": item.id,
        "WandbEntity": spec.entity,
        "WandbProject": spec.project,
        "WandbQueue": item.queue,
        "LaunchStack": deployment.stack_name,
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
    longest = max(condition.get("MaxRuntimeInSeconds", _DEFAULT_MAX_RUNTIME), condition.get("MaxWaitTimeInSeconds", 0))
    return int(longest + condition.get("MaxPendingTimeInSeconds", _PENDING_ALLOWANCE) + _MARGIN)
