"""The launch plan: everything decided about one run, once, before anything is submitted."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal
from urllib.parse import quote

from launch_agent.deployment import Deployment
from launch_agent.errors import InvalidRunSpec, UnsupportedJobSource
from launch_agent.image.dockerfile import expected_choice
from launch_agent.image.recipe import ArtifactCode, BuildPlan, ImageNote
from launch_agent.model import Model
from launch_agent.plan.macros import Macros, macros_in
from launch_agent.plan.request_shape import Shape, shape_faults
from launch_agent.plan.run_environment import API_KEY, IDENTITY, artifacts_fault, run_environment
from launch_agent.plan.source import RESOURCE, Source, check_kind, source_of
from launch_agent.plan.training_request import Algorithm, launch_tags, sagemaker_args, time_limit, training_request
from launch_agent.plan.training_rules import is_offline, missing_blocks, rule_faults
from launch_agent.run_queue.items import ItemRef, RunSpec
from launch_agent.run_queue.job_artifact import JobArtifact
from launch_agent.run_queue.launch_config import LaunchConfig

_OPEN_ENUMS = frozenset({"TrainingInstanceType"})
"""SageMaker gets new instance types every month; a list frozen in botocore would refuse them."""


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


def plan_launch(
    spec: RunSpec,
    artifact: JobArtifact | None,
    item: ItemRef,
    *,
    deployment: Deployment,
    shape: Shape,
    code: ArtifactCode | None = None,
    config: LaunchConfig | None = None,
) -> LaunchPlan:
    """Decide what to submit for a run spec, within SageMaker's `shape`.

    `artifact` is its job, when that was read, and `code` where an `artifact` job has its code. Raises
    UnsupportedJobSource for what this agent does not run, InvalidRunSpec with every fault of the rest, and
    InvalidLaunchConfig where images are to go elsewhere than the stack can push to.
    """
    check_kind(spec)
    queue_config = spec.resource_args.get(RESOURCE)
    if not isinstance(queue_config, Mapping):
        raise InvalidRunSpec([_no_configuration(item.queue)], queue=item.queue)
    source = source_of(spec, artifact, item, queue_config=queue_config, deployment=deployment, code=code, config=config)
    args = sagemaker_args(_macros(spec, item, source.image).render(queue_config))
    algorithm = _algorithm(args, source)
    environment = run_environment(spec, item, None if source.build else source.image, deployment)
    request = training_request(
        args,
        algorithm=algorithm,
        environment=environment,
        tags=launch_tags(item, spec, deployment),
        run_id=item.run_id,
        deployment=deployment,
    )
    faults = [
        *_repeated_keys(queue_config),
        *_secure_mode_faults(spec, bool(config and config.secure_mode)),
        *request_faults(request, shape, queue=item.queue, region=deployment.region),
    ]
    if faults:
        raise InvalidRunSpec(faults, queue=item.queue)
    return LaunchPlan(
        item=item,
        entity=spec.entity,
        project=spec.project,
        run_url=_run_url(deployment.wandb_base_url, spec, item.run_id),
        image_uri=algorithm.specification.get("TrainingImage"),
        training_job_name=request["TrainingJobName"],
        training_request=request,
        time_limit_seconds=time_limit(request),
        is_provided_algorithm=algorithm.is_provided,
        expects_wandb_init=not algorithm.is_provided and not is_offline(request),
        warnings=tuple(_warnings(args, algorithm, spec, environment)),
        build=source.build,
        dockerfile=expected_choice(source.build.recipe) if source.build else None,
    )


def request_faults(request: Mapping[str, Any], shape: Shape, *, queue: str, region: str) -> list[str]:
    """List every fault of a CreateTrainingJob request: of its shape, and of SageMaker's other rules."""
    better_said = missing_blocks(request, queue) | artifacts_fault(request["Environment"])
    of_shape = [
        fault
        for fault in shape_faults(request, shape, open_enums=_OPEN_ENUMS)
        if not fault.startswith(tuple(f"{key} " for key in better_said))
    ]
    return [*better_said.values(), *of_shape, *rule_faults(request, region=region)]


def own_api_key(spec: RunSpec) -> str | None:
    """Return the W&B API key that the queue's configuration or the run spec brings, in this order of precedence."""
    environment = sagemaker_args(spec.resource_args.get(RESOURCE) or {}).get("Environment") or {}
    return environment.get(API_KEY) or (spec.api_key.get_secret_value() if spec.api_key else None)


def _no_configuration(queue: str) -> str:
    return (
        f'queue "{queue}" gives no resource_args.{RESOURCE}. Choose SageMaker as the queue\'s resource, and give it a '
        "configuration with RoleArn, ResourceConfig, OutputDataConfig and StoppingCondition."
    )


def _macros(spec: RunSpec, item: ItemRef, image: str | None) -> Macros:
    return Macros(
        project_name=spec.project,
        entity_name=spec.entity,
        run_id=item.run_id,
        run_name=spec.name or None,
        image_uri=image,
        author=spec.author,
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


def _repeated_keys(queue_config: Mapping[str, Any]) -> Iterator[str]:
    args = sagemaker_args({key: key for key in queue_config})
    for key in queue_config:
        spelt = next(iter(sagemaker_args({key: key})), None)
        if spelt is not None and args[spelt] != key:
            yield f"{spelt} is there twice, as {key} and as {args[spelt]}. Keep one."


def _secure_mode_faults(spec: RunSpec, secure_mode: bool) -> Iterator[str]:
    if secure_mode and spec.overrides.entry_point:
        yield "overrides.entry_point is not allowed: the launch agent runs in secure mode."


def _warnings(
    args: Mapping[str, Any], algorithm: Algorithm, spec: RunSpec, environment: Mapping[str, str]
) -> Iterator[str]:
    for name in sorted(macros_in(args)):
        known = name in Macros.model_fields
        why = "has no value in this run" if known else "is not a macro of this launch agent"
        yield f"${{{name}}} {why}; it stays as it is."
    own = args.get("Environment", {})
    for name in IDENTITY:
        if own.get(name, environment[name]) != environment[name]:
            yield f"Environment.{name} of the queue is ignored: the launch agent watches the run it was given."
    if API_KEY in own:
        yield f"Environment.{API_KEY} of the queue is used, and everyone who can read the queue can read it."
    if algorithm.is_provided and (algorithm.job_image or spec.overrides.entry_point or spec.overrides.args):
        yield "The queue names one of SageMaker's algorithms; the job's image, entry point and arguments are not used."


def _run_url(base_url: str, spec: RunSpec, run_id: str) -> str:
    app = "https://wandb.ai" if base_url.rstrip("/") == "https://api.wandb.ai" else base_url.rstrip("/")
    return f"{app}/{quote(spec.entity)}/{quote(spec.project)}/runs/{quote(run_id)}"
