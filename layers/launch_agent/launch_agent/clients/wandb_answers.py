"""What W&B's answers hold, as values. An answer of another shape than W&B's schema gives is WandbRefused."""

from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import Field, TypeAdapter, ValidationError

from launch_agent.errors import WandbRefused
from launch_agent.model import Wire

Value = TypeVar("Value")


class LaunchAgent(Wire):
    """A registered launch agent. Files about its items are files of the run of its name."""

    id: str
    name: str
    stop_polling: bool = Field(alias="stopPolling", default=False)


class RunQueue(Wire):
    """A run queue."""

    id: str
    name: str


class UploadSlot(Wire):
    """A file that may be uploaded, and where to."""

    name: str
    url: str = Field(alias="uploadUrl")


class UploadSlots(Wire):
    """Where files may be uploaded to, and the headers, `Name:value`, to send with them."""

    headers: tuple[str, ...] = Field(alias="uploadHeaders", default=())
    files: tuple[UploadSlot, ...]


class Feature(Wire):
    """Something that the server can do or not."""

    name: str
    is_enabled: bool = Field(alias="isEnabled", default=False)


class ItemHolder(Wire):
    """Who has a run queue item."""

    state: str
    run_id: str | None = Field(alias="associatedRunId", default=None)
    launch_agent_id: str | None = Field(alias="launchAgentId", default=None)


class _ArtifactType(Wire):
    name: str


class File(Wire):
    """A file, and where it can be had for about an hour."""

    name: str = ""
    url: str = Field(alias="directUrl")


class _Manifest(Wire):
    file: File


class Artifact(Wire):
    """A version of an artifact."""

    id: str
    digest: str = ""
    state: str = ""
    type: _ArtifactType | None = Field(alias="artifactType", default=None)
    manifest: _Manifest | None = Field(alias="currentManifest", default=None)


class _Edge(Wire):
    node: File | None = None


class _PageInfo(Wire):
    end: str | None = Field(alias="endCursor", default=None)
    has_next: bool = Field(alias="hasNextPage", default=False)


class FilePage(Wire):
    """A page of the files of an artifact."""

    edges: tuple[_Edge, ...] = ()
    info: _PageInfo = Field(alias="pageInfo", default=_PageInfo())

    @property
    def files(self) -> list[File]:
        """The files."""
        return [edge.node for edge in self.edges if edge.node]


class Membership(Wire):
    """The version of an artifact that an alias names, with its files."""

    artifact: Artifact | None = None
    page: FilePage = Field(alias="files", default=FilePage())


def parsed(kind: type[Value], value: Any) -> Value:
    """Parse a part of an answer. Raises WandbRefused."""
    try:
        value_of_kind: Value = _adapter(cast(Hashable, kind)).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise WandbRefused(f"W&B's answer is not of its schema: {where}: {first['msg']}") from None
    return value_of_kind


def at(value: Any, *path: str) -> Any:
    """Follow keys down to a value; None where any of them is not there."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))
