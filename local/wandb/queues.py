"""Run queues: items are pushed, leased, acknowledged or failed; launch agents poll."""

import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from local.wandb.answers import Refused, connection, opaque, timestamp

if TYPE_CHECKING:
    from local.wandb.state import Project, State

DEFAULT_PRIORITY = 2
_NAME_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "number": (int, float)}


def short_name() -> str:
    """Return a name like those that the server gives to agents, runs and sweeps: eight letters and digits."""
    return "".join(secrets.choice(_NAME_ALPHABET) for _ in range(8))


class ItemState(StrEnum):
    """The stored state of a queue item."""

    PENDING = "PENDING"
    LEASED = "LEASED"
    CLAIMED = "CLAIMED"
    FAILED = "FAILED"


@dataclass
class ResourceConfig:
    """The configuration that a queue adds to every run spec: `config` is {"resource_args": {resource: {...}}}."""

    id: str
    resource: str
    config: dict[str, Any]
    variables: dict[str, Any]
    created_at: str = field(default_factory=timestamp)

    @property
    def template_variables(self) -> list[dict[str, Any]]:
        """The template variables and their schemas, in the form for clients."""
        return [{"name": name, "schema": json.dumps(each["schema"])} for name, each in self.variables.items()]

    def substituted(self, values: Mapping[str, Any]) -> Any:
        """Return the configuration with its template variables replaced. Raises Refused for values outside a schema."""
        chosen = {}
        for name, variable in self.variables.items():
            schema = variable["schema"]
            value = values.get(name, schema.get("default"))
            _check_variable(name, value, schema)
            chosen[name] = value
        return _substitute(self.config.get("resource_args", {}), chosen)


def _check_variable(name: str, value: Any, schema: Mapping[str, Any]) -> None:
    types = _TYPES.get(schema.get("type", "string"), (object,))
    fits = isinstance(value, types) and not isinstance(value, bool)
    if not fits or ("enum" in schema and value not in schema["enum"]):
        raise Refused(f"template variable {name}: {value!r} is not allowed by {json.dumps(schema)}")
    if value < schema.get("minimum", value) or value > schema.get("maximum", value):
        raise Refused(f"template variable {name}: {value!r} is out of the bounds of {json.dumps(schema)}")


