"""The metrics of this application, and what they are computed from. docs/metrics.md explains each."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from launch_agent.runs.record import RunRecord
from launch_agent.training.training_job import Verdict

NAMESPACE = "WandbLaunch"


class Metric(StrEnum):
    """A metric, by its name in CloudWatch."""

    BILLABLE_SECONDS = "BillableSeconds"
    BUILDS_FAILED = "BuildsFailed"
    BUILDS_STARTED = "BuildsStarted"
    CAPACITY_REFUSALS = "CapacityRefusals"
    ESTIMATED_COST = "EstimatedCost"
    EVENTS_NOT_SENT = "EventsNotSent"
    IMAGES_REUSED = "ImagesReused"
    ITEMS_WAITING = "ItemsWaiting"
    KEY_REFUSED = "KeyRefused"
    LAUNCHES_FAILED = "LaunchesFailed"
    OLDEST_ITEM_MINUTES = "OldestItemMinutes"
    OPEN_RUNS = "OpenRuns"
    RUNS_FAILED = "RunsFailed"
    RUNS_FINISHED = "RunsFinished"
    RUNS_LAUNCHED = "RunsLaunched"
    RUNS_STOPPED = "RunsStopped"
    SECONDS_TO_LAUNCH = "SecondsToLaunch"
    SWEEP_REPAIRS = "SweepRepairs"


UNITS = {
    Metric.BILLABLE_SECONDS: "Seconds",
    Metric.ESTIMATED_COST: "None",  # US dollars
    Metric.OLDEST_ITEM_MINUTES: "None",  # CloudWatch has no minutes
    Metric.SECONDS_TO_LAUNCH: "Seconds",
}
"""The units of metrics; all others are counts."""

BY_VERDICT = {
    Verdict.FINISHED: Metric.RUNS_FINISHED,
    Verdict.FAILED: Metric.RUNS_FAILED,
    Verdict.STOPPED: Metric.RUNS_STOPPED,
    Verdict.NOT_LAUNCHED: Metric.LAUNCHES_FAILED,
}


def spent(billable_seconds: float | str | None, dollars: float | str | None) -> dict[Metric, float]:
    """Return the metrics of what a training job that has ended costs, as far as it is known."""
    numbers = {Metric.BILLABLE_SECONDS: billable_seconds, Metric.ESTIMATED_COST: dollars}
    return {metric: float(number) for metric, number in numbers.items() if number is not None}


class OpenRuns(NamedTuple):
    """What open runs are counted by. A state is `launching`, `training` or `reporting`."""

    queue: str
    state: str


def open_runs(unreported: Iterable[RunRecord]) -> Counter[OpenRuns]:
    """Count the runs without an outcome by queue and state."""
    return Counter(OpenRuns(run.item.queue, _state(run)) for run in unreported)


def _state(run: RunRecord) -> str:
    if not run.is_open:
        return "reporting"
    return "training" if run.training_job_name else "launching"


def waiting(queued_at: Iterable[datetime], now: datetime) -> dict[Metric, float]:
    """Return how many items wait in their queues, and for how long the oldest does. Nothing if none waits."""
    times = list(queued_at)
    if not times:
        return {}
    oldest = max(0.0, (now - min(times)).total_seconds() / 60)
    return {Metric.ITEMS_WAITING: len(times), Metric.OLDEST_ITEM_MINUTES: round(oldest, 1)}
