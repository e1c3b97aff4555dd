"""Models of W&B's answers about artifacts, parsed as those in `wandb_answers.py`."""

from pydantic import Field

from launch_agent.model import Wire


class NewArtifact(Wire):
    """A version of an artifact that was just created, or that was there already."""

    id: str
    state: str = ""


class ManifestUpload(Wire):
    """Where to upload a manifest, and the headers to send, as `Name:value`."""

    url: str = Field(alias="uploadUrl")
    headers: tuple[str, ...] = Field(alias="uploadHeaders", default=())

    @property
    def header_values(self) -> dict[str, str]:
        """The headers by name."""
        return {name: value for name, _, value in (header.partition(":") for header in self.headers)}


class _ArtifactType(Wire):
    name: str


class File(Wire):
    """A file, and an address that works for about an hour."""

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
    info: _PageInfo = Field(alias="pageInfo", default_factory=_PageInfo)

    @property
    def files(self) -> list[File]:
        """The files."""
        return [edge.node for edge in self.edges if edge.node]


class Membership(Wire):
    """The artifact version with an alias, and its files."""

    artifact: Artifact | None = None
    page: FilePage = Field(alias="files", default_factory=FilePage)
