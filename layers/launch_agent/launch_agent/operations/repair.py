"""Decides what a sweep has to repair: it compares the records of open runs, the executions and the training jobs."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field, Json, ValidationError

from launch_agent.model import Wire
from launch_agent.run_queue.items import Slot
from launch_agent.runs.record import RunRecord

_START_BY = timedelta(minutes=2)
"""An execution is started seconds after its record is stored, unless the function ended between the two."""


class Repair(StrEnum):
    """What an open run needs."""

    START = "start its execution"
    CLOSE = "report and close it, as its execution did not"
    RESUME = "answer the task token, if its training job has ended"


class _Input(Wire):
    run_queue_item_id: str = Field(min_length=1)


class _Detail(Wire):
    input: Json[_Input]


class _ExecutionEnded(Wire):
    detail: _Detail


def item_to_repair(event: object) -> str | None:
    """Return the run queue item of an event "Step Functions Execution Status Change"
    (https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html).

    None for any other event, and if the execution's input is too long for the event: the sweep then checks all runs.
    """
    try:
        return _ExecutionEnded.model_validate(event).detail.input.run_queue_item_id
    except ValidationError:
        return None


class OrphanJob(NamedTuple):
    """A training job in progress that no open run waits for."""

    training_job_name: str
    item_id: str


def needs_check(
    unreported: Iterable[RunRecord], *, running: Collection[str], live_jobs: Collection[str]
) -> list[RunRecord]:
    """Return the runs to check: without a running execution, or open with a training job that is not in progress."""
    return [
        run
        for run in unreported
        if run.execution_name not in running
        or (run.is_open and run.training_job_name and run.training_job_name not in live_jobs)
    ]


def repair_of(record: RunRecord | None, *, execution_status: str | None, now: datetime) -> Repair | None:
    """Return what a run needs, from its record and its execution as they are now; None if it needs nothing.

    `execution_status` is the status in Step Functions, or None if the execution does not exist.
    """
    if record is None or not record.is_unreported:
        return None
    if execution_status is None:
        return Repair.START if now >= record.opened_at + _START_BY else None
    if execution_status == "RUNNING":
        return Repair.RESUME if record.task_token else None
    return None if execution_status == "PENDING_REDRIVE" else Repair.CLOSE


def is_orphan(job: OrphanJob, record: RunRecord | None) -> bool:
    """Return whether a training job in progress has to be stopped.

    A job without a record is left alone: a deleted stack of the same name may have started it.
    """
    return record is not None and (not record.is_open or record.training_job_name != job.training_job_name)


def wrong_counts(open_runs: Iterable[RunRecord], counted: Mapping[Slot, int]) -> dict[Slot, tuple[int, int]]:
    """Return the wrong counts of slots in use: by kind of slot, the count and the actual number of open runs."""
    found = Counter(run.slot for run in open_runs)
    return {slot: (number, found[slot]) for slot, number in counted.items() if number != found[slot]}
