"""A SageMaker training job as others show it to us, and what its status means in our words."""

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field

from launch_agent.model import Model, Wire
from launch_agent.training.retries import NEVER_STARTED


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


def _utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is out of range") from None


Instant = Annotated[AwareDatetime, AfterValidator(_utc)]
"""A time as an event or an API has it: epoch milliseconds as a number or as text, or ISO 8601."""


ITEM_TAG = "WandbRunQueueItemId"
STACK_TAG = "LaunchStack"
"""The tags that prove whose a training job is: the run queue item, and the stack that made it for the item."""


def tags_in(value: object) -> dict[str, str]:
    """Read tags: a map, or a list of Key and Value. Anything else has none."""
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, (list, tuple)):
        pairs = [(each.get("Key"), each.get("Value")) for each in value if isinstance(each, Mapping)]
    else:
        pairs = []
    return {key: tag for key, tag in pairs if isinstance(key, str) and isinstance(tag, str)}


def item_in(tags: Mapping[str, str], stack_name: str) -> str | None:
    """Return the run queue item that a stack made a training job for, by the job's tags; None for a foreign job."""
    return tags.get(ITEM_TAG) if tags.get(STACK_TAG) == stack_name else None


class Metric(Wire):
    """One of a training job's final metrics."""

    name: str = Field(alias="MetricName")
    value: float = Field(alias="Value")


class Transition(Wire):
    """One of the secondary statuses that a training job went through."""

    status: str = Field(alias="Status")


class Algorithm(Wire):
    """What a training job runs, as far as a failure is explained by it."""

    entry_point: tuple[str, ...] = Field(alias="ContainerEntrypoint", default=())


class TrainingJob(Wire):
    """A training job as DescribeTrainingJob or an event shows it
    (https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html).
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
    algorithm: Algorithm = Field(alias="AlgorithmSpecification", default=Algorithm())
    metrics: tuple[Metric, ...] = Field(alias="FinalMetricDataList", default=())
    transitions: tuple[Transition, ...] = Field(alias="SecondaryStatusTransitions", default=())

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
    def found_no_command(self) -> bool:
        """Whether its container ended because there is no such command, by which a shell and a container engine mean
        exit code 127 (https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_08_02).
        """
        return self.failure_reason.rstrip(".").endswith("exit code: 127")

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
            container_ran=job.started_at is not None and not job.found_no_command,
            ended_at=job.ended_at or job.modified_at,
            metrics={metric.name: metric.value for metric in job.metrics},
        )


_MAX_FAILURE_REASON = 1_024  # a longer one is cut there
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
    is_cut = len(job.failure_reason) >= _MAX_FAILURE_REASON
    reason = f"{job.failure_reason}..." if is_cut else job.failure_reason.rstrip(".") or "SageMaker gave no reason"
    command = shlex.join(job.algorithm.entry_point) or "the image's own entry point"
    missing = f"A command was not found: the container runs {command}." if job.found_no_command else ""
    return " ".join(filter(None, [f"The training job failed: {reason}.", missing, _ADVICE.get(kind, "")]))
