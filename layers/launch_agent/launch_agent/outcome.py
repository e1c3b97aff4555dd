"""How a run ended, in our words: a verdict, the reason, and what to do about it."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from launch_agent.errors import RunNotSeen
from launch_agent.model import Model, Wire
from launch_agent.retries import NEVER_STARTED


class Verdict(StrEnum):
    """How a launch ended. `not launched` means that no training job came of it."""

    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    NOT_LAUNCHED = "not launched"


VERDICTS: dict[str, Verdict | None] = {
    "InProgress": None,
    "Completed": Verdict.FINISHED,
    "Failed": Verdict.FAILED,
    "Stopping": None,  # it still runs, and uploads what it has
    "Stopped": Verdict.STOPPED,  # by a person or by a limit: never a success
    "Deleting": Verdict.STOPPED,  # only an ended job can be deleted, and how it ended is gone
}
"""What each TrainingJobStatus means; None while the job lives. A status that is not here is waited on."""


def _instant(value: object) -> object:
    """Read the times of events: epoch milliseconds, as a number or as text."""
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return datetime.fromtimestamp(value / 1000, UTC)
    return value


Instant = Annotated[datetime, BeforeValidator(_instant)]


class Metric(Wire):
    """One of a training job's final metrics."""

    name: str = Field(alias="MetricName")
    value: float = Field(alias="Value")


class Transition(Wire):
    """One of the secondary statuses that a training job went through."""

    status: str = Field(alias="Status")


class TrainingJob(Wire):
    """A training job as an event or DescribeTrainingJob shows it
    (https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html).
    """

    name: str = Field(alias="TrainingJobName")
    arn: str = Field(alias="TrainingJobArn")
    status: str = Field(alias="TrainingJobStatus")
    secondary_status: str = Field(alias="SecondaryStatus", default="")
    failure_reason: str = Field(alias="FailureReason", default="")
    created_at: Instant | None = Field(alias="CreationTime", default=None)
    modified_at: Instant = Field(alias="LastModifiedTime")
    started_at: Instant | None = Field(alias="TrainingStartTime", default=None)
    ended_at: Instant | None = Field(alias="TrainingEndTime", default=None)
    billable_seconds: int | None = Field(alias="BillableTimeInSeconds", default=None)
    metrics: Annotated[tuple[Metric, ...], BeforeValidator(lambda value: value or ())] = Field(
        alias="FinalMetricDataList", default=()
    )
    transitions: Annotated[tuple[Transition, ...], BeforeValidator(lambda value: value or ())] = Field(
        alias="SecondaryStatusTransitions", default=()
    )

    @property
    def failure_kind(self) -> str:
        """SageMaker's word for why it came to nothing, as the table of retries has it; empty where it did not."""
        if self.verdict is Verdict.FAILED:
            return self.failure_reason.partition(":")[0]
        asked_to_stop = any(each.status == "Stopping" for each in self.transitions)
        never_ran = self.started_at is None and self.billable_seconds in (None, 0)
        is_given_up = self.verdict is Verdict.STOPPED and self.secondary_status == "Stopped" and never_ran
        return NEVER_STARTED if is_given_up and not asked_to_stop else ""

    @property
    def verdict(self) -> Verdict | None:
        """What its status means; None while it lives, and for a status we do not know."""
        return VERDICTS.get(self.status)


class TrainingEnd(Model):
    """What of an ended training job the rest of the execution needs."""

    training_job_name: str
    verdict: Verdict
    secondary_status: str
    reason: str
    container_ran: bool
    ended_at: datetime
    metrics: dict[str, float] = Field(default_factory=dict)

    @property
    def stopped_by_a_person(self) -> bool:
        """Whether somebody stopped it, and no limit did."""
        return self.verdict is Verdict.STOPPED and self.secondary_status == "Stopped" and self.container_ran

    @classmethod
    def of(cls, job: TrainingJob) -> "TrainingEnd | None":
        """Judge a training job; None while it lives."""
        if job.verdict is None:
            return None
        return cls(
            training_job_name=job.name,
            verdict=job.verdict,
            secondary_status=job.secondary_status,
            reason=_reason(job),
            container_ran=job.started_at is not None,
            ended_at=job.ended_at or job.modified_at,
            metrics={metric.name: metric.value for metric in job.metrics},
        )


