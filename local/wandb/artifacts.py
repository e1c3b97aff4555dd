"""Artifacts: collections of versions, their manifests and files. Contents are stored once, by their MD5."""

import base64
import json
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from local.wandb.answers import Refused, connection, opaque, timestamp
from local.wandb.runs import Run, RunFile

if TYPE_CHECKING:
    from local.wandb.state import Project, State


def _hex(md5: str) -> str:
    return base64.b64decode(md5).hex()


@dataclass
class Membership:
    """A version's place in a collection."""

    artifact: "Artifact"
    collection: "Collection"

    @property
    def id(self) -> str:
        return opaque("ArtifactCollectionMembership", self.artifact.id)

    @property
    def version_index(self) -> int | None:
        return self.artifact.version_index

    @property
    def created_at(self) -> str:
        """The time of its creation."""
        return self.artifact.created_at

    @property
    def aliases(self) -> list[dict[str, Any]]:
        """The version's aliases, including its own `v<n>`."""
        return self.artifact.aliases

    @property
    def artifact_collection(self) -> "Collection":
        return self.collection

    def files(self, **arguments: Any) -> dict[str, Any]:
        """Return a page of the version's files."""
        return self.artifact.files(**arguments)


@dataclass
class Collection:
    """A named sequence of versions of one type."""

    id: str
    name: str
    project: "Project" = field(repr=False)
    type_name: str
    versions: list["Artifact"] = field(default_factory=list, repr=False)
    created_at: str = field(default_factory=timestamp)
    typename: str = "ArtifactSequence"

    @property
    def latest_artifact(self) -> "Artifact | None":
        """The newest committed version."""
        committed = [each for each in self.versions if each.state == "COMMITTED"]
        return committed[-1] if committed else None

    def artifact_membership(self, alias_name: str) -> Membership | None:
        """Return the version of an alias."""
        for artifact in reversed(self.versions):
            if artifact.state == "COMMITTED" and alias_name in artifact.all_aliases:
                return Membership(artifact, self)
        return None

    def artifacts(self, first: int | None = None, after: str | None = None, **_: Any) -> dict[str, Any]:
        """Return a page of the committed versions."""
        return connection([each for each in self.versions if each.state == "COMMITTED"], first, after)


@dataclass
class Manifest:
    """A version's list of contents, a file in the storage."""

    id: str
    artifact: "Artifact" = field(repr=False)
    name: str
    digest: str
    type: str = "FULL"
    created_at: str = field(default_factory=timestamp)

    @property
    def file(self) -> RunFile:
        folder = base64.b64encode(self.id.encode()).decode()
        return RunFile(self.name, f"manifest/{folder}/{self.name}", self.artifact.collection.project)

    @property
    def contents(self) -> dict[str, Any]:
        """The uploaded manifest's entries, by path; empty before the upload, and for an upload of another form."""
        state = self.artifact.collection.project.state
        try:
            return {path: {**entry} for path, entry in json.loads(state.storage[self.file.path])["contents"].items()}
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
            return {}


@dataclass
class Artifact:
    """One version."""

    id: str
    collection: Collection = field(repr=False)
    digest: str
    created_by: Run | None = field(repr=False, default=None)
    client_id: str | None = None
    description: str | None = None
    metadata: str | None = None
    state: str = "PENDING"
    version_index: int | None = None
    alias_names: list[str] = field(default_factory=list)
    current_manifest: Manifest | None = field(repr=False, default=None)
    ttl_duration_seconds: int = -2
    ttl_is_inherited: bool = True
    created_at: str = field(default_factory=timestamp)
    updated_at: str | None = None
    tags: tuple[Any, ...] = ()
    history_step: int | None = None
    commit_hash: str = field(default_factory=lambda: secrets.token_hex(10))

    @property
    def artifact_sequence(self) -> Collection:
        """The collection it belongs to."""
        return self.collection

    @property
    def artifact_type(self) -> dict[str, Any]:
        return {"id": opaque("ArtifactType", self.collection.type_name), "name": self.collection.type_name}

    @property
    def all_aliases(self) -> list[str]:
        """The aliases, including its own `v<n>`."""
        return [*sorted(self.alias_names, key=lambda alias: (alias != "latest", alias)), f"v{self.version_index}"]

    @property
    def aliases(self) -> list[dict[str, Any]]:
        """The aliases, as clients read them."""
        return [
            {
                "id": opaque("ArtifactAlias", self.id, alias),
                "alias": alias,
                "artifactCollection": self.collection,
                "artifactCollectionName": self.collection.name,
            }
            for alias in self.all_aliases
        ]

    @property
    def contents(self) -> dict[str, Any]:
        """The manifest's entries by path."""
        return self.current_manifest.contents if self.current_manifest else {}

    @property
    def file_count(self) -> int:
        """The number of entries."""
        return len(self.contents)

    @property
    def size(self) -> int:
        """The size of all entries, in bytes."""
        return sum(entry.get("size", 0) for entry in self.contents.values())

    def files(
        self, names: list[str] | None = None, first: int | None = None, after: str | None = None
    ) -> dict[str, Any]:
        """Return a page of the files; references have no file."""
        project = self.collection.project
        own = [
            RunFile(path, content_path(project, entry["digest"]), project, md5=entry["digest"])
            for path, entry in sorted(self.contents.items())
            if "ref" not in entry and (not names or path in names)
        ]
        return connection(own, first, after)

    @property
    def users(self) -> list[Run]:
        """The runs that have used it."""
        return [run for run in self.collection.project.state.runs.values() if self in run.used_artifacts]

    def used_by(self) -> dict[str, Any]:
        return connection(self.users)

    def commit(self) -> None:
        """Make this the newest version of its collection, and move its aliases to it."""
        if self.state == "COMMITTED":
            return
        committed = [each for each in self.collection.versions if each.state == "COMMITTED"]
        self.state, self.version_index = "COMMITTED", len(committed)
        for other in committed:
            other.alias_names = [alias for alias in other.alias_names if alias not in self.alias_names]


