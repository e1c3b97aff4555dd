"""The launch agent's own item in the table Runs: its registration with W&B, and the count of slots in use."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from launch_agent.clients.table import Table
from launch_agent.run_queue.items import Slot
from launch_agent.runs.record import AgentRecord, RunRecord

_CLAIM_SECONDS = 60
_COUNTERS = {Slot.JOB: "jobs_open", Slot.SCHEDULER: "schedulers_open"}


class Agents:
    """The launch agent of each entity. Every method may raise AwsThrottled and AwsRefused."""

    def __init__(self, table: Table) -> None:
        """`table` is the table Runs."""
        self._table = table

    def find(self, entity: str) -> AgentRecord | None:
        """Return the launch agent of an entity with its slots in use, or None if none is registered."""
        found = self._table.get(_key(entity))
        if not found or "launch_agent_id" not in found:
            return None
        known = {name: found[name] for name in AgentRecord.model_fields if name in found}
        return AgentRecord.model_validate(known | {"entity": entity})

    def claim_registration(self, entity: str, *, known: AgentRecord | None, now: datetime) -> bool:
        """Return whether the caller may replace `known` with a new registration, exclusively for one minute.

        False while another call registers, or if one has registered since `known` was read.
        """
        same = "#launch_agent_id = :launch_agent_id" if known else "attribute_not_exists(#launch_agent_id)"
        seconds = int(now.timestamp())
        claim = self._table.change(
            _key(entity),
            set_={"registering_until": seconds + _CLAIM_SECONDS},
            condition=f"{same} AND (attribute_not_exists(#registering_until) OR #registering_until <= :now)",
            known={"now": seconds, **({"launch_agent_id": known.launch_agent_id} if known else {})},
            names=("launch_agent_id",),
        )
        return self._table.make(claim)

    def end_claim(self, entity: str) -> None:
        """Let another call register at once, after W&B did not answer this one."""
        self._table.make(self._table.change(_key(entity), set_={"registering_until": 0}))

    def remember(self, agent: AgentRecord) -> None:
        """Store a registration and end the claim. The count of slots in use does not change.

        Items that wait say so again: the limits may be others.
        """
        values = agent.model_dump(
            exclude={"changed_at", "draining_until", "entity", "told_limits", "told_schedulers", *_COUNTERS.values()}
        )
        set_, told = {**values, "registering_until": 0}, ("told_limits", "told_schedulers")
        self._table.make(self._table.change(_key(agent.entity), set_=set_, remove=told))

    def claim_drain(self, entity: str, *, until: datetime, now: datetime) -> bool:
        """Return whether the caller may lease whatever the queues have, exclusively `until` a time.

        False while another poll does.
        """
        claim = self._table.change(
            _key(entity),
            set_={"draining_until": int(until.timestamp())},
            condition="attribute_not_exists(#draining_until) OR #draining_until <= :now",
            known={"now": int(now.timestamp())},
        )
        return self._table.make(claim)

    def end_drain(self, entity: str) -> None:
        """Let another poll lease again."""
        self._table.make(self._table.change(_key(entity), set_={"draining_until": 0}))

    def warned(self, entity: str, queue: str) -> bool:
        """Record that a run queue has had the warning about the API key. Return False if it had it before."""
        warned = self._table.change(
            _key(entity),
            add={"warned_queues": {queue}},
            condition="NOT contains(#warned_queues, :queue)",
            known={"queue": queue},
        )
        return self._table.make(warned)

    def told_limits(self, entity: str, told: Mapping[str, Collection[str]]) -> None:
        """Record the items that say that they wait because of a limit, by the key of the limit."""
        some = {limit: set(item_ids) for limit, item_ids in told.items() if item_ids}
        self._table.make(self._table.change(_key(entity), set_={"told_limits": some}))

    def told_schedulers(self, entity: str, item_ids: Collection[str]) -> None:
        """Record the items of sweep schedulers that say that they wait for a slot."""
        self._table.make(self._table.change(_key(entity), set_={"told_schedulers": set(item_ids)}))

    def counting(self, record: RunRecord, number: int, *, at: datetime, limit: int) -> Any:
        """Return a change that adds `number` to the slots in use, if at most `limit` are then in use (-1: no limit)."""
        counter = _COUNTERS[record.slot]
        room: dict[str, Any] = {
            "condition": f"attribute_not_exists(#{counter}) OR #{counter} <= :room",
            "known": {"room": limit - number},
        }
        return self._table.change(
            _key(record.item.entity),
            set_={"changed_at": at.isoformat()},
            add={counter: number},
            **(room if limit >= 0 else {}),
        )

    def reset_count(self, agent: AgentRecord, *, slot: Slot, open_runs: int) -> bool:
        """Set the number of slots in use to `open_runs`, unless a slot was taken or freed since `agent` was read.

        Return whether it was set. False also if no slot was ever taken.
        """
        if agent.changed_at is None:
            return False
        reset = self._table.change(
            _key(agent.entity),
            set_={_COUNTERS[slot]: open_runs},
            condition="#changed_at = :changed_at",
            known={"changed_at": agent.changed_at.isoformat()},
            names=("changed_at",),
        )
        return self._table.make(reset)


def _key(entity: str) -> str:
    return f"agent#{entity}"
