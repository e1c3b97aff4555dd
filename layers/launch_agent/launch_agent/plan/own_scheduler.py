"""A sweep scheduler that is a job of its own: a training job on a small instance, with its queue's configuration."""

from collections.abc import Mapping
from typing import Any

from launch_agent.plan.queue_block import camel_case
from launch_agent.run_queue.items import RESOURCE, RunSpec

_OF_OTHER_INSTANCES = ("InstanceGroups", "InstancePreferences", "InstancePlacementConfig", "TrainingPlanArn")


def as_run(spec: RunSpec, queue: Mapping[str, Any] | None, *, instance_type: str) -> RunSpec:
    """Return the run spec of a scheduler's job as that of a run: one instance of `instance_type`.

    `queue` is the queue's own block. The scheduler's item has it only if W&B adds it to items for other resources.
    """
    block = {**(queue or {}), **(spec.resource_args.get(RESOURCE) or {})}
    block = {camel_case(key) if camel_case(key) == "ResourceConfig" else key: value for key, value in block.items()}
    resources = block.get("ResourceConfig")
    kept = {
        key: value
        for key, value in (resources if isinstance(resources, Mapping) else {}).items()
        if key not in _OF_OTHER_INSTANCES
    }
    block["ResourceConfig"] = {**kept, "InstanceType": instance_type, "InstanceCount": 1}
    return spec.model_copy(update={"uri": None, "resource": RESOURCE, "resource_args": {RESOURCE: block}})
