"""What a run asks for: the values of a request, of its job and of its build that the rules of `policy` are about.

Values are found by their type in SageMaker's model, wherever they are in the request. The request may have any shape.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from launch_agent.image.recipe import BuildPlan, GitCode
from launch_agent.plan.request_shape import Shape
from launch_agent.plan.source import Source
from launch_agent.plan.training_request import DEFAULT_MAX_RUNTIME, TrainingRequest
from launch_agent.run_queue.items import RunSpec
from launch_agent.run_queue.job_artifact import parse_job_name

BY_TYPE = {
    "RoleArn": "roles",
    "AlgorithmImage": "images",
    "ArnOrName": "algorithms",
    "TrainingInstanceType": "instance_types",
    "ProcessingInstanceType": "instance_types",
    "SubnetId": "subnets",
    "SecurityGroupId": "security_groups",
    "HubDataSetArn": "inputs",
    "HubContentArn": "inputs",
    "TrainingContainerArgument": "arguments",
}
"""The rule about each type of SageMaker's model. The rule about an S3 address depends on its place."""
_S3 = {"InputDataConfig": "inputs", "CheckpointConfig": "checkpoints"}
_CODE = (("HyperParameters", "sagemaker_submit_directory"), ("Environment", "SAGEMAKER_SUBMIT_DIRECTORY"))
"""The hyperparameter and the variable that name more code in S3."""


class Asked(NamedTuple):
    """A value that a run asks for, with the rule about it and its key."""

    rule: str
    key: str
    value: str


class Amount(NamedTuple):
    """A number that a run asks for, with the rule about it and its key."""

    rule: str
    key: str
    value: int


def asked_values(source: Source, request: TrainingRequest, shape: Shape) -> Iterator[Asked]:
    """Yield every text that a rule is about. The image that a build will push is ours, and left out."""
    built = source.build.image if source.build else None
    yield from (asked for asked in _of_request(request.body, shape) if asked.value != built)
    yield from _of_command(request)
    yield Asked("projects", "The run's project", f"{source.spec.entity}/{source.spec.project}")
    yield Asked("jobs", "The run's job", _job_name(source.spec))
    if source.build:
        yield from _of_build(source.build)


def asked_amounts(body: Mapping[str, Any]) -> Iterator[Amount]:
    """Yield every number that a rule is about."""
    stopping, resources = block(body, "StoppingCondition"), block(body, "ResourceConfig")
    found: dict[tuple[str, str], object] = {
        ("max_runtime_seconds", "StoppingCondition.MaxRuntimeInSeconds"): stopping.get(
            "MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME
        ),
        ("max_wait_seconds", "StoppingCondition.MaxWaitTimeInSeconds"): stopping.get("MaxWaitTimeInSeconds"),
        ("max_keep_alive_seconds", "ResourceConfig.KeepAlivePeriodInSeconds"): resources.get(
            "KeepAlivePeriodInSeconds"
        ),
        ("max_volume_gb", "ResourceConfig.VolumeSizeInGB"): resources.get("VolumeSizeInGB"),
        ("max_instances", "ResourceConfig.InstanceCount"): resources.get("InstanceCount"),
    }
    groups = [group.get("InstanceCount") for group in blocks(resources, "InstanceGroups")]
    found["max_instances", "The sum of ResourceConfig.InstanceGroups"] = sum(n for n in groups if isinstance(n, int))
    for index, preference in enumerate(blocks(resources, "InstancePreferences")):
        found["max_instances", f"ResourceConfig.InstancePreferences[{index}]"] = preference.get("InstanceCount")
    for name in ("DebugRuleConfigurations", "ProfilerRuleConfigurations"):
        for index, rule in enumerate(blocks(body, name)):
            found["max_volume_gb", f"{name}[{index}].VolumeSizeInGB"] = rule.get("VolumeSizeInGB")
    yield from (Amount(rule, key, value) for (rule, key), value in found.items() if isinstance(value, int))


def data_sources(body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the path and the data source of each input channel."""
    for index, channel in enumerate(blocks(body, "InputDataConfig")):
        yield f"InputDataConfig[{index}].DataSource", block(channel, "DataSource")


def block(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object at a key; an empty one if it is missing."""
    value = body.get(key)
    return value if isinstance(value, Mapping) else {}


def blocks(body: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return the objects in the list at a key."""
    items = body.get(key)
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []


def _of_request(body: Mapping[str, Any], shape: Shape) -> Iterator[Asked]:
    for key, kind, value in _texts(body, shape, ""):
        if kind == "S3Uri":
            yield Asked(_S3.get(re.split(r"[.\[]", key)[0], "outputs"), key, value)
        elif kind in BY_TYPE:
            yield Asked(BY_TYPE[kind], key, value)
    for key, source in data_sources(body):
        system = block(source, "FileSystemDataSource")
        if system:
            where = f"{system.get('FileSystemId', '')}{system.get('DirectoryPath', '')}"
            yield Asked("inputs", f"{key}.FileSystemDataSource", where)
    for name, key in _CODE:
        code = block(body, name).get(key)
        if isinstance(code, str) and "://" in code:
            yield Asked("inputs", f"{name}.{key}", code.strip('"'))  # SageMaker's toolkits write values as JSON


def _texts(value: object, shape: Shape, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield the path, the type in SageMaker's model, and the value of each text in a request."""
    if shape.type_name == "structure" and isinstance(value, Mapping):
        members = cast(Any, shape).members
        for key in sorted(value.keys() & members.keys()):
            yield from _texts(value[key], members[key], f"{path}.{key}" if path else key)
    elif shape.type_name == "list" and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, cast(Any, shape).member, f"{path}[{index}]")
    elif shape.type_name == "string" and isinstance(value, str):
        yield path, shape.name, value


def _of_command(request: TrainingRequest) -> Iterator[Asked]:
    entry_point = block(request.body, "AlgorithmSpecification").get("ContainerEntrypoint")
    if isinstance(entry_point, list):
        command = shlex.join(map(str, entry_point))
        yield Asked("entry_points", "AlgorithmSpecification.ContainerEntrypoint", command)
    if request.args.get("TrainingJobName"):
        yield Asked("job_names", "TrainingJobName", str(request.body["TrainingJobName"]))
    for name in request.own_environment:
        yield Asked("environment", "A variable of Environment", name)


def _job_name(spec: RunSpec) -> str:
    """Return the full name of the run's job; empty for a run of an image."""
    if not spec.job or spec.image:
        return ""
    name = parse_job_name(spec.job, entity=spec.entity, project=spec.project)
    return f"{name.entity}/{name.project}/{name.collection}:{name.alias}"


def _of_build(build: BuildPlan) -> Iterator[Asked]:
    yield Asked("platforms", "builder.platform", build.recipe.platform)
    if isinstance(build.code, GitCode):
        yield Asked("git_remotes", "The job's git remote", build.code.remote)
    images = {
        "The base image, of the job or of builder.base_image,": build.recipe.base_image,
        "builder.accelerator.base_image": build.recipe.accelerator_image,
    }
    yield from (Asked("base_images", key, image) for key, image in images.items() if image)
