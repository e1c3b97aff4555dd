"""What is remembered of a sweep between two steps of its scheduler."""

from datetime import datetime
from typing import Any

from launch_agent.model import Model
from launch_agent.training.training_job import Verdict


class SweepRun(Model):
    """A run of the sweep that has not ended. A worker is free when none of its runs is left."""

    run_id: str
    worker: int
    parameters: dict[str, Any] | None = None
    """The run's parameters, until its item is queued."""
    resumes: bool = False
    """Whether the run was queued before, and W&B asked to resume it."""
    item_id: str | None = None
    """Its run queue item; None until it is queued."""
    unseen: bool = False
    """Whether W&B did not show the run at the last step."""


class SweepEnd(Model):
    """How a scheduler ended."""

    verdict: Verdict
    reason: str
    state: str | None = None
    """The state to write to the sweep, unless it has ended in W&B."""
    stops_runs: bool = False


class SweepRecord(Model):
    """A sweep's scheduler between two steps. It has no secrets; the `launch` block, which may have, is in the order."""

    agents: tuple[str, ...] = ()
    """The sweep agent of each worker in W&B; empty for a worker that has none."""
    runs: tuple[SweepRun, ...] = ()
    queued: frozenset[str] = frozenset()
    """Every run that was queued or is about to be. None of them is queued again, unless W&B asks to resume it."""
    counted: int = 0
    """How many runs count for the run cap: those in the sweep when the scheduler started, and those queued since."""
    asking: tuple[int, ...] = ()
    """The workers whose commands the last step asked W&B for. If it did not store the answer, a later step looks
    which runs W&B gave them.
    """
    pushing: tuple[str, ...] = ()
    """The runs that the last step queued. If it did not store their items, a later step looks for them in the queue."""
    pushing_since: datetime | None = None
    is_used_up: bool = False
    """Whether W&B has no further run for the sweep."""
    complete_at: datetime | None = None
    """When a step last did all that it had to. Stored about once an hour if nothing else changes."""
    log: tuple[str, ...] = ()
    """The last lines about what happened, with their times."""
    end: SweepEnd | None = None
