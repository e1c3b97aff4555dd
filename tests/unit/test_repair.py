"""The repairs that a sweep decides on."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from launch_agent.operations.repair import OrphanJob, Repair, is_orphan, needs_check, repair_of, wrong_counts
from launch_agent.run_queue.items import Slot
from launch_agent.runs.life import RunState
from launch_agent.runs.record import RunRecord
from tests.make import run_record

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def record(item_id: str = "item", **more: Any) -> RunRecord:
    return run_record(item_id, **{"opened_at": NOW - timedelta(hours=1), **more})


def test_a_run_whose_execution_and_job_are_in_progress_is_not_looked_at() -> None:
    quiet = [record("planning"), record("training", training_job_name="job")]
    assert needs_check(quiet, running={"planning", "training"}, live_jobs={"job"}) == []


def test_a_run_that_has_ended_is_looked_at_when_its_execution_has_too() -> None:
    ended = record("ended", training_job_name="job", state=RunState.ENDED)
    assert needs_check([ended], running={"ended"}, live_jobs=set()) == []
    assert needs_check([ended], running=set(), live_jobs=set()) == [ended]


def test_a_run_without_execution_or_without_its_job_is_looked_at() -> None:
    lost = [record("no-execution"), record("no-job", training_job_name="job")]
    assert needs_check(lost, running={"no-job"}, live_jobs={"another"}) == lost


@pytest.mark.parametrize(
    ("status", "more", "repair"),
    [
        (None, {}, Repair.START),
        (None, {"opened_at": NOW - timedelta(seconds=119)}, None),
        (None, {"opened_at": NOW - timedelta(seconds=120)}, Repair.START),
        ("RUNNING", {}, None),
        ("RUNNING", {"task_token": "token"}, Repair.RESUME),
        ("SUCCEEDED", {}, Repair.CLOSE),
        ("FAILED", {}, Repair.CLOSE),
        ("TIMED_OUT", {"task_token": "token"}, Repair.CLOSE),
        ("ABORTED", {}, Repair.CLOSE),
        ("PENDING_REDRIVE", {}, None),
        ("RUNNING", {"state": RunState.ENDED}, None),
        ("SUCCEEDED", {"state": RunState.ENDED}, Repair.CLOSE),
        ("ABORTED", {"state": RunState.ENDED}, Repair.CLOSE),
        ("ABORTED", {"state": RunState.CLOSED}, None),
        ("ABORTED", {"state": RunState.RETURNED}, None),
        (None, {"state": RunState.CLOSED}, None),
    ],
)
def test_what_a_run_needs(status: str | None, more: dict[str, Any], repair: Repair | None) -> None:
    assert repair_of(record(**more), execution_status=status, now=NOW) is repair


def test_nothing_is_done_for_an_item_without_a_record() -> None:
    assert repair_of(None, execution_status="ABORTED", now=NOW) is None


@pytest.mark.parametrize(
    ("known", "orphan"),
    [
        (record(training_job_name="job"), False),
        (record(training_job_name="next"), True),
        (record(), True),
        (record(training_job_name="job", state=RunState.ENDED), True),
        (record(training_job_name="job", state=RunState.CLOSED), True),
        (None, False),
    ],
)
def test_a_job_in_progress_that_no_open_run_waits_for_is_an_orphan(known: RunRecord | None, orphan: bool) -> None:
    assert is_orphan(OrphanJob("job", "item"), known) is orphan


def test_slots_are_compared_by_their_kind() -> None:
    open_runs = [record("one"), record("two"), record("three", slot=Slot.SCHEDULER)]
    assert wrong_counts(open_runs, {Slot.JOB: 2, Slot.SCHEDULER: 1}) == {}
    assert wrong_counts(open_runs, {Slot.JOB: 3, Slot.SCHEDULER: 0}) == {Slot.JOB: (3, 2), Slot.SCHEDULER: (0, 1)}
