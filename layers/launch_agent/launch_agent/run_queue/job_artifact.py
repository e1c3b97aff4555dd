"""Job artifacts: where a job's code or image is, and how it starts (`wandb-job.json` in an artifact of type job)."""

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import Field, ValidationError

from launch_agent.errors import JobArtifactNotFound
from launch_agent.model import Wire, faults_of, json_fault
from launch_agent.run_queue.commands import CodePath, Command
from launch_agent.run_queue.items import Text

DESCRIPTION_FILE = "wandb-job.json"
FROZEN_REQUIREMENTS = "requirements.frozen.txt"
PATCH = "diff.patch"

_BY_ID = "wandb-artifact://_id/"
_BY_NAME = "wandb-artifact://"


class ArtifactName(NamedTuple):
    """The parts of `entity/project/name:alias`."""

    entity: str
    project: str
    collection: str
    alias: str


def parse_job_name(job: str, *, entity: str, project: str) -> ArtifactName:
    """Split a job's name. The defaults are the run's entity and project, and the alias `latest`.

    Raises JobArtifactNotFound if the name is not of the form `entity/project/name:alias`.
    """
    path, _, alias = job.partition(":")
    parts = path.split("/")
    if not all(parts) or len(parts) > 3:
        raise JobArtifactNotFound(f'job "{job}" is not of the form entity/project/name:alias.')
    full = [*[entity, project][: 3 - len(parts)], *parts]
    return ArtifactName(full[0], full[1], full[2], alias or "latest")


def parse_code_reference(reference: str, *, entity: str, project: str) -> str | ArtifactName:
    """Return the id or the name of the artifact with a job's code.

    Raises JobArtifactNotFound if the reference is neither.
    """
    if reference.startswith(_BY_ID):
        return reference.removeprefix(_BY_ID)
    return parse_job_name(reference.removeprefix(_BY_NAME), entity=entity, project=project)


class GitSource(Wire):
    """The `git` block of a job's source."""

    remote: Text
    commit: Text | None = None


class JobSource(Wire):
    """The `source` block of a job. Its keys depend on the job's source type."""

    image: Text | None = None
    artifact: Text | None = None
    git: GitSource | None = None
    base_image: Text | None = None
    entrypoint: Command | None = None
    notebook: bool = False
    build_context: CodePath | None = None
    dockerfile: CodePath | None = None


class JobArtifact(Wire):
    """What launching a job needs to know of it. The source type may be unknown."""

    artifact_id: str
    digest: str
    source_type: str
    source: JobSource = Field(default_factory=JobSource)
    runtime: Text | None = None

    @property
    def has_code(self) -> bool:
        """Whether the job is code, and its image has to be built."""
        return self.source_type in ("artifact", "repo")


def parse_job_artifact(name: str, description: object, *, artifact_id: str, digest: str) -> JobArtifact:
    """Parse the contents of `wandb-job.json` in the artifact with this id and digest.

    Raises JobArtifactNotFound if they do not describe a job.
    """
    known = dict(description) if isinstance(description, Mapping) else {}
    fault = json_fault(known)
    if fault:
        raise JobArtifactNotFound(f'job "{name}" has a {DESCRIPTION_FILE} that cannot be read: {fault}')
    try:
        return JobArtifact.model_validate({**known, "artifact_id": artifact_id, "digest": digest})
    except ValidationError as error:
        raise JobArtifactNotFound(
            f'job "{name}" has a {DESCRIPTION_FILE} that cannot be read. ' + " ".join(faults_of(error))
        ) from None