_STOPPED_BY = {
    "MaxRuntimeExceeded": "SageMaker stopped it at StoppingCondition.MaxRuntimeInSeconds. Raise that limit in "
    "the queue's configuration, or save checkpoints and queue the run again.",
    "MaxWaitTimeExceeded": "SageMaker gave up at StoppingCondition.MaxWaitTimeInSeconds, before there was "
    "enough spot capacity. Raise that limit, choose another instance type, or do without spot instances.",
}
_ADVICE = {
    "CapacityError": "AWS has no machine of this type to spare. Queue the run again later, or choose another type.",
    "InternalServerError": "SageMaker itself failed. Queue the run again; add a RetryStrategy to the queue's "
    "configuration to have SageMaker do that.",
    "AlgorithmError": "The code of the job failed. The end of its log is in error.log.",
    "ClientError": "The job's configuration is at fault: its image, data or network, or the permissions of its role.",
}


def _reason(job: TrainingJob) -> str:
    if job.verdict is Verdict.FINISHED:
        return "The training job completed."
    if job.verdict is Verdict.STOPPED:
        never_ran = job.started_at is None and job.billable_seconds in (None, 0)
        by = _STOPPED_BY.get(job.secondary_status, "Somebody stopped it." if not never_ran else "It never started.")
        return f"The training job was stopped. {by}"
    kind, _, _ = job.failure_reason.partition(":")
    reason = job.failure_reason.rstrip(".") or "SageMaker gave no reason"
    return " ".join(filter(None, [f"The training job failed: {reason}.", _ADVICE.get(kind, "")]))


STOPPED = "Stopped"
"""The error of an execution that was stopped, here or in the console."""


class Failure(Model):
    """What made the execution leave its way, as a Catch of the state machine passes it on."""

    error: str
    cause: str = ""
    stage: str
    """W&B's word for where it happened: `agent`, `build` or `run`."""

    @property
    def is_stop(self) -> bool:
        """Whether somebody stopped the launch, and nothing went wrong."""
        return self.error == STOPPED

    @property
    def reason(self) -> str:
        """The message of the error that a function raised, or what Step Functions itself says."""
        try:
            cause: Any = json.loads(self.cause)
        except ValueError:
            cause = None
        message = cause.get("errorMessage") if isinstance(cause, Mapping) else self.cause
        return str(message or _WITHOUT_MESSAGE.get(self.error) or f"{self.error}, without a message.")


_WITHOUT_MESSAGE = {
    "States.Timeout": "The training job did not end within its own time limits and a day for waiting in line. It was "
    "stopped. Its log and status are in the SageMaker console.",
}


class OnItem(StrEnum):
    """What to do to the run queue item when its run has ended."""

    LEAVE = "leave"
    WARN = "warn"
    FAIL = "fail"


class Judgement(Model):
    """How a run ended, and how its queue item is to show it."""

    verdict: Verdict
    reason: str
    on_item: OnItem


def judge(
    end: TrainingEnd, *, run_state: str | None, expects_wandb_init: bool, now: datetime, grace: timedelta
) -> Judgement:
    """Judge a run by how its training job ended and by whether W&B has seen it.

    `run_state` is W&B's, None when there is no such run. Raises RunNotSeen while a run whose container ran may still
    appear, which is for `grace` after the job's end.
    """
    if expects_wandb_init and run_state in (None, "pending"):
        if end.container_ran and now < end.ended_at + grace:
            raise RunNotSeen(f"the training job has ended, and its run has not appeared in W&B within {grace}")
        verdict = Verdict.FAILED if end.verdict is Verdict.FINISHED else end.verdict
        return Judgement(verdict=verdict, reason=_never_seen(end), on_item=OnItem.FAIL)
    if end.verdict is Verdict.FINISHED or end.stopped_by_a_person:
        return Judgement(verdict=end.verdict, reason=end.reason, on_item=OnItem.LEAVE)
    # The run exists and W&B shows its own state; SageMaker's reason stands beside it.
    on_item = OnItem.WARN if expects_wandb_init else OnItem.FAIL
    return Judgement(verdict=end.verdict, reason=end.reason, on_item=on_item)


def _never_seen(end: TrainingEnd) -> str:
    if end.verdict is not Verdict.FINISHED:
        return end.reason
    return (
        "The training job exited successfully, but its run never appeared in W&B. Call wandb.init() in the job's code, "
        "and let the container reach the W&B server. The end of the job's log is in error.log."
    )
