"""The faults of calls to the outside, and the classes that decide when they happen."""

import random
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, Protocol


class Fault(StrEnum):
    """A fault of one call."""

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
"""Faults after which the same call can succeed."""
_OF_ONE_SERVICE = {Fault.MALFORMED: "wandb", Fault.KEY_REJECTED: "wandb", Fault.CONFLICT: "dynamodb"}
IS_DONE = frozenset({Fault.KILLED_DURING, Fault.KILLED_AFTER, Fault.LOST_ANSWER})
"""Faults that happen after the call has taken effect."""


class Site(NamedTuple):
    """A kind of call: which function calls which operation."""

    function: str
    service: str
    operation: str

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that can happen there and pass."""
        return tuple(fault for fault in PASSING if self._can_be(fault))

    def _can_be(self, fault: Fault) -> bool:
        if fault is Fault.KEY_REJECTED and self.operation in ("storage", "stack-answers"):
            return False  # a signed address needs no key
        if fault is Fault.MALFORMED and self.operation == "stack-answers":
            return False  # S3 takes what is put there, and its answer has no content
        if fault is Fault.CONFLICT and self.operation in ("GetItem", "Query"):
            return False  # reads do not conflict
        return _OF_ONE_SERVICE.get(fault, self.service) == self.service

    def __str__(self) -> str:
        """Return the site as in the list of attacks."""
        return f"{self.function} > {self.service}.{self.operation}"


class Faults(Protocol):
    """Decides which calls fail."""

    def at(self, site: Site) -> Fault | None:
        """Return the fault for the next call, or None."""


class NoFaults:
    """No faults; counts the calls at each site."""

    def __init__(self) -> None:
        self.seen: Counter[Site] = Counter()

    def at(self, site: Site) -> Fault | None:
        self.seen[site] += 1
        return None


class FaultsAt:
    """One fault at one site, a number of times in a row or permanently, after the first `skip` calls."""

    def __init__(self, site: Site, fault: Fault, *, skip: int = 0, times: float = 1) -> None:
        self.happened, self.times = 0, times
        self._site, self._fault, self._skip = site, fault, skip

    def at(self, site: Site) -> Fault | None:
        if site != self._site:
            return None
        self._skip -= 1
        if self._skip >= 0 or self.happened >= self.times:
            return None
        self.happened += 1
        return self._fault


class FirstOf:
    """The first fault that one of several has for a call."""

    def __init__(self, *faults: Faults) -> None:
        self._faults = faults

    def at(self, site: Site) -> Fault | None:
        found = [faults.at(site) for faults in self._faults]
        return next(filter(None, found), None)


class RandomFaults:
    """Random faults at all sites."""

    def __init__(self, seed: int, *, rate: float, weights: Mapping[Fault, float] | None = None) -> None:
        """Let this share of calls fail."""
        self._random = random.Random(seed)
        self.rate = rate
        self._weights = weights or {}
        self.happened = 0

    def at(self, site: Site) -> Fault | None:
        if self._random.random() >= self.rate:
            return None
        self.happened += 1
        faults = site.faults
        return self._random.choices(faults, [self._weights.get(fault, 1.0) for fault in faults])[0]


class WandbOutage:
    """Makes W&B unavailable for all calls while `is_active`; other faults continue."""

    def __init__(self, others: Faults, fault: Fault) -> None:
        """Use `fault` for calls to W&B while it is unavailable, and `others` for all other calls."""
        self._others, self._fault = others, fault
        self.is_active = False
        self.asked: Counter[Site] = Counter()
        """The calls to W&B while it was unavailable, and how often each was made."""

    def at(self, site: Site) -> Fault | None:
        if self.is_active and site.service == "wandb":
            self.asked[site] += 1
            return self._fault
        return self._others.at(site)
