"""The launch plan: everything decided about one run, once, before anything is submitted."""

import json
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import quote

from launch_agent.errors import InvalidRunSpec
from launch_agent.image.dockerfile import expected_choice
from launch_agent.image.recipe import BuildPlan, ImageNote
from launch_agent.model import Model
from launch_agent.plan.agent import Agent
from launch_agent.plan.macros import Macros, macros_in
from launch_agent.plan.queue_block import RESOURCE, queue_block, sagemaker_args
from launch_agent.plan.run_environment import API_KEY, IDENTITY
from launch_agent.plan.source import Job, check_kind, source_of
from launch_agent.plan.training_request import TrainingRequest, time_limit, training_request
from launch_agent.plan.training_rules import is_offline, request_faults
from launch_agent.run_queue.items import ItemRef, RunSpec


class LaunchPlan(Model):
    """What will be submitted for one run queue item, and how long it may take. It holds no API key."""

    item: ItemRef
    entity: str
    project: str
    run_url: str
    image_uri: str | None
    training_job_name: str
    training_request: dict[str, Any]
    time_limit_seconds: int
    is_provided_algorithm: bool
    expects_wandb_init: bool
    warnings: tuple[str, ...]
    build: BuildPlan | None = None
    """How the image is built, for jobs that come as code."""
    dockerfile: str | None = None
    """Which Dockerfile the image is built by, and why."""

    def summary(self, image: Literal["given", "reused", "to be built"]) -> dict[str, Any]:
        """Return what the execution needs and a person watching it wants to see; the rest may hold secrets."""
        shown = {"entity", "project", "run_url", "image_uri", "training_job_name", "time_limit_seconds", "dockerfile"}
        return self.model_dump(include=shown, exclude_none=True) | {
            "image": image,
            "image_ready": image != "to be built",
        }

    def with_image(self, address: str, note: ImageNote) -> "LaunchPlan":
        """Return the plan with its image as it was built: at an address by digest, started as the builder noted."""
        if self.build is None:
            return self
        # The address by tag stands for the image wherever the queue's configuration names it.
        request = json.loads(json.dumps(self.training_request).replace(self.build.image, address))
        algorithm = request["AlgorithmSpecification"]
        if algorithm.get("ContainerEntrypoint") == list(self.build.recipe.entry_point):
            algorithm["ContainerEntrypoint"] = list(note.entry_point)
        update = {"image_uri": address, "dockerfile": note.dockerfile, "training_request": request}
        return self.model_copy(update=update)


def plan_launch(spec: RunSpec, job: Job | None, item: ItemRef, agent: Agent) -> LaunchPlan:
    """Decide what to submit for a run spec; `job` is the one it names, when that was read.

    Raises UnsupportedJobSource for what this agent does not run, InvalidRunSpec with every fault of the rest, and
    InvalidLaunchConfig where images are to go elsewhere than the stack can push to.
    """
    check_kind(spec)
    block = queue_block(spec, item)
    source = source_of(spec, job, item, block, agent)
    request = training_request(source, item, block, agent.deployment)
    faults = [
        *block.faults(),
        *_secure_mode_faults(spec, agent.config.secure_mode),
        *request_faults(request.body, block.queue, agent),
    ]
    if faults:
        raise InvalidRunSpec(faults, queue=item.queue)
    algorithm = request.algorithm
    return LaunchPlan(
        item=item,
        entity=spec.entity,
        project=spec.project,
        run_url=_run_url(agent.deployment.wandb_base_url, spec, item.run_id),
        image_uri=algorithm.specification.get("TrainingImage"),
        training_job_name=request.body["TrainingJobName"],
        training_request=request.body,
        time_limit_seconds=time_limit(request.body),
        is_provided_algorithm=algorithm.is_provided,
        expects_wandb_init=not algorithm.is_provided and not is_offline(request.body),
        warnings=tuple(_warnings(request, spec)),
        build=source.build,
        dockerfile=expected_choice(source.build.recipe) if source.build else None,
    )


def own_api_key(spec: RunSpec) -> str | None:
    """Return the W&B API key that the queue's configuration or the run spec brings, in this order of precedence."""
    environment = sagemaker_args(spec.resource_args.get(RESOURCE) or {}).get("Environment") or {}
    return environment.get(API_KEY) or (spec.api_key.get_secret_value() if spec.api_key else None)


def _secure_mode_faults(spec: RunSpec, secure_mode: bool) -> Iterator[str]:
    if secure_mode and spec.overrides.entry_point:
        yield "overrides.entry_point is not allowed: the launch agent runs in secure mode."


def _warnings(request: TrainingRequest, spec: RunSpec) -> Iterator[str]:
    for name in sorted(macros_in(request.args)):
        known = name in Macros.model_fields
        why = "has no value in this run" if known else "is not a macro of this launch agent"
        yield f"${{{name}}} {why}; it stays as it is."
    own = request.args.get("Environment", {})
    for name in IDENTITY:
        if own.get(name, request.environment[name]) != request.environment[name]:
            yield f"Environment.{name} of the queue is ignored: the launch agent watches the run it was given."
    if API_KEY in own:
        yield f"Environment.{API_KEY} of the queue is used, and everyone who can read the queue can read it."
    algorithm = request.algorithm
    if algorithm.is_provided and (algorithm.job_image or spec.overrides.entry_point or spec.overrides.args):
        yield "The queue names one of SageMaker's algorithms; the job's image, entry point and arguments are not used."


def _run_url(base_url: str, spec: RunSpec, run_id: str) -> str:
    app = "https://wandb.ai" if base_url.rstrip("/") == "https://api.wandb.ai" else base_url.rstrip("/")
    return f"{app}/{quote(spec.entity)}/{quote(spec.project)}/runs/{quote(run_id)}"
