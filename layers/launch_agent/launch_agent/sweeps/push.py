"""The run queue item of one run of a sweep: the same that `wandb scheduler` queues.

https://github.com/wandb/wandb/blob/v0.31.0/wandb/sdk/launch/sweeps/scheduler.py, _add_to_launch_queue
"""

import copy
import json
from collections.abc import Mapping
from typing import Any

from launch_agent.model import Model
from launch_agent.sweeps.order import Order


class Push(Model):
    """What to queue for one run, and where."""

    run_id: str
    queue_entity: str
    queue: str
    run_spec: dict[str, Any]
    priority: int
    template_variables: dict[str, Any] | None = None


def push_of(order: Order, run_id: str, parameters: Mapping[str, Any]) -> Push:
    """Return what to queue for a run with these parameters."""
    spec = copy.deepcopy(order.launch)
    overrides = spec["overrides"] = dict(spec.get("overrides") or {})
    overrides["run_config"] = {**(overrides.get("run_config") or {}), **parameters}
    entry_point, args = _entry_point_and_args(order, parameters)
    if args:
        overrides["args"] = args
    if entry_point:
        overrides["entry_point"] = entry_point
    if order.job:
        spec["job"] = order.job
    spec["docker"] = {**(spec.get("docker") or {}), **({"docker_image": order.image_uri} if order.image_uri else {})}
    spec |= {"entity": order.entity, "project": order.project, "sweep_id": order.sweep_id, "run_id": run_id}
    if order.author:
        spec["author"] = order.author
    spec.setdefault("resource", None)
    spec.setdefault("git", {})
    if spec.get("resource_args") and spec.get("template_variables"):
        del spec["resource_args"]  # W&B takes one of them only
    variables = spec.pop("template_variables") if isinstance(spec.get("template_variables"), dict) else None
    return Push(
        run_id=run_id,
        queue_entity=order.queue_entity,
        queue=order.queue,
        run_spec=spec,
        priority=order.priority,
        template_variables=variables,
    )


def _entry_point_and_args(order: Order, parameters: Mapping[str, Any]) -> tuple[list[Any], list[str]]:
    """Return the sweep's command without the macros for parameters, and the arguments for the last of these macros.

    Each macro is replaced once. Other macros stay: a scheduler has no environment to read `${envvar:...}` from.
    """
    entry_point, args = list(order.command), list[str]()
    if entry_point:
        for macro, values in _arguments(parameters).items():
            if macro in entry_point:
                entry_point.remove(macro)
                args = values
    if "${program}" in entry_point:
        entry_point[entry_point.index("${program}")] = order.program
    return entry_point, args


def _arguments(parameters: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the arguments for each macro. A value is written as Python's `str` writes it."""
    pairs = [f"{name}={value}" for name, value in parameters.items()]
    return {
        "${args}": [f"--{pair}" for pair in pairs],
        "${args_no_equals}": [part for name, value in parameters.items() for part in (f"--{name}", str(value))],
        "${args_no_hyphens}": pairs,
        "${args_no_boolean_flags}": [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in parameters.items()
            if value is not False
        ],
        "${args_json}": [json.dumps(dict(parameters))],
        "${args_append_hydra}": [f"+{pair}" for pair in pairs],
        "${args_override_hydra}": [f"++{pair}" for pair in pairs],
    }
