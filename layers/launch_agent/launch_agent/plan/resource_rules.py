"""Rules for ResourceConfig and StoppingCondition that SageMaker enforces and its service model does not have.

Sources: ResourceConfig, InstancePreference and StoppingCondition in the SageMaker API reference
(https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ResourceConfig.html), and the sources at each rule.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from launch_agent.model import shown
from launch_agent.plan.fault import Fault
from launch_agent.plan.training_request import DEFAULT_MAX_RUNTIME

EXAMPLE = '{"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 50}'
_TYPE = re.compile(r"ml\.[a-z][a-z0-9-]*\.[a-z0-9-]+")
_LONGEST_RUNTIME = 28 * 86_400
_EXCLUDED_BY_PREFERENCES = ("InstanceType", "InstanceGroups", "InstancePlacementConfig")
_OF_PROCESSING = ("DebugRuleConfigurations", "ProfilerRuleConfigurations")
LOCAL_STORAGE = frozenset(
    {
        *("g4dn", "g5", "g6", "g6e", "g7", "g7e", "p3dn", "p4d", "p4de", "p5", "p5e", "p5en", "p6-b200", "p6-b300"),
        *("p6e-gb200", "r5d", "trn1", "trn1n", "trn2"),
    }
)
"""The families of SageMaker's training instances with NVMe storage, from EC2's lists
(https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html#ac_instance-store)."""


def resource_faults(body: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of the instances and time limits of a request. The request may have any shape."""
    config = _block(body, "ResourceConfig")
    spot = bool(body.get("EnableManagedSpotTraining"))
    yield from _instance_types(body)
    if config.get("InstancePreferences"):
        yield from _preferences(config, spot)
    elif config.get("InstanceGroups"):
        yield from _groups(config)
    elif config:
        yield from _instances(config)
    yield from _storage(config)
    yield from _warm_pool(config, spot)
    yield from _read_only(config)
    yield from _time(_block(body, "StoppingCondition"), spot)


def _block(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    block = body.get(key)
    return block if isinstance(block, Mapping) else {}


def _entries(block: Mapping[str, Any], key: str) -> list[tuple[str, Mapping[str, Any]]]:
    entries = block.get(key)
    listed = entries if isinstance(entries, list) else []
    return [(f"{key}[{index}]", entry) for index, entry in enumerate(listed) if isinstance(entry, Mapping)]


def _types(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the path and value of each instance type in a request."""
    config = _block(body, "ResourceConfig")
    of_training = [("", config), *_entries(config, "InstanceGroups"), *_entries(config, "InstancePreferences")]
    places = [(f"ResourceConfig.{path}".rstrip("."), entry) for path, entry in of_training]
    places += [place for key in _OF_PROCESSING for place in _entries(body, key)]
    for path, entry in places:
        if isinstance(entry.get("InstanceType"), str):
            yield f"{path}.InstanceType", entry["InstanceType"]


def _instance_types(body: Mapping[str, Any]) -> Iterator[Fault]:
    for path, text in _types(body):
        if _TYPE.fullmatch(text) or "{{" in text:
            continue
        better = text.strip().lower()
        better = better if better.startswith("ml.") else f"ml.{better}"
        todo = f"Did you mean {better}?" if _TYPE.fullmatch(better) else "Write for example ml.g5.xlarge."
        yield Fault(path, f'{path} is "{shown(text)}", which is not a SageMaker instance type. {todo}')


def _instances(config: Mapping[str, Any]) -> Iterator[Fault]:
    for key in ("InstanceType", "InstanceCount"):
        if not config.get(key):
            yield Fault("", f"ResourceConfig.{key} is missing or zero. Write for example {EXAMPLE}.")


def _groups(config: Mapping[str, Any]) -> Iterator[Fault]:
    """SageMaker's message is: InstanceType or InstanceCount cannot be specified with InstanceGroups."""
    for key in ("InstanceType", "InstanceCount"):
        if config.get(key) is not None:
            yield _exclusive("InstanceGroups", key)
    for path, group in _entries(config, "InstanceGroups"):
        if group.get("InstanceCount") == 0:
            yield Fault("", f"ResourceConfig.{path}.InstanceCount is zero.")


def _preferences(config: Mapping[str, Any], spot: bool) -> Iterator[Fault]:
    preferences = [preference for _, preference in _entries(config, "InstancePreferences")]
    for key in _EXCLUDED_BY_PREFERENCES:
        if config.get(key) is not None:
            yield _exclusive("InstancePreferences", key)
    if config.get("TrainingPlanArn") is not None and any(each.get("TrainingPlanArns") for each in preferences):
        yield _exclusive("InstancePreferences[].TrainingPlanArns", "TrainingPlanArn")
    if spot:
        yield Fault(
            "EnableManagedSpotTraining",
            "EnableManagedSpotTraining cannot be used with ResourceConfig.InstancePreferences. Leave one of them out.",
        )
    counted = sum(each.get("InstanceCount") is not None for each in preferences)
    once = config.get("InstanceCount") is not None
    if counted not in (0, len(preferences)) or once == bool(counted):
        yield Fault(
            "",
            "Set InstanceCount in each of ResourceConfig.InstancePreferences, or once in ResourceConfig. "
            f"{counted} of {len(preferences)} have one, and ResourceConfig {'has one too' if once else 'has none'}.",
        )
    types = [each.get("InstanceType") for each in preferences]
    if len(types) > len({str(each) for each in types}):
        yield Fault("", "ResourceConfig.InstancePreferences has an instance type more than once. Keep one of each.")


def _exclusive(one: str, other: str) -> Fault:
    return Fault("", f"ResourceConfig.{other} cannot be used with ResourceConfig.{one}. Leave one of them out.")


def _storage(config: Mapping[str, Any]) -> Iterator[Fault]:
    if not config.get("VolumeKmsKeyId"):
        return
    for _, text in _types({"ResourceConfig": config}):
        if text.removeprefix("ml.").partition(".")[0] in LOCAL_STORAGE:
            yield Fault(
                "",
                f"ResourceConfig.VolumeKmsKeyId cannot be used with {text}: its hardware encrypts its local storage. "
                "Leave the key out, or choose a type without local storage.",
            )
            return


def _warm_pool(config: Mapping[str, Any], spot: bool) -> Iterator[Fault]:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/train-warm-pools.html, under Considerations."""
    other = "EnableManagedSpotTraining" if spot else "InstanceGroups" if config.get("InstanceGroups") else ""
    if config.get("KeepAlivePeriodInSeconds") and other:
        yield Fault("", f"ResourceConfig.KeepAlivePeriodInSeconds cannot be used with {other}. Leave one of them out.")


def _read_only(config: Mapping[str, Any]) -> Iterator[Fault]:
    for key in ("SelectedInstanceType", "SelectedInstanceCount"):
        if config.get(key) is not None:
            at = f"ResourceConfig.{key}"
            yield Fault(at, f"{at} is part of SageMaker's responses. Leave it out.")


def _time(condition: Mapping[str, Any], spot: bool) -> Iterator[Fault]:
    runtime = condition.get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME)
    wait = condition.get("MaxWaitTimeInSeconds")
    if not isinstance(runtime, int) or not isinstance(wait, int | None):
        return
    if runtime > _LONGEST_RUNTIME:
        at = "StoppingCondition.MaxRuntimeInSeconds"
        yield Fault(at, f"{at} is {shown(runtime)}. It must be at most {_LONGEST_RUNTIME:,} (28 days).")
    if not spot and wait is not None:
        yield Fault("", "StoppingCondition.MaxWaitTimeInSeconds is for EnableManagedSpotTraining only. Leave it out.")
    elif spot and (wait is None or wait < runtime):
        yield Fault(
            "",
            "EnableManagedSpotTraining needs StoppingCondition.MaxWaitTimeInSeconds of at least MaxRuntimeInSeconds, "
            f"which is {shown(runtime)}. It is {'missing' if wait is None else shown(wait)}.",
        )
