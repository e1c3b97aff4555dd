"""Which failures are retried, and how often."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from launch_agent.training.retries import (
    MAX_FAILURES_OF_SAGEMAKER,
    RETRIES,
    RetryReason,
    may_try_again,
    retry_reason_of,
)
from launch_agent.training.training_job import TrainingJob
from tests.make import training_job

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
STARTED: dict[str, Any] = {"TrainingStartTime": NOW}


def job(status: str, secondary_status: str, reason: str = "", *, asked: bool = False, **more: Any) -> TrainingJob:
    transitions = ["Starting", *(["Stopping"] if asked else []), secondary_status]
    shown = [{"Status": each} for each in transitions]
    return training_job(status, secondary_status, FailureReason=reason, SecondaryStatusTransitions=shown, **more)


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        (job("Failed", "Failed", "CapacityError: Unable to provision 1 ml.p5.48xlarge"), RetryReason.CAPACITY),
        (job("Failed", "Failed", "InternalServerError: We encountered an internal error"), RetryReason.SAGEMAKER),
        (job("Failed", "Failed", "AlgorithmError: exit code 1", **STARTED), None),
        (job("Failed", "Failed", "ClientError: no such image"), None),
        (job("Failed", "Failed", "NewKindOfError: who knows"), None),
        (job("Failed", "Failed"), None),
        (job("Stopped", "Stopped"), RetryReason.CAPACITY),
        (job("Stopped", "Stopped", BillableTimeInSeconds=0), RetryReason.CAPACITY),
        (job("Stopped", "Stopped", asked=True), None),
        (job("Stopped", "Stopped", **STARTED), None),
        (job("Stopped", "Stopped", BillableTimeInSeconds=9), None),
        (job("Stopped", "MaxRuntimeExceeded", **STARTED), None),
        (job("Stopped", "MaxWaitTimeExceeded"), None),
        (job("Completed", "Completed", **STARTED), None),
        (job("InProgress", "Starting"), None),
        (job("Rewound", "Rewound"), None),
    ],
    ids=lambda value: f"{value.secondary_status} {value.failure_reason}" if isinstance(value, TrainingJob) else "",
)
def test_how_a_training_job_ended_says_whether_another_follows(ended: TrainingJob, reason: RetryReason | None) -> None:
    assert retry_reason_of(ended.failure_kind) is reason


def test_every_reason_for_a_retry_is_met_by_something() -> None:
    assert {retry.reason for retry in RETRIES.values()} == {*RetryReason, None}


@pytest.mark.parametrize(
    ("waited", "again"), [(None, True), (timedelta(0), True), (timedelta(hours=23.9), True), (timedelta(days=1), False)]
)
def test_capacity_is_awaited_for_so_long(waited: timedelta | None, again: bool) -> None:
    since = NOW - waited if waited is not None else None
    day = timedelta(hours=24)
    assert may_try_again(RetryReason.CAPACITY, capacity_awaited_since=since, now=NOW, capacity_wait=day) is again


def test_a_stack_that_does_not_wait_tries_once() -> None:
    wait = timedelta(0)
    assert not may_try_again(RetryReason.CAPACITY, capacity_awaited_since=NOW, now=NOW, capacity_wait=wait)


def test_sagemaker_may_fail_so_often() -> None:
    for before in range(MAX_FAILURES_OF_SAGEMAKER + 2):
        again = may_try_again(
            RetryReason.SAGEMAKER,
            failures_before=before,
            capacity_awaited_since=NOW - timedelta(days=3),
            now=NOW,
            capacity_wait=timedelta(hours=1),
        )
        assert again is (before < MAX_FAILURES_OF_SAGEMAKER)
