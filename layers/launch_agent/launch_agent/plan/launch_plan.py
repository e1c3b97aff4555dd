"""The launch plan: everything decided about one run, once, before anything is submitted."""

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, Literal

from pydantic import Field

from launch_agent.errors import InvalidRunSpec
from launch_agent.image.dockerfile import expected_choice
from launch_agent.image.recipe import BuildPlan, ImageNote
from launch_agent.model import Model, shown
from launch_agent.plan.agent import Agent
from launch_agent.plan.asked import asked_values
from launch_agent.plan.delivery import Delivery, delivery_faults, delivery_of, gets_agents_key
from launch_agent.plan.macros import Macros
from launch_agent.plan.policy import policy_faults
from launch_agent.plan.queue_block import QueueBlock, queue_block, sagemaker_args
from launch_agent.plan.run_environment import API_KEY, IDENTITY
from launch_agent.plan.secure_mode import secure_mode_faults
from launch_agent.plan.source import Job, Source, check_kind, source_of
from launch_agent.plan.training_request import TrainingRequest, time_limit, training_request
from launch_agent.plan.training_rules import expects_wandb_init, request_faults
from launch_agent.run_queue.items import RESOURCE, ItemRef, RunSpec
from launch_agent.run_queue.policy import matches


class LaunchPlan(Model):
    """What will be submitted for one run queue item, and how long it may take. It contains no API key."""

    item: ItemRef
    entity: str
    project: str
    run_url: str
    image_uri: str | None
    training_job_name: str
    training_request: dict[str, Any]
    time_limit_seconds: int
    is_provided_algorithm: bool
    """Whether the container never calls wandb.init, so that the agent writes its run."""
    expects_wandb_init: bool
    warnings: tuple[str, ...]
    build: BuildPlan | None = None
    """How to build the image, for a job that comes as code."""
    delivery: Delivery | None = None
    """How the container gets its API key; None if it gets none, or in its environment, as in plans of version 0.1.0."""
    gets_agents_key: bool = False
    """Whether the container gets the launch agent's own API key."""
    dockerfile: str | None = None
    """Which Dockerfile builds the image, and why."""
    instance_limits: dict[str, int] = Field(default_factory=dict)
    """The limits of `max_jobs_per_instance_type` that the run counts for, by their patterns."""

    def summary(self, image: Literal["given", "reused", "to be built"]) -> dict[str, Any]:
        """Return what the execution and a person watching it need. The rest of the plan may contain secrets."""
        shown = {"entity", "project", "run_url", "image_uri", "training_job_name", "time_limit_seconds", "dockerfile"}
        return self.model_dump(include=shown, exclude_none=True) | {
            "image": image,
            "image_ready": image != "to be built",
        }

    def api_key(self, spec: RunSpec, stacks: Callable[[], str]) -> str | None:
        """Return the W&B API key for the container: the queue's, else the run spec's, else the stack's.

        `stacks` reads the stack's. A container that never calls wandb.init gets the queue's key or None.
        """
        environment = sagemaker_args(spec.resource_args.get(RESOURCE) or {}).get("Environment") or {}
        of_the_queue = environment.get(API_KEY)
        if of_the_queue or self.is_provided_algorithm:
            return of_the_queue or None
        return spec.api_key.get_secret_value() if spec.api_key else stacks()

    def with_image(self, address: str, note: ImageNote) -> "LaunchPlan":
        """Return the plan with the image that was built: its address by digest, and the entry point in the note."""
        if self.build is None:
            return self
        # The address by tag stands for the image wherever the queue's configuration names it.
        request = json.loads(json.dumps(self.training_request).replace(self.build.image, address))
        algorithm = request["AlgorithmSpecification"]
        if algorithm.get("ContainerEntrypoint") == list(self.build.recipe.entry_point):
            algorithm["ContainerEntrypoint"] = list(note.entry_point)
        update = {"image_uri": address, "dockerfile": note.dockerfile, "training_request": request}
        return self.model_copy(update=update)