def content_path(project: "Project", md5: str) -> str:
    """Return the path of the contents with this MD5; all projects of an entity share them."""
    return f"artifact/{project.entity.name}/{_hex(md5)}"


def create_artifact(state: "State", given: dict[str, Any]) -> Artifact:
    """Return a new version for a CreateArtifactInput, or the existing one with its client id or digest."""
    project = state.project(given["entityName"], given["projectName"])
    name = given.get("artifactCollectionName") or (given.get("artifactCollectionNames") or [""])[0]
    collection = project.collections.get(name)
    if collection is None:
        collection = Collection(opaque("ArtifactCollection", state.number()), name, project, given["artifactTypeName"])
        project.collections[name] = collection
    if collection.type_name != given["artifactTypeName"]:
        raise Refused(f"collection {name} is of type {collection.type_name}", 409)
    aliases = [each for each in given.get("aliases") or [] if each.get("artifactCollectionName") in (None, name)]
    # A client cannot read a version that has an alias in the form of a version number.
    names = [each["alias"] for each in aliases if not re.fullmatch(r"v\d+", each["alias"])]
    for known in collection.versions:
        same_digest = given.get("enableDigestDeduplication") and known.digest == given["digest"]
        if known.client_id == given.get("clientID") or (same_digest and known.state == "COMMITTED"):
            known.alias_names = list(dict.fromkeys([*known.alias_names, *names]))
            known.metadata = given.get("metadata") or known.metadata
            return known
    artifact = Artifact(
        opaque("Artifact", state.number()),
        collection,
        given["digest"],
        created_by=project.run(given.get("runName") or ""),
        client_id=given.get("clientID"),
        description=given.get("description"),
        metadata=given.get("metadata"),
        alias_names=names,
    )
    collection.versions.append(artifact)
    state.artifacts[artifact.id] = artifact
    return artifact


def create_manifest(state: "State", given: dict[str, Any]) -> Manifest:
    """Add a manifest to a version, replacing an earlier one."""
    artifact = find_artifact(state, given["artifactID"])
    manifest = Manifest(opaque("ArtifactManifest", state.number()), artifact, given["name"], given["digest"])
    artifact.current_manifest = manifest
    return manifest


def find_artifact(state: "State", artifact_id: str) -> Artifact:
    """Return a version by its id. Raises Refused if it does not exist."""
    if artifact_id not in state.artifacts:
        raise Refused(f"artifact {artifact_id} not found", 404)
    return state.artifacts[artifact_id]


def create_files(state: "State", given: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an upload address for each file. For contents that exist, return instead the version that has them."""
    answers = []
    for spec in given["artifactFiles"]:
        artifact = find_artifact(state, spec["artifactID"])
        file = RunFile(
            spec["name"], content_path(artifact.collection.project, spec["md5"]), artifact.collection.project
        )
        birth = next((each for each in state.artifacts.values() if _has(each, spec["md5"])), artifact)
        answers.append(
            {
                "id": file.id,
                "name": spec["name"],
                "storagePath": file.path,
                "uploadUrl": None if file.uploaded else file.upload_url(),
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": birth if file.uploaded else artifact,
            }
        )
    return answers


def _has(artifact: Artifact, md5: str) -> bool:
    return artifact.state == "COMMITTED" and any(entry.get("digest") == md5 for entry in artifact.contents.values())
