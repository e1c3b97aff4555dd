"""The records of sweeps: attributes of their schedulers' items in the table Runs.

A step claims a sweep before it changes anything, so that one step of a sweep runs at a time. The version is in the
condition of every write: a step whose claim has ended can no longer write.
"""

import gzip
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from launch_agent.clients.table import Table
from launch_agent.runs.life import RunState
from launch_agent.sweeps.record import SweepRecord

_CLAIM = timedelta(seconds=65)
"""Longer than the time limit of the function."""


_LOOKED_AGAIN_AFTER = timedelta(hours=1)


class StoredSweep(NamedTuple):
    """A sweep's record, its version, and the task token that the end of the sweep answers."""

    item_id: str
    record: SweepRecord
    version: int
    task_token: str | None
    claimed_until: int
    blocked_at: int
    """When a sweep of runs first found that this sweep is blocked; 0 for never."""

    def is_free(self, now: datetime) -> bool:
        """Whether no other step has the sweep."""
        return self.claimed_until <= now.timestamp()


class SweepRecords:
    """The sweeps' records. Every method may raise AwsThrottled and AwsRefused."""

    def __init__(self, table: Table) -> None:
        """`table` is the table Runs."""
        self._table = table

    def get(self, item_id: str) -> StoredSweep | None:
        """Return the sweep of a scheduler's run queue item; None if the scheduler has not started."""
        found = self._table.get(_key(item_id)) or {}
        if "sweep" not in found:
            return None
        return StoredSweep(
            item_id,
            SweepRecord.model_validate(json.loads(gzip.decompress(bytes(found["sweep"])))),
            int(found["sweep_version"]),
            found.get("task_token"),
            int(found["sweep_claimed_until"]),
            int(found.get("sweep_blocked_at", 0)),
        )

    def begin(self, item_id: str, record: SweepRecord, *, task_token: str, after: StoredSweep | None) -> bool:
        """Store the record and the task token of a scheduler that starts. Return False if its run is not open.

        `after` is what was stored before; False also if another call has changed it.
        """
        known = {"version": after.version} if after else {}
        same = "#sweep_version = :version" if after else "attribute_not_exists(#sweep_version)"
        values = {**_packed(record, after.version + 1 if after else 1, until=0), "task_token": task_token}
        return self._write(item_id, values, condition=same, known=known)

    def claim(self, stored: StoredSweep, record: SweepRecord, *, now: datetime) -> StoredSweep | None:
        """Store the record and claim the sweep. Return None if another step has it, or the run has ended."""
        until = int((now + _CLAIM).timestamp())
        return self._next(stored, record, until, "#sweep_claimed_until <= :now", {"now": int(now.timestamp())})

    def save(self, stored: StoredSweep, record: SweepRecord, *, keep: bool) -> StoredSweep | None:
        """Store the record of a claimed sweep, and keep or end the claim. Return None as `claim` does."""
        return self._next(stored, record, stored.claimed_until if keep else 0, "", {})

    def found_blocked(self, stored: StoredSweep, *, now: datetime) -> bool:
        """Record that a sweep is blocked; return whether it was so an hour ago, without a complete step since."""
        found_at, complete_at = datetime.fromtimestamp(stored.blocked_at, UTC), stored.record.complete_at
        if complete_at and found_at > complete_at:
            return now > found_at + _LOOKED_AGAIN_AFTER
        self._table.make(self._table.change(_key(stored.item_id), set_={"sweep_blocked_at": int(now.timestamp())}))
        return False

    def _next(
        self, stored: StoredSweep, record: SweepRecord, until: int, condition: str, known: Mapping[str, Any]
    ) -> StoredSweep | None:
        values = _packed(record, stored.version + 1, until=until)
        condition = " AND ".join(filter(None, ["#sweep_version = :version", condition]))
        if not self._write(stored.item_id, values, condition=condition, known={**known, "version": stored.version}):
            return None
        return stored._replace(record=record, version=stored.version + 1, claimed_until=until)

    def _write(self, item_id: str, values: Mapping[str, Any], *, condition: str, known: Mapping[str, Any]) -> bool:
        change = self._table.change(
            _key(item_id),
            set_=values,
            condition=f"#state = :open AND {condition}",
            known={"open": RunState.OPEN.value, **known},
            names=("state",),
        )
        return self._table.make(change)


def _packed(record: SweepRecord, version: int, *, until: int) -> dict[str, Any]:
    content = gzip.compress(record.model_dump_json(exclude_defaults=True).encode(), mtime=0)
    return {"sweep": content, "sweep_version": version, "sweep_claimed_until": until}


def _key(item_id: str) -> str:
    return f"run#{item_id}"
