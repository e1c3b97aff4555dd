"""What is tried again when a training job does not come about or comes to nothing: one table decides."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple


class RetryReason(StrEnum):
    """Why a training job is tried again: the name that the state machine retries."""

    CAPACITY = "CapacityUnavailable"
    SAGEMAKER = "SageMakerFailed"


class Retry(NamedTuple):
    """What becomes of one kind of failure."""

    reason: RetryReason | None
    """None where it is not tried again: the same would happen."""
    how_long: str


NEVER_STARTED = "Stopped before it started"
_FOR_CAPACITY = Retry(RetryReason.CAPACITY, "after at most fifteen minutes, again and again, for CapacityWaitHours")
_NOT = Retry(None, "not at all")

RETRIES: dict[str, Retry] = {
    "ResourceLimitExceeded": _FOR_CAPACITY,
    "CapacityError": _FOR_CAPACITY,
    NEVER_STARTED: _FOR_CAPACITY,
    "InternalServerError": Retry(RetryReason.SAGEMAKER, "three times, with another training job each"),
    "AlgorithmError": _NOT,
    "ClientError": _NOT,
    "ValidationException": _NOT,
    "AccessDeniedException": _NOT,
}
"""By SageMaker's word for it: an error code of CreateTrainingJob, or how a FailureReason begins
(https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html). What is not here is not
tried again, and what somebody stopped never is."""

MAX_FAILURES_OF_SAGEMAKER = 3


def retry_reason_of(kind: str) -> RetryReason | None:
    """Return why a failure of this kind is tried again; None when it is not."""
    return RETRIES.get(kind, _NOT).reason


def may_try_again(
    reason: RetryReason,
    *,
    failures_before: int = 0,
    capacity_awaited_since: datetime | None,
    now: datetime,
    capacity_wait: timedelta,
) -> bool:
    """Return whether one more try is due. `failures_before` is how many training jobs SageMaker failed before this."""
    if reason is RetryReason.CAPACITY:
        return capacity_awaited_since is None or now < capacity_awaited_since + capacity_wait
    return failures_before < MAX_FAILURES_OF_SAGEMAKER
