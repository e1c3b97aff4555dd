"""What can go wrong at a call to the outside, and who decides that it does."""

import random
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, Protocol


class Fault(StrEnum):
    """What becomes of one call of a function's."""

    KILLED_BEFORE = "killed before"
    KILLED_DURING = "killed during"
    KILLED_AFTER = "killed after"
    NO_ANSWER = "no answer"
    LOST_ANSWER = "answer lost"
    THROTTLED = "throttled"
    BROKEN = "server error"
    SLOW = "too slow"
    MALFORMED = "malformed answer"
    KEY_REJECTED = "key rejected"
    CONFLICT = "in conflict with another write"
    REFUSED = "refused"


PASSING = tuple(fault for fault in Fault if fault is not Fault.REFUSED)
"""Faults after which the same call may work."""
_OF_ONE_SERVICE = {Fault.MALFORMED: "wandb", Fault.KEY_REJECTED: "wandb", Fault.CONFLICT: "dynamodb"}
IS_DONE = frozenset({Fault.KILLED_DURING, Fault.KILLED_AFTER, Fault.LOST_ANSWER})
"""Faults after which the call has had its effect all the same."""


class Site(NamedTuple):
    """A place in the code from which a call goes out: which function calls which operation."""

    function: str
    service: str
    operation: str

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What can go wrong there, and be right the next time."""
        return tuple(fault for fault in PASSING if self._can_be(fault))

    def _can_be(self, fault: Fault) -> bool:
        if fault is Fault.KEY_REJECTED and self.operation == "storage":
            return False  # a signed address looks at no key
        if fault is Fault.CONFLICT and self.operation in ("GetItem", "Query"):
            return False  # what is only read is in nobody's way
        return _OF_ONE_SERVICE.get(fault, self.service) == self.service

    def __str__(self) -> str:
        """Write it as the fault suite lists it."""
        return f"{self.function} > {self.service}.{self.operation}"


class Faults(Protocol):
    """Decides what goes wrong."""

    def at(self, site: Site) -> Fault | None:
        """Return what goes wrong with the call that is about to be made."""


class NoFaults:
    """Nothing goes wrong; counts the calls at each place."""

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self.seen: Counter[Site] = Counter()

    def at(self, site: Site) -> Fault | None:
        """Count the call."""
        self.seen[site] += 1
        return None


class FaultsAt:
    """One thing goes wrong at one place, so many times in a row or for good, after the first calls."""

    def __init__(self, site: Site, fault: Fault, *, skip: int = 0, times: float = 1) -> None:
        """Take what goes wrong where."""
        self.happened, self.times = 0, times
        self._site, self._fault, self._skip = site, fault, skip

    def at(self, site: Site) -> Fault | None:
        """Fail if this is the place."""
        if site != self._site:
            return None
        self._skip -= 1
        if self._skip >= 0 or self.happened >= self.times:
            return None
        self.happened += 1
        return self._fault


class RandomFaults:
    """Anything goes wrong anywhere, now and then."""

    def __init__(self, seed: int, *, rate: float, weights: Mapping[Fault, float] | None = None) -> None:
        """Take the share of calls that fail."""
        self._random = random.Random(seed)
        self.rate = rate
        self._weights = weights or {}
        self.happened = 0

    def at(self, site: Site) -> Fault | None:
        """Draw."""
        if self._random.random() >= self.rate:
            return None
        self.happened += 1
        faults = site.faults
        return self._random.choices(faults, [self._weights.get(fault, 1.0) for fault in faults])[0]


class WandbAway:
    """W&B is away, at all places alike, until it is back; other faults go on as before."""

    def __init__(self, others: Faults, fault: Fault) -> None:
        """Take what goes wrong beside, and how W&B shows that it is away."""
        self._others, self._fault = others, fault
        self.is_away = False
        self.asked: Counter[Site] = Counter()
        """What was asked of W&B while it was away, and how often."""

    def at(self, site: Site) -> Fault | None:
        """Fail what goes to W&B."""
        if self.is_away and site.service == "wandb":
            self.asked[site] += 1
            return self._fault
        return self._others.at(site)
