"""The runs of this stack, open and closed, in the table Runs.

A slot is taken in the transaction that opens a run and freed in the one that ends it, so that the count and the
open runs cannot part (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html). A run's
details, in a table without backups, are stored and deleted in the transactions that open and close it.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from launch_agent.clients.agents import Agents
from launch_agent.clients.run_details import Details, that_fits
from launch_agent.clients.table import Table
from launch_agent.runs.life import LIFE, Change, Event, RunState
from launch_agent.runs.record import AgentRecord, RunDetails, RunRecord
from launch_agent.training.retries import RetryReason

if TYPE_CHECKING:
    from launch_agent.plan.launch_plan import LaunchPlan

_KEEP_CLOSED = timedelta(days=30)
_JOBS_BY_REASON = {RetryReason.CAPACITY: "jobs_without_capacity", RetryReason.SAGEMAKER: "jobs_sagemaker_failed"}
_OPEN_RUNS = "OpenRuns"
_OPEN = "run"
"""The hash key of the index, which only runs without an outcome have."""


class Runs:
    """The tables of this stack's runs. Every method may raise AwsThrottled and AwsRefused."""

    def __init__(self, table: str, details_table: str) -> None:
        """Take the tables' names."""
        self._table, self._details = Table(table), Details(details_table)
        self.agents = Agents(self._table)

    def get(self, item_id: str) -> RunRecord | None:
        """Return the record of a run queue item."""
        found = self._table.get(_run_key(item_id))
        return _record(found) if found else None

    def open_run(self, item_id: str) -> RunRecord | None:
        """Return the record of a run queue item whose run is open here."""
        record = self.get(item_id)
        return record if record and record.is_open else None

    def unreported_run(self, item_id: str) -> RunRecord | None:
        """Return the record of a run queue item whose run has no outcome yet."""
        record = self.get(item_id)
        return record if record and record.is_unreported else None

    def details(self, item_id: str) -> RunDetails:
        """Return the spec and the plan of an unreported run. What is secret in them, no text shows from now on."""
        return self._details.read(item_id, in_record=lambda: self._table.get(_run_key(item_id)) or {})

    def open(self, record: RunRecord, *, spec: Any, limit: int) -> bool:
        """Take one of at most `limit` slots (-1 for no limit) and store the run: both, or neither and False.

        It is False too when the item is open already, or was opened before and not given back. Raises InvalidRunSpec
        for a run spec that does not fit into an item of the table.
        """
        values = record.model_dump(mode="json", exclude_defaults=True)
        stored = self._details.storing(record.item.id, spec)
        with that_fits():
            return self._change(Event.OPENED, record, values, stored, at=record.opened_at, limit=limit)

    def open_again(self, record: RunRecord, *, spec: Any, redrives: int, at: datetime, limit: int) -> bool:
        """Take a slot for a closed run that is launched again, with its spec. False when no slot is free.

        It is False too when another call has opened it.
        """
        values = {"acked": True, "opened_at": at.isoformat(), "redrives": redrives}
        stored = self._details.storing(record.item.id, spec)
        with that_fits():
            return self._change(Event.RELAUNCHED, record, values, stored, at=at, limit=limit)

    def unreported_runs(self) -> Iterator[RunRecord]:
        """Yield every run without an outcome, but not its spec, plan and token.

        One that was just opened may be missing.
        """
        yield from (_record(found) for found in self._table.query(_OPEN_RUNS, "open", _OPEN))

    def leased_again(self, item_id: str, agent: AgentRecord) -> None:
        """Remember which launch agent has the lease of an open run's item now."""
        self._set(_run_key(item_id), agent.model_dump(include={"launch_agent_id", "launch_agent_name"}))

    def acknowledged(self, item_id: str) -> None:
        """Remember that W&B took our acknowledgement."""
        self._set(_run_key(item_id), {"acked": True})

    def planned(self, plan: "LaunchPlan") -> None:
        """Store the plan of an open run. Raises InvalidRunSpec where it does not fit into an item of the table."""
        where = self._table.change(
            _run_key(plan.item.id),
            set_={"entity": plan.entity, "project": plan.project},
            condition="#state = :open",
            known={"open": RunState.OPEN.value},
            names=("state",),
        )
        with that_fits():
            self._table.make(where, self._details.planning(plan))

    def awaits_build(self, item_id: str, owner: str) -> None:
        """Remember for which item's build of their common image a run waits."""
        self._set(_run_key(item_id), {"awaits_build_of": owner})

    def awaiting(self, item_id: str, *, training_job_name: str, task_token: str) -> bool:
        """Remember which task token the end of a training job answers. False when the run has ended."""
        return self._set_if_open(item_id, {"training_job_name": training_job_name, "task_token": task_token})

    def refused(self, item_id: str, *, at: datetime) -> datetime:
        """Remember that there is no training job for want of capacity; return since when that is so."""
        self._set_if_open(item_id, {}, remove=("training_job_name", "task_token"))
        self._set_if_open(item_id, {"capacity_awaited_since": at.isoformat()}, only_first=True)
        record = self.get(item_id)
        return record.capacity_awaited_since if record and record.capacity_awaited_since else at

    def came_to_nothing(self, item_id: str, *, training_job_name: str, reason: RetryReason, at: datetime) -> None:
        """Remember that a training job of an open run ended, and is tried again."""
        if reason is RetryReason.CAPACITY:
            self._set_if_open(item_id, {"capacity_awaited_since": at.isoformat()}, only_first=True)
        self._add_if_open(item_id, _JOBS_BY_REASON[reason], training_job_name)

    def warned(self, item_id: str, text: str) -> bool:
        """Remember that an open run's item is warned of something; False when it has been before."""
        return self._add_if_open(item_id, "warned", text)

    def not_warned(self, item_id: str, text: str) -> None:
        """Forget that: the warning has not come through."""
        self._table.make(self._table.change(_run_key(item_id), delete={"warned": {text}}))

    def stop_requested(self, item_id: str, *, at: datetime) -> None:
        """Remember when we first saw that somebody stopped an open run."""
        self._set_if_open(item_id, {"stop_requested_at": at.isoformat()}, only_first=True)

    def status_seen(self, item_id: str, *, training_job_name: str, status: str, at: datetime) -> RunRecord | None:
        """Record a status of a run's training job unless a later one is known; return the run."""
        self._set_if(
            "#training_job_name = :job AND (attribute_not_exists(#status_at) OR #status_at <= :status_at)",
            _run_key(item_id),
            {"training_status": status, "status_at": at.isoformat()},
            known={"job": training_job_name},
            names=("training_job_name",),
        )
        return self.get(item_id)

    def end(self, record: RunRecord) -> bool:
        """Free the slot of a run of ours that is over. It stays in the index until it is closed.

        False when that was done before.
        """
        return self._change(Event.ENDED, record, {"acked": True}, at=datetime.now(UTC))

    def close(self, record: RunRecord, outcome: Mapping[str, str]) -> bool:
        """Store the outcome of a run that has ended, and forget spec and plan. False when that was done before."""
        return self._leave(Event.CLOSED, record, {"outcome": dict(outcome)})

    def give_back(self, record: RunRecord, *, refusal: str = "") -> bool:
        """Free the slot of a run whose item went back to W&B, and may come again. False when it was not open.

        What was refused for good, where that is why, is counted and stored.
        """
        if not refusal:
            return self._leave(Event.GIVEN_BACK, record, {})
        return self._leave(Event.GIVEN_BACK, record, {"refusal": refusal}, add={"refusals": 1})

    def sweep_cursor(self) -> str:
        """Return the key of the last repair of the last sweep; empty where it left nothing undone."""
        found = self._table.get(_SWEEP_KEY) or {}
        return str(json.loads(found.get("notes", "{}")).get("after", ""))

    def save_sweep_cursor(self, key: str) -> None:
        """Store the key of the last repair, behind which the next sweep begins."""
        self._set(_SWEEP_KEY, {"notes": json.dumps({"after": key})})

    def _leave(
        self, event: Event, record: RunRecord, values: Mapping[str, Any], add: Mapping[str, int] | None = None
    ) -> bool:
        now = datetime.now(UTC)
        values = {**values, "ended_at": now.isoformat(), "ttl": int((now + _KEEP_CLOSED).timestamp())}
        forgotten = self._details.forgetting(record.item.id, at=now)
        return self._change(event, record, values, forgotten, at=now, add=add)

    def _change(
        self,
        event: Event,
        record: RunRecord,
        values: Mapping[str, Any],
        *details: Any,
        at: datetime,
        limit: int = -1,
        add: Mapping[str, int] | None = None,
    ) -> bool:
        """Change the state of a run, with its details and its slot; False where its life has no such change from here.

        It is False too where as many slots as `limit` are taken already.
        """
        change = LIFE[event]
        index = {"open": _OPEN} if change.to is RunState.OPEN else {}
        state = self._table.change(
            _run_key(record.item.id),
            set_={**values, **index, "state": change.to.value},
            add=add,
            remove=change.forgets,
            **_following(change, record.attempt),
        )
        slot = [self.agents.counting(record, change.slots, at=at, limit=limit)] if change.slots else []
        return self._table.make(*slot, state, *details)

    def _set_if_open(
        self, item_id: str, values: Mapping[str, Any], *, only_first: bool = False, remove: tuple[str, ...] = ()
    ) -> bool:
        """Set values of a run unless it has ended or, with `only_first`, they are set already."""
        condition = "#state = :open"
        if only_first:
            condition = " AND ".join([condition, *(f"attribute_not_exists(#{name})" for name in values)])
        return self._set_if(
            condition,
            _run_key(item_id),
            values,
            known={"open": RunState.OPEN.value},
            names=("state",),
            remove=remove,
        )

    def _add_if_open(self, item_id: str, name: str, member: str) -> bool:
        """Add a member to a set of an open run's; False when it is in there."""
        return self._set_if(
            f"#state = :open AND NOT contains(#{name}, :member)",
            _run_key(item_id),
            {},
            add={name: {member}},
            known={"open": RunState.OPEN.value, "member": member},
            names=("state",),
        )

    def _set(self, key: str, values: Mapping[str, Any]) -> None:
        self._table.make(self._table.change(key, set_=values))

    def _set_if(self, condition: str, key: str, values: Mapping[str, Any], **more: Any) -> bool:
        """Return whether the condition held, and the values are set."""
        return self._table.make(self._table.change(key, set_=values, condition=condition, **more))


_SWEEP_KEY = "sweep"


def _following(change: Change, attempt: int) -> dict[str, Any]:
    """Return the condition that a run is where a change may follow, as `Table.change` takes it."""
    states = [state for state in change.after if state]
    compared = "<" if change.next_attempt else "="
    known = " OR ".join(f"#state = :{state} AND #attempt {compared} :attempt" for state in states)
    absent = None in change.after
    return {
        "condition": f"attribute_not_exists(#pk) OR ({known})" if absent else known,
        "known": {**{state.value: state.value for state in states}, "attempt": attempt},
        "names": ("attempt", *(("pk",) if absent else ())),
    }


def _run_key(item_id: str) -> str:
    return f"run#{item_id}"


def _record(found: Mapping[str, Any]) -> RunRecord:
    return RunRecord.model_validate({name: found[name] for name in RunRecord.model_fields if name in found})
