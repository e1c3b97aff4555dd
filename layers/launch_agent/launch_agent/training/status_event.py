"""What EventBridge says of a training job. Only the job's name has to be there: SageMaker can be asked for the rest."""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator, Field, ValidationError

from launch_agent.errors import UnreadableEvent
from launch_agent.model import Wire, faults_of
from launch_agent.training.training_job import TrainingJob, tags_in


class StatusEvent(NamedTuple):
    """An event "SageMaker Training Job State Change"."""

    name: str
    tags: Mapping[str, str]
    """Empty where the event does not tell them."""
    job: TrainingJob | None
    """The training job as the event shows it; None where it cannot be read."""


class _Detail(Wire):
    name: str = Field(alias="TrainingJobName", min_length=1)
    tags: Annotated[dict[str, str], BeforeValidator(tags_in)] = Field(alias="Tags", default_factory=dict)


def parse_status_event(event: object) -> StatusEvent:
    """Parse an event as EventBridge delivers it
    (https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html).

    Raises UnreadableEvent where it names no training job.
    """
    given = event.get("detail") if isinstance(event, Mapping) else None
    try:
        detail = _Detail.model_validate(given)
    except ValidationError as error:
        raise UnreadableEvent(f"no training job is named in a status event. {' '.join(faults_of(error))}") from None
    try:
        job = TrainingJob.model_validate(given)
    except ValidationError:
        job = None
    return StatusEvent(detail.name, detail.tags, job)
