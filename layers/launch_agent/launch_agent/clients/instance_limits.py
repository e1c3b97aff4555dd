"""Which runs use the instances that `max_jobs_per_instance_type` limits, in the table Runs."""

from collections.abc import Callable, Mapping

from launch_agent.clients.table import Table
from launch_agent.errors import AwsThrottled, CapacityUnavailable
from launch_agent.outcome.report import slot_warning

_TRIES = 5


class InstanceLimits:
    """The runs that use limited instances, by the pattern of the limit.

    A run that has ended stays listed until another one needs its place. Every method may raise AwsThrottled and
    AwsRefused.
    """

    def __init__(self, table: str, is_open: Callable[[str], bool]) -> None:
        """`table` is the name of the table Runs; `is_open` says whether the run of an item may go on."""
        self._table, self._is_open = Table(table), is_open

    def take(self, limits: Mapping[str, int], item_id: str) -> None:
        """Take a place for a run below each of its limits. A run that has one keeps it.

        Raises CapacityUnavailable, without the places of this call, if one of the limits is reached.
        """
        taken: list[str] = []
        for pattern, limit in sorted(limits.items()):
            place = self._take(pattern, limit, item_id)
            if place is None:
                for each in taken:
                    self._table.make(self._table.change(_key(each), delete={"runs": {item_id}}))
                raise CapacityUnavailable(slot_warning(limit, "max_jobs_per_instance_type", f" for {pattern}"))
            taken += [pattern] if place else []

    def _take(self, pattern: str, limit: int, item_id: str) -> bool | None:
        """Return whether this call took the place; None if all are taken."""
        for _ in range(_TRIES):
            known = (self._table.get(_key(pattern)) or {}).get("runs") or frozenset()
            if item_id in known:
                return False
            left = known if len(known) < limit else frozenset(filter(self._is_open, known))
            if len(left) >= limit:
                return None
            same = {"condition": "#runs = :known", "known": {"known": set(known)}}
            new = {"condition": "attribute_not_exists(#runs)"}
            change = self._table.change(_key(pattern), set_={"runs": {*left, item_id}}, **(same if known else new))
            if self._table.make(change):
                return True
        raise AwsThrottled("other runs take instances at the same time")


def _key(pattern: str) -> str:
    return f"instances#{pattern}"