def plan_launch(
    spec: RunSpec, job: Job | None, item: ItemRef, agent: Agent, queue: Mapping[str, Any] | None = None
) -> LaunchPlan:
    """Decide what to submit for a run spec. `job` is the job it names, if the agent has read it.

    `queue` is the queue's own block in W&B, with which `secure_mode` compares; None if it is not known.
    Raises UnsupportedJobSource for a job that this agent does not run, InvalidRunSpec with every fault, and
    InvalidLaunchConfig if launch-config.yaml names a repository that the stack does not push to.
    """
    check_kind(spec)
    block = queue_block(spec, item)
    source = source_of(spec, job, item, block, agent)
    request = training_request(source, item, block, agent.deployment)
    secure = secure_mode_faults(source, block, queue) if agent.config.secure_mode else ()
    delivery = delivery_of(request, block, agent)
    first = chain(secure, delivery_faults(request, delivery, spec, agent))
    of_request = map(block.in_own_words, request_faults(request, block, agent, delivery))
    faults = [*block.faults(), *(fault.says for fault in first), *of_request]
    faults += policy_faults(source, request, item.queue, agent)
    if faults:
        raise InvalidRunSpec(faults, queue=item.queue)
    return LaunchPlan(
        item=item,
        entity=spec.entity,
        project=spec.project,
        run_url=agent.deployment.run_page(spec.entity, spec.project, item.run_id),
        image_uri=request.algorithm.specification.get("TrainingImage"),
        training_job_name=request.body["TrainingJobName"],
        training_request=request.body,
        time_limit_seconds=time_limit(request.body),
        is_provided_algorithm=request.algorithm.is_provided,
        expects_wandb_init=expects_wandb_init(request),
        warnings=tuple(_warnings(request, block, spec, delivery)),
        build=source.build,
        delivery=delivery,
        gets_agents_key=gets_agents_key(request, spec, agent),
        dockerfile=expected_choice(source.build.recipe) if source.build else None,
        instance_limits=_instance_limits(source, request, agent),
    )


def _instance_limits(source: Source, request: TrainingRequest, agent: Agent) -> dict[str, int]:
    limits = agent.config.max_jobs_per_instance_type
    asked = asked_values(source, request, agent.shape) if limits else ()
    types = {each.value for each in asked if each.rule == "instance_types"}
    return {pattern: limit for pattern, limit in limits.items() if any(matches([pattern], kind) for kind in types)}


def _warnings(request: TrainingRequest, block: QueueBlock, spec: RunSpec, delivery: Delivery | None) -> Iterator[str]:
    others = {key: value for key, value in block.args.items() if key != "Tags"}
    for name in sorted(request.macros.without_value(others)):
        yield f"{_why_visible(name)}; it is not replaced."
    for name in request.tags_left_out:
        yield f"{_why_visible(name)}; the tag with it is left out."
    for name in IDENTITY:
        if request.own_environment.get(name, request.environment[name]) != request.environment[name]:
            yield f"The queue's Environment.{name} is ignored: the run's own value is used."
    yield from _key_warnings(request, block, delivery)
    is_resource = "AlgorithmName" in request.algorithm.specification
    if is_resource and (request.algorithm.job_image or spec.overrides.entry_point or spec.overrides.args):
        yield "The queue names a SageMaker algorithm. The job's image, entry point and arguments are not used."


def _key_warnings(request: TrainingRequest, block: QueueBlock, delivery: Delivery | None) -> Iterator[str]:
    if API_KEY in request.own_environment:
        yield f"The queue's Environment.{API_KEY} is used. Everyone who can read the queue can read this key."
    if delivery and block.settings.start_through_sh and not delivery.through_sh:
        yield (
            "The launch agent does not know the command of this image, so it cannot set WANDB_API_KEY: the wandb SDK "
            "reads the key from the file that NETRC names. If other code needs the variable, name the command in "
            "AlgorithmSpecification.ContainerEntrypoint."
        )
    if not request.algorithm.takes_channel and (
        API_KEY in request.own_environment or not request.algorithm.is_provided
    ):
        yield (
            "SageMaker's algorithms take no other input channel, so the W&B API key is in the training job's "
            "Environment. Everyone who can call sagemaker:DescribeTrainingJob can read it."
        )


def _why_visible(name: str) -> str:
    why = "has no value in this run" if name in Macros.model_fields else "is not a macro of this launch agent"
    return f"${{{shown(name)}}} {why}"
