"""Models of W&B's answers. An answer that does not match W&B's schema raises WandbRefused."""

from collections.abc import Hashable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, TypeVar, cast

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from launch_agent.errors import WandbRefused
from launch_agent.model import Wire

Value = TypeVar("Value")


class LaunchAgent(Wire):
    """A registered launch agent. The files of its queue items are files of a run with the agent's name."""

    id: str
    name: str
    stop_polling: bool = Field(alias="stopPolling", default=False)


class RunQueue(Wire):
    """A run queue."""

    id: str
    name: str


class UploadSlot(Wire):
    """A file to upload, and its address."""

    name: str
    url: str = Field(alias="uploadUrl")


class UploadSlots(Wire):
    """The files to upload, and the headers to send with each, as `Name:value`."""

    headers: tuple[str, ...] = Field(alias="uploadHeaders", default=())
    files: tuple[UploadSlot, ...]


class Feature(Wire):
    """A feature that the server may have."""

    name: str
    is_enabled: bool = Field(alias="isEnabled", default=False)


class ItemHolder(Wire):
    """The launch agent and the run that a run queue item belongs to."""

    state: str
    run_id: str | None = Field(alias="associatedRunId", default=None)
    launch_agent_id: str | None = Field(alias="launchAgentId", default=None)


def _in_utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


class QueuedItem(Wire):
    """A run queue item, and when it was queued. W&B's times may lack their zone, which is UTC."""

    id: str
    state: str
    queued_at: Annotated[datetime, AfterValidator(_in_utc)] = Field(alias="createdAt")


class _QueuedEdge(Wire):
    node: QueuedItem | None = None


class _QueuedItems(Wire):
    edges: tuple[_QueuedEdge | None, ...] = ()


class QueueLists(Wire):
    """Two lists of a queue's items, which may overlap."""

    first: _QueuedItems = Field(default_factory=_QueuedItems)
    last: _QueuedItems = Field(default_factory=_QueuedItems)

    @property
    def waiting(self) -> dict[str, datetime]:
        """When the items of both were queued that no agent has leased, by their ids."""
        nodes = [edge.node for edge in (*self.first.edges, *self.last.edges) if edge]
        return {node.id: node.queued_at for node in nodes if node and node.state == "PENDING"}


def parsed(kind: type[Value], value: Any) -> Value:
    """Parse a part of an answer. Raises WandbRefused."""
    try:
        value_of_kind: Value = _adapter(cast(Hashable, kind)).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise WandbRefused(f"W&B's answer does not match its schema: {where}: {first['msg']}") from None
    return value_of_kind


def at(value: Any, *path: str) -> Any:
    """Return the value at a path of keys, or None if a key is missing."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))
