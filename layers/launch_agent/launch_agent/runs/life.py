"""The life of a run: the one table of its states and of the changes between them.

The Runs table takes a change on the condition that is written here, so a change that this table does not have is not
made. `make picture` draws it into docs/architecture.md.
"""

from enum import StrEnum
from typing import NamedTuple


class RunState(StrEnum):
    """Whether a run holds a slot (open), is over and not reported (ended), has its outcome (closed), or went back to
    W&B unacknowledged (returned).
    """

    OPEN = "open"
    ENDED = "ended"
    CLOSED = "closed"
    RETURNED = "returned"


class Event(StrEnum):
    """What changes the state of a run."""

    OPENED = "opened"
    RELAUNCHED = "relaunched"
    ENDED = "ended"
    CLOSED = "closed"
    GIVEN_BACK = "given back"


class Change(NamedTuple):
    """A change of state. The record, the slots in use and the run's details change in one transaction, or none does."""

    after: tuple[RunState | None, ...]
    """The states that it follows; None where there is no record yet."""
    to: RunState
    slots: int
    """What it adds to the slots in use."""
    forgets: tuple[str, ...]
    """The attributes that it deletes from the record."""
    next_attempt: bool = False
    """Whether it follows an earlier attempt only; any other change follows the attempt that it belongs to."""


_ONLY_WHILE_UNREPORTED = ("spec", "plan", "task_token", "open")
_OF_AN_EARLIER_ATTEMPT = ("stop_requested_at", "ended_at", "ttl")
_OF_AN_EARLIER_LAUNCH = (
    *_OF_AN_EARLIER_ATTEMPT,
    "awaits_build_of",
    "capacity_awaited_since",
    "outcome",
    "training_job_name",
)

LIFE = {
    Event.OPENED: Change(
        after=(None, RunState.RETURNED), to=RunState.OPEN, slots=+1, forgets=_OF_AN_EARLIER_ATTEMPT, next_attempt=True
    ),
    Event.RELAUNCHED: Change(after=(RunState.CLOSED,), to=RunState.OPEN, slots=+1, forgets=_OF_AN_EARLIER_LAUNCH),
    Event.ENDED: Change(after=(RunState.OPEN,), to=RunState.ENDED, slots=-1, forgets=("task_token",)),
    Event.CLOSED: Change(after=(RunState.ENDED,), to=RunState.CLOSED, slots=0, forgets=_ONLY_WHILE_UNREPORTED),
    Event.GIVEN_BACK: Change(after=(RunState.OPEN,), to=RunState.RETURNED, slots=-1, forgets=_ONLY_WHILE_UNREPORTED),
}
