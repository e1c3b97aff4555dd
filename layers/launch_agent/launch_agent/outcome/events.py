"""The events of this application on EventBridge. docs/events.md explains them, and has their JSON schemas.

A field may be added at any time. If one changes its meaning or goes, `version` increases.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeVar

from launch_agent.deployment import Deployment
from launch_agent.model import Model
from launch_agent.runs.execution import execution_output
from launch_agent.runs.record import RunRecord
from launch_agent.training.training_job import Verdict

SOURCE = "wandb-launch"


class Links(Model):
    """Pages in W&B and in the AWS console."""

    run: str | None = None
    training_job: str | None = None
    training_log: str | None = None
    execution: str | None = None


class Event(Model):
    """What every event says: whose run it is."""

    detail_type: ClassVar[str]

    version: Literal["1"]
    stack: str
    run_queue_item_id: str
    run_id: str
    queue: str
    entity: str | None = None
    project: str | None = None
    execution_name: str
    training_job_name: str | None = None
    links: Links

    def detail(self) -> dict[str, Any]:
        """Return the detail of the event, without what is not known."""
        return self.model_dump(mode="json", exclude_none=True)


class RunLaunched(Event):
    """A training job was created. A run that is tried again is launched again, with another job."""

    detail_type = "Run Launched"


class RunEnded(Event):
    """A run has its outcome."""

    detail_type = "Run Ended"

    verdict: Verdict
    reason: str
    billable_seconds: int | None = None
    estimated_cost_usd: float | None = None


Kind = TypeVar("Kind", bound=Event)


def run_launched(record: RunRecord, training_job_name: str, deployment: Deployment) -> RunLaunched:
    """Return the event for a training job that was created."""
    return _parsed(RunLaunched, _said(record, {"training_job_name": training_job_name}, deployment))


def run_ended(record: RunRecord, outcome: Mapping[str, str], execution_arn: str, deployment: Deployment) -> RunEnded:
    """Return the event for a run that was closed."""
    said = _said(record, outcome, deployment)
    links = said["links"] | {"execution": deployment.execution_page(execution_arn)}
    return _parsed(RunEnded, said | {"links": links})


def _said(record: RunRecord, outcome: Mapping[str, str], deployment: Deployment) -> dict[str, Any]:
    return {
        **execution_output(record, outcome, deployment),
        "version": "1",
        "stack": deployment.stack_name,
        "run_queue_item_id": record.item.id,
        "queue": record.item.queue,
        "entity": record.entity,
        "project": record.project,
        "execution_name": record.execution_name,
    }


def _parsed(kind: type[Kind], said: Mapping[str, Any]) -> Kind:
    """Return the event with what it shows of these values."""
    return kind.model_validate({name: said[name] for name in kind.model_fields if name in said})
