"""The run that is written for a container that never calls wandb.init: only one that is nobody else's.

A run spec can ask for any run id of any project that the launch agent's API key may write, finished runs among them. So
a run is written only if W&B has no run of this id, or has one that this item made: it has the item's id in its config,
where the wandb SDK puts it too (`wandb/sdk/wandb_run.py`, launch_trace_id), or is the pending run of the item's sweep.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from launch_agent.errors import InvalidRunSpec
from launch_agent.model import Wire
from launch_agent.run_queue.items import ItemRef, RunSpec

PENDING = "pending"
_TRACE_ID = "launch_trace_id"
_OF_THE_SDK = "_wandb"


class RunInWandb(Wire):
    """A run as W&B has it: `run { state sweepName config(keys: ["_wandb"]) }`."""

    state: str | None = None
    sweep_name: str | None = Field(alias="sweepName", default=None)
    config: str | None = None


def may_write(run: RunInWandb | None, item: ItemRef, spec: RunSpec) -> bool:
    """Whether a run, None where W&B has none of its id, may be written for an item."""
    if run is None:
        return True
    if run.state == PENDING and spec.sweep_id:
        return run.sweep_name == spec.sweep_id
    return _item_in(run.config) == item.id


def check_may_write(run: RunInWandb | None, item: ItemRef, spec: RunSpec) -> None:
    """Raise InvalidRunSpec for a run that is somebody else's, before its training job costs anything."""
    if not may_write(run, item, spec):
        raise InvalidRunSpec(
            [
                f"{spec.entity}/{spec.project} has a run {item.run_id} already, and this one would be written over it, "
                "since its container never calls wandb.init. Queue it with another run_id, or with none."
            ],
            queue=item.queue,
        )


def marked(config: Mapping[str, Any], item: ItemRef) -> str:
    """Return the config of a written run, as W&B takes it, with the item it is for."""
    values = {**config, _OF_THE_SDK: {_TRACE_ID: item.id}}
    return json.dumps({key: {"value": value} for key, value in values.items()})


def _item_in(config: str | None) -> str | None:
    try:
        found = json.loads(config or "{}")[_OF_THE_SDK]["value"][_TRACE_ID]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) else None