def _substitute(source: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(source, str):
        whole = _VARIABLE.fullmatch(source)
        if whole and whole[1] in values:
            return values[whole[1]]
        return _VARIABLE.sub(lambda found: str(values.get(found[1], found[0])), source)
    if isinstance(source, list):
        return [_substitute(item, values) for item in source]
    if isinstance(source, dict):
        return {key: _substitute(item, values) for key, item in source.items()}
    return source


def merged(below: Any, above: Any) -> Any:
    """Merge two JSON values deeply; `above` wins."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}
    return below if above is None else above


@dataclass
class LaunchAgent:
    """A registered launch agent. The server gives it a name, which is the run id of its own run."""

    id: str
    project: "Project" = field(repr=False)
    run_queues: list[str]
    hostname: str
    config: str | None
    version: str | None
    name: str = field(default_factory=short_name)
    agent_status: str = "POLLING"
    stop_polling: bool = False
    heartbeat_at: str = field(default_factory=timestamp)
    created_at: str = field(default_factory=timestamp)


@dataclass
class RunQueueItem:
    """One item. When its lease expires, it is PENDING again, at its old place."""

    id: str
    number: int
    queue: "RunQueue" = field(repr=False)
    run_spec: dict[str, Any]
    priority: int
    stored_state: ItemState = ItemState.PENDING
    associated_run_id: str | None = None
    launch_agent_id: str | None = None
    leased_until: float = 0.0
    error: dict[str, Any] | None = None
    warnings: list[dict[str, Any]] = field(default_factory=list)
    created_at: str = field(default_factory=timestamp)

    @property
    def state(self) -> ItemState:
        """The state; an item whose lease has expired is PENDING."""
        if self.stored_state is ItemState.LEASED and time.time() >= self.leased_until:
            return ItemState.PENDING
        return self.stored_state

    def lease(self, agent_id: str | None, seconds: float) -> None:
        """Lease the item to a launch agent for this many seconds."""
        self.stored_state, self.launch_agent_id = ItemState.LEASED, agent_id
        self.leased_until = time.time() + seconds

    def ack(self, run_name: str) -> bool:
        """Acknowledge the item; return whether the server accepts that."""
        behaviour = self.queue.project.state.behaviour
        if self.stored_state is ItemState.CLAIMED:
            return behaviour.repeated_ack and self.associated_run_id == run_name
        expired = self.state is not self.stored_state
        if self.stored_state is not ItemState.LEASED or (expired and not behaviour.late_ack):
            return False
        self.stored_state, self.associated_run_id = ItemState.CLAIMED, run_name
        self.queue.waiting.pop(self.id, None)
        return True

    def fail(self, note: dict[str, Any]) -> None:
        """Fail the item. Raises Refused if the server does not allow it."""
        behaviour = self.queue.project.state.behaviour
        if self.stored_state is ItemState.FAILED and not behaviour.repeated_fail:
            raise Refused("run queue item has failed before", 409)
        if self.stored_state is ItemState.CLAIMED and self._run_is_running() and not behaviour.fail_while_running:
            raise Refused("run queue item is claimed by a running run", 409)
        self.stored_state, self.error = ItemState.FAILED, note
        self.queue.waiting.pop(self.id, None)

    def _run_is_running(self) -> bool:
        spec, state = self.run_spec if isinstance(self.run_spec, dict) else {}, self.queue.project.state
        project = state.find_project(spec.get("entity"), spec.get("project"))
        run = project.run(self.associated_run_id or "") if project else None
        return run is not None and run.state == "running"


@dataclass
class RunQueue:
    """A queue of items, ordered by priority, if it has priorities, and by age."""

    id: str
    name: str
    project: "Project" = field(repr=False)
    access: str = "PROJECT"
    prioritization_mode: str = "DISABLED"
    default_resource_config_id: str | None = None
    external_links: Any = None
    created_by: int = 1
    created_at: str = field(default_factory=timestamp)
    items: dict[str, RunQueueItem] = field(default_factory=dict, repr=False)
    waiting: dict[str, RunQueueItem] = field(default_factory=dict, repr=False)
    """The items that are not acknowledged or failed."""

    @property
    def state(self) -> "State":
        return self.project.state

    def run_queue_item(self, id: str) -> RunQueueItem | None:
        return self.items.get(id)

    def run_queue_items(
        self, first: int | None = None, after: str | None = None, last: int | None = None, before: str | None = None
    ) -> dict[str, Any]:
        """Return a page of the items, the newest first if the server is so."""
        items = list(self.items.values())
        return connection(items[::-1] if self.state.behaviour.newest_items_first else items, first, after, last, before)

    def push(self, spec: dict[str, Any], priority: int | None, values: Mapping[str, Any]) -> RunQueueItem:
        """Store an item: the queue's configuration, overridden by the pushed spec. Raises Refused."""
        # Schedulers of sweeps send the default priority to every queue.
        if priority not in (None, DEFAULT_PRIORITY) and self.prioritization_mode == "DISABLED":
            raise Refused(f"queue {self.name} does not support priorities")
        stored = dict(spec)
        config = self.state.resource_configs.get(self.default_resource_config_id or "")
        if config and stored.get("resource") in (None, config.resource):
            stored["resource"] = config.resource
            stored["resource_args"] = merged(config.substituted(values), stored.get("resource_args") or {})
        number = self.state.number()
        item_id = opaque("RunQueueItem", number)
        item = RunQueueItem(item_id, number, self, stored, DEFAULT_PRIORITY if priority is None else priority)
        self.items[item_id] = self.waiting[item_id] = self.state.items[item_id] = item
        return item

    def remove(self, item: RunQueueItem) -> None:
        """Delete an item; a launch agent that has it cannot acknowledge or fail it any more."""
        del self.items[item.id], self.state.items[item.id]
        self.waiting.pop(item.id, None)

    def pop(self, agent_id: str | None) -> RunQueueItem | None:
        """Lease the next item to a launch agent; None if no item is pending. Raises Refused."""
        agent = self.state.agents.get(agent_id or "")
        if (agent is None or self.id not in agent.run_queues) and not self.state.behaviour.pop_by_strangers:
            raise Refused(f"launch agent {agent_id} is not registered for queue {self.name}", 403)
        pending = [item for item in self.waiting.values() if item.state is ItemState.PENDING]
        by_priority = self.prioritization_mode != "DISABLED"
        item = min(pending, key=lambda each: (each.priority if by_priority else 0, each.number), default=None)
        if item:
            item.lease(agent_id, self.state.behaviour.lease_seconds)
        return item
