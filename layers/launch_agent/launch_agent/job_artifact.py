"""A job artifact: where a job's code or image is, and how it starts (`wandb-job.json` in an artifact of type job)."""

from typing import NamedTuple

from pydantic import ValidationError

from launch_agent.errors import JobArtifactNotFound
from launch_agent.model import Wire, faults_of

DESCRIPTION_FILE = "wandb-job.json"


class JobName(NamedTuple):
    """The parts of `entity/project/name:alias`."""

    entity: str
    project: str
    collection: str
    alias: str


def parse_job_name(job: str, *, entity: str, project: str) -> JobName:
    """Split a job's name; what it leaves out is the run's entity and project, and the alias `latest`.

    Raises JobArtifactNotFound when it is not of that form.
    """
    path, _, alias = job.partition(":")
    parts = path.split("/")
    if not all(parts) or len(parts) > 3:
        raise JobArtifactNotFound(f'job "{job}" is not of the form entity/project/name:alias.')
    full = [*[entity, project][: 3 - len(parts)], *parts]
    return JobName(full[0], full[1], full[2], alias or "latest")


class JobSource(Wire):
    """The `source` block of a job; which of the keys are there depends on the job's source type."""

    image: str | None = None
    base_image: str | None = None
    entrypoint: list[str] | None = None


class JobArtifact(Wire):
    """A job, as far as launching it needs to know. Its source type may be one we do not know."""

    source_type: str
    source: JobSource = JobSource()


def parse_job_artifact(name: str, description: object) -> JobArtifact:
    """Parse the contents of `wandb-job.json`. Raises JobArtifactNotFound when it does not describe a job."""
    try:
        return JobArtifact.model_validate(description)
    except ValidationError as error:
        raise JobArtifactNotFound(
            f'job "{name}" has a {DESCRIPTION_FILE} that cannot be read. ' + " ".join(faults_of(error))
        ) from None
