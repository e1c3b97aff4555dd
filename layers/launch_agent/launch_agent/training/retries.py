"""When a training job that could not start, or failed, is tried again: one table decides."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple


class RetryReason(StrEnum):
    """Why a training job is tried again. The value is the error that the state machine retries."""

    CAPACITY = "CapacityUnavailable"
    SAGEMAKER = "SageMakerFailed"


class Retry(NamedTuple):
    """What happens after one kind of failure."""

    reason: RetryReason | None
    """None if it is not tried again, as it would fail the same way."""
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
"""By the error code of CreateTrainingJob, or the first word of a FailureReason
(https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html). Other failures are not tried
again, and a job that a person stopped never is."""

MAX_FAILURES_OF_SAGEMAKER = 3


def retry_reason_of(kind: str) -> RetryReason | None:
    """Return why a failure of this kind is tried again, or None if it is not."""
    return RETRIES.get(kind, _NOT).reason


def may_try_again(
    reason: RetryReason,
    *,
    failures_before: int = 0,
    capacity_awaited_since: datetime | None,
    now: datetime,
    capacity_wait: timedelta,
) -> bool:
    """Return whether to try once more. `failures_before` is how many of the run's jobs SageMaker failed before this."""
    if reason is RetryReason.CAPACITY:
        return capacity_awaited_since is None or now < capacity_awaited_since + capacity_wait
    return failures_before < MAX_FAILURES_OF_SAGEMAKER
