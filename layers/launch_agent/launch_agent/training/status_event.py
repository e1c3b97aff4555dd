"""Status events of training jobs. Only the job's name is required: DescribeTrainingJob has everything else."""

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
    """Empty if the event has no tags."""
    job: TrainingJob | None
    """The training job in the event; None if it cannot be parsed."""


class _Detail(Wire):
    name: str = Field(alias="TrainingJobName", min_length=1)
    tags: Annotated[dict[str, str], BeforeValidator(tags_in)] = Field(alias="Tags", default_factory=dict)


def parse_status_event(event: object) -> StatusEvent:
    """Parse an event as EventBridge delivers it
    (https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html).

    Raises UnreadableEvent if it has no training job name.
    """
    given = event.get("detail") if isinstance(event, Mapping) else None
    try:
        detail = _Detail.model_validate(given)
    except ValidationError as error:
        raise UnreadableEvent(f"a status event has no training job name. {' '.join(faults_of(error))}") from None
    try:
        job = TrainingJob.model_validate(given)
    except ValidationError:
        job = None
    return StatusEvent(detail.name, detail.tags, job)
