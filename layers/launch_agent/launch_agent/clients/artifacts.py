"""W&B's artifacts: jobs and their code."""

import base64
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, ValidationError

from launch_agent.clients import wandb_operations as operations
from launch_agent.clients.answers import Unreadable, read_json
from launch_agent.clients.artifact_answers import Artifact, FilePage, Membership
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.wandb_answers import at, parsed
from launch_agent.errors import JobArtifactNotFound, UnsupportedJobSource, WandbUnavailable
from launch_agent.image.recipe import ArtifactCode
from launch_agent.model import Wire
from launch_agent.run_queue.job_artifact import (
    DESCRIPTION_FILE,
    JobArtifact,
    parse_code_reference,
    parse_job_artifact,
    parse_job_name,
)

_DOWNLOADS_AT_ONCE = 8
_MAX_MANIFEST = 100_000_000  # of half a million files
_DELETED = "DELETED"


class _Entry(Wire):
    """An entry of an artifact's manifest."""

    digest: str
    ref: str | None = None
    extra: Annotated[dict[str, Any], BeforeValidator(lambda value: value or {})] = Field(default_factory=dict)


class _Manifest(Wire):
    """The list of an artifact's files. The creator of the artifact has uploaded it."""

    contents: dict[str, _Entry] = Field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The digest of an artifact with these files, computed as in wandb 0.31.0 (ArtifactManifestV1.digest)."""
        md5 = hashlib.md5(b"wandb-artifact-manifest-v1\n", usedforsecurity=False)
        for path, entry in sorted(self.contents.items()):
            md5.update(f"{path}:{entry.digest}\n".encode(errors="surrogatepass"))
        return md5.hexdigest()


class ArtifactFile(NamedTuple):
    """A file of an artifact: its path, an address that works for about an hour, and its MD5 in base64."""

    path: str
    url: str
    md5: str


class Artifacts:
    """The artifacts of one W&B server. Every method may raise WandbUnavailable, WandbKeyRejected and WandbRefused."""

    def __init__(self, graphql: GraphqlClient) -> None:
        """Nothing is sent yet."""
        self._graphql = graphql

    def job_with_code(self, job: str, *, entity: str, project: str) -> tuple[JobArtifact, ArtifactCode | None]:
        """Read a job by its name, and find its code if that is in an artifact. Raises JobArtifactNotFound."""
        artifact = self.job(job, entity=entity, project=project)
        if artifact.source_type != "artifact":
            return artifact, None
        return artifact, self.code(artifact, job, entity=entity, project=project)

    def job(self, job: str, *, entity: str, project: str) -> JobArtifact:
        """Read a job by its name `entity/project/name:alias`. Raises JobArtifactNotFound."""
        found = self._by_name(*parse_job_name(job, entity=entity, project=project))
        artifact = found.artifact
        if artifact is None or artifact.state == _DELETED:
            raise JobArtifactNotFound(f'job "{job}" does not exist, or the API key cannot read it.')
        if artifact.type and artifact.type.name != "job":
            raise JobArtifactNotFound(f'"{job}" is an artifact of type {artifact.type.name}, not a job.')
        for file in found.page.files:
            if file.name == DESCRIPTION_FILE:
                description = _json_object(self._graphql.download(file.url))
                if description is None:
                    raise WandbUnavailable(
                        f'W&B sent {DESCRIPTION_FILE} of job "{job}" not as JSON. A proxy may have answered instead.'
                    )
                return parse_job_artifact(job, description, artifact_id=artifact.id, digest=artifact.digest)
        raise JobArtifactNotFound(f'job "{job}" has no {DESCRIPTION_FILE}.')

    def code(self, artifact: JobArtifact, job: str, *, entity: str, project: str) -> ArtifactCode:
        """Find the artifact with the code of a job of type `artifact`. Raises JobArtifactNotFound."""
        reference = parse_code_reference(artifact.source.artifact or "", entity=entity, project=project)
        found = self._by_id(reference) if isinstance(reference, str) else self._by_name(*reference).artifact
        if found is None or found.state == _DELETED:
            raise JobArtifactNotFound(
                f'the artifact with the code of job "{job}" was deleted, or the API key cannot read it. Recreate the '
                "job."
            )
        return ArtifactCode(artifact_id=found.id, digest=found.digest)

    def download(self, artifact_id: str, folder: Path, *, digest: str) -> list[str]:
        """Download the files of an artifact into an empty folder, check the MD5 of each, and return their paths.

        Raises UnsupportedJobSource for an entry that is only a reference, has another checksum than MD5, or leads out
        of the folder, and JobArtifactNotFound if the artifact is missing or its digest does not match.
        """
        files = list(self._files(artifact_id, digest))
        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            list(pool.map(lambda file: self._download(file, folder), files))
        return [file.path for file in files]

    def _by_id(self, artifact_id: str) -> Artifact | None:
        found = self._graphql.execute(operations.artifact(artifact_id)).get("artifact")
        return parsed(Artifact, found) if found else None

    def _by_name(self, entity: str, project: str, collection: str, alias: str) -> Membership:
        answer = self._graphql.execute(operations.artifact_files(entity, project, collection, alias))
        return parsed(Membership, at(answer, "project", "artifactCollection", "artifactMembership") or {})

    def _files(self, artifact_id: str, digest: str) -> Iterator[ArtifactFile]:
        manifest = self._manifest(artifact_id)
        for path, entry in manifest.contents.items():
            _check_entry(path, entry)
        if manifest.digest != digest:
            raise JobArtifactNotFound(
                f"artifact {artifact_id} has the digest {digest} in W&B, and its files have {manifest.digest}. Its "
                "creator may have given it the digest of another artifact. Recreate the job."
            )
        after = None
        while True:
            answer = self._graphql.execute(operations.files_of_artifact(artifact_id, after))
            page = parsed(FilePage, at(answer, "artifact", "files") or {})
            for file in page.files:
                if file.name not in manifest.contents:
                    raise JobArtifactNotFound(
                        f"artifact {artifact_id} has {file.name}, which is not in its manifest. Recreate the job."
                    )
                yield ArtifactFile(file.name, file.url, manifest.contents[file.name].digest)
            if not page.info.has_next or page.info.end == after:
                return
            after = page.info.end

    def _manifest(self, artifact_id: str) -> _Manifest:
        found = self._by_id(artifact_id)
        if not found or not found.manifest:
            raise JobArtifactNotFound(f"artifact {artifact_id} was deleted, or the API key cannot read it.")
        content = self._graphql.download(found.manifest.file.url, at_most=_MAX_MANIFEST)
        try:
            return _Manifest.model_validate_json(content)
        except ValidationError:
            raise JobArtifactNotFound(
                f"the manifest of artifact {artifact_id} cannot be read. Recreate the job."
            ) from None

    def _download(self, file: ArtifactFile, folder: Path) -> None:
        target = folder / file.path
        md5 = hashlib.md5(usedforsecurity=False)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                for chunk in self._graphql.chunks(file.url):
                    md5.update(chunk)
                    out.write(chunk)
        except OSError as error:
            raise UnsupportedJobSource(
                f"the file {file.path} of the job's code cannot be written: {error.strerror}. Recreate the job."
            ) from None
        if base64.b64encode(md5.digest()).decode() != file.md5:
            raise JobArtifactNotFound(f"the MD5 of {file.path} is wrong after the download. Queue the run again.")


def _check_entry(path: str, entry: _Entry) -> None:
    if entry.ref:
        raise UnsupportedJobSource(
            f"the file {path} of the job's code is a reference to {entry.ref}. Add the file itself to the artifact."
        )
    if entry.extra.get("alg", "MD5") != "MD5":
        raise UnsupportedJobSource(
            f"the file {path} of the job's code has a checksum of the kind {entry.extra['alg']}. This launch agent "
            "supports MD5 only. Recreate the artifact without digest_algorithm."
        )
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\0" in path:
        raise UnsupportedJobSource(
            f'the path "{path}" of the job\'s code leads out of the folder of the code. Recreate the job.'
        )


def _json_object(content: bytes) -> object:
    try:
        return read_json(content)
    except Unreadable:
        return None
