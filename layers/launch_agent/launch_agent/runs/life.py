"""The life of a run: one table of its states and of the changes between them.

Every write to the Runs table has the condition that is stated here, so only these changes can happen. `make picture`
draws the table into docs/architecture.md.
"""

from enum import StrEnum
from typing import NamedTuple


class RunState(StrEnum):
    """Open: holds a slot. Ended: is over, not reported yet. Closed: has its outcome. Returned: its item went back to
    its queue, not acknowledged.
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
    """A change of state. One transaction changes the record, the count of slots and the run's details."""

    after: tuple[RunState | None, ...]
    """The states from which it is possible; None means that the record does not exist yet."""
    to: RunState
    slots: int
    """The number to add to the count of slots in use."""
    forgets: tuple[str, ...]
    """The attributes to delete from the record."""
    next_attempt: bool = False
    """Whether the record has to be of an earlier attempt; otherwise it has to be of the same attempt."""


_ONLY_WHILE_UNREPORTED = ("spec", "plan", "task_token", "open", "credentials")
_OF_AN_EARLIER_ATTEMPT = ("stop_requested_at", "ended_at", "ttl")
_OF_AN_EARLIER_LAUNCH = (
    *_OF_AN_EARLIER_ATTEMPT,
    "awaits_build_of",
    "capacity_awaited_since",
    "never_begun",
    "outcome",
    "training_job_name",
    "waits_for",
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
