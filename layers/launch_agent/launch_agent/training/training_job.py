"""SageMaker training jobs, as events and DescribeTrainingJob show them, and the meaning of their status."""

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field

from launch_agent.model import Model, Wire
from launch_agent.remedies import ENDINGS, remedy
from launch_agent.training.container import without_start
from launch_agent.training.instances import Resources
from launch_agent.training.retries import NEVER_STARTED


class Verdict(StrEnum):
    """How a launch ended. `not launched` means that the launch itself failed."""

    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    NOT_LAUNCHED = "not launched"


VERDICTS: dict[str, Verdict | None] = {
    "InProgress": None,
    "Completed": Verdict.FINISHED,
    "Failed": Verdict.FAILED,
    "Stopping": None,  # it still runs, and uploads its output
    "Stopped": Verdict.STOPPED,  # by a person or by a limit: never a success
    "Deleting": Verdict.STOPPED,  # only an ended job can be deleted; how it ended is no longer known
}
"""The verdict for each TrainingJobStatus; None while the job runs. The agent keeps waiting on an unknown status."""


def _utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is out of range") from None


Instant = Annotated[AwareDatetime, AfterValidator(_utc)]
"""A time in an event or an API's answer: epoch milliseconds as a number or a string, or ISO 8601."""


ITEM_TAG = "WandbRunQueueItemId"
STACK_TAG = "LaunchStack"
"""The tags that say which run queue item a training job is for, and which stack created it."""


def tags_in(value: object) -> dict[str, str]:
    """Parse tags: a map, or a list of objects with Key and Value. Returns an empty dict for anything else."""
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, (list, tuple)):
        pairs = [(each.get("Key"), each.get("Value")) for each in value if isinstance(each, Mapping)]
    else:
        pairs = []
    return {key: tag for key, tag in pairs if isinstance(key, str) and isinstance(tag, str)}


def item_in(tags: Mapping[str, str], stack_name: str) -> str | None:
    """Return the run queue item in a training job's tags, or None if this stack did not create the job."""
    return tags.get(ITEM_TAG) if tags.get(STACK_TAG) == stack_name else None


class Metric(Wire):
    """One of a training job's final metrics."""

    name: str = Field(alias="MetricName")
    value: float = Field(alias="Value")


class Transition(Wire):
    """One of the secondary statuses that a training job went through."""

    status: str = Field(alias="Status")


class Algorithm(Wire):
    """The part of AlgorithmSpecification that a failure message needs."""

    entry_point: tuple[str, ...] = Field(alias="ContainerEntrypoint", default=())


class _Model(Wire):
    uri: str = Field(alias="S3ModelArtifacts", default="")


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
    training_seconds: int | None = Field(alias="TrainingTimeInSeconds", default=None)
    billable_seconds: int | None = Field(alias="BillableTimeInSeconds", default=None)
    resources: Resources = Field(alias="ResourceConfig", default_factory=Resources)
    is_spot: bool = Field(alias="EnableManagedSpotTraining", default=False)
    model: _Model = Field(alias="ModelArtifacts", default_factory=_Model)
    """Where the model is. SageMaker gives the place even if the container left no model."""
    algorithm: Algorithm = Field(alias="AlgorithmSpecification", default_factory=Algorithm)
    metrics: tuple[Metric, ...] = Field(alias="FinalMetricDataList", default=())
    transitions: tuple[Transition, ...] = Field(alias="SecondaryStatusTransitions", default=())

    @property
    def failure_kind(self) -> str:
        """Why it failed or did not start, as a key of the table of retries; empty otherwise."""
        if self.verdict is Verdict.FAILED:
            return self.failure_reason.partition(":")[0]
        asked_to_stop = any(each.status == "Stopping" for each in self.transitions)
        never_ran = self.started_at is None and self.billable_seconds in (None, 0)
        is_given_up = self.verdict is Verdict.STOPPED and self.secondary_status == "Stopped" and never_ran
        return NEVER_STARTED if is_given_up and not asked_to_stop else ""

    @property
    def found_no_command(self) -> bool:
        """Whether its container ended with exit code 127, which shells and container engines use for a command that
        does not exist (https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_08_02).
        """
        return self.failure_reason.rstrip(".").endswith("exit code: 127")

    @property
    def verdict(self) -> Verdict | None:
        """How it ended; None while it runs, and for an unknown status."""
        return VERDICTS.get(self.status)


class TrainingEnd(Model):
    """How a training job ended: what the rest of the execution needs to know."""

    training_job_name: str
    verdict: Verdict
    secondary_status: str
    reason: str
    container_ran: bool
    ended_at: datetime
    billable_seconds: int | None = None
    metrics: dict[str, float] = Field(default_factory=dict)

    @property
    def stopped_by_a_person(self) -> bool:
        """Whether a person stopped it, not a time limit."""
        return self.verdict is Verdict.STOPPED and self.secondary_status == "Stopped" and self.container_ran

    @classmethod
    def of(cls, job: TrainingJob) -> "TrainingEnd | None":
        """Return how a training job ended, or None while it runs."""
        if job.verdict is None:
            return None
        return cls(
            training_job_name=job.name,
            verdict=job.verdict,
            secondary_status=job.secondary_status,
            reason=_reason(job),
            container_ran=job.started_at is not None and not job.found_no_command,
            ended_at=job.ended_at or job.modified_at,
            billable_seconds=job.billable_seconds,
            metrics={metric.name: metric.value for metric in job.metrics},
        )


_MAX_FAILURE_REASON = 1_024  # SageMaker cuts a longer one


def _reason(job: TrainingJob) -> str:
    if job.verdict is Verdict.FINISHED:
        return "The training job completed."
    if job.verdict is Verdict.STOPPED:
        never_ran = job.started_at is None and job.billable_seconds in (None, 0)
        by = ENDINGS.get(job.secondary_status, "Someone stopped it." if not never_ran else "It never started.")
        return f"The training job was stopped. {by}"
    kind, _, _ = job.failure_reason.partition(":")
    is_cut = len(job.failure_reason) >= _MAX_FAILURE_REASON
    reason = f"{job.failure_reason}..." if is_cut else job.failure_reason.rstrip(".") or "SageMaker gave no reason"
    command = shlex.join(without_start(job.algorithm.entry_point)) or "the image's own entry point"
    missing = f"A command was not found: the container runs {command}." if job.found_no_command else ""
    known, general = remedy(job.failure_reason), ENDINGS.get(kind, "")
    advice = [known, general] if kind == "AlgorithmError" or not known else [known]
    return " ".join(filter(None, [f"The training job failed: {reason}.", missing, *advice]))
