"""The Runs table: every open run, the launch agent's own item, and the count of slots in use. And RunDetails.

A slot is taken in the transaction that opens a run and freed in the one that closes it, so that the count and the
open runs cannot part (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html). The same
transactions store and delete the run's details, in a table without backups.
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from launch_agent.clients.table import ItemTooLarge, Table
from launch_agent.errors import InvalidRunSpec
from launch_agent.plan.launch_plan import LaunchPlan
from launch_agent.run_queue.items import Slot
from launch_agent.run_queue.secret_values import secret_values
from launch_agent.runs.record import AgentRecord, RunDetails, RunRecord, RunState
from launch_agent.safe_text import keep_secret
from launch_agent.training.retries import RetryReason

_KEEP_CLOSED = timedelta(days=30)
_CLAIM_SECONDS = 60
_COUNTERS = {Slot.JOB: "jobs_open", Slot.SCHEDULER: "schedulers_open"}
_JOBS_BY_REASON = {RetryReason.CAPACITY: "jobs_without_capacity", RetryReason.SAGEMAKER: "jobs_sagemaker_failed"}
_MAX_PACKED = 300_000  # of the 400 KB that an item can have; the plan needs room too
_DETAILS = ("spec", "plan")
_ONLY_WHILE_OPEN = ("spec", "plan", "task_token", "open")
_OF_AN_EARLIER_ATTEMPT = ("stop_requested_at", "ended_at", "ttl")
_OF_AN_EARLIER_LAUNCH = (
    *_OF_AN_EARLIER_ATTEMPT,
    "awaits_build_of",
    "capacity_awaited_since",
    "outcome",
    "training_job_name",
)
_OPEN_RUNS = "OpenRuns"
_OPEN = "run"
"""The hash key of the index, which only open runs have."""


class Runs:
    """The tables of this stack's runs. Every method may raise AwsThrottled and AwsRefused."""

    def __init__(self, table: str, details_table: str) -> None:
        """Take the tables' names."""
        self._table, self._details = Table(table), Table(details_table)

    def agent(self, entity: str) -> AgentRecord | None:
        """Return the launch agent registered for an entity, with the slots its open runs hold."""
        found = self._table.get(_agent_key(entity))
        if not found or "launch_agent_id" not in found:
            return None
        known = {name: found[name] for name in AgentRecord.model_fields if name in found}
        return AgentRecord.model_validate(known | {"entity": entity})

    def claim_registration(self, entity: str, *, known: AgentRecord | None, now: datetime) -> bool:
        """Return whether the caller, alone and for a minute, is to register a launch agent in the place of `known`.

        False while another call is at it, or when one has registered since `known` was read.
        """
        same = "#launch_agent_id = :launch_agent_id" if known else "attribute_not_exists(#launch_agent_id)"
        seconds = int(now.timestamp())
        return self._set_if(
            f"{same} AND (attribute_not_exists(#registering_until) OR #registering_until <= :now)",
            _agent_key(entity),
            {"registering_until": seconds + _CLAIM_SECONDS},
            known={"now": seconds, **({"launch_agent_id": known.launch_agent_id} if known else {})},
            names=("launch_agent_id",),
        )

    def remember_agent(self, agent: AgentRecord) -> None:
        """Store a registration, and end the claim to it; the slots in use stay as they are."""
        values = agent.model_dump(exclude={"changed_at", "entity", *_COUNTERS.values()})
        self._set(_agent_key(agent.entity), values | {"registering_until": 0})

    def get(self, item_id: str) -> RunRecord | None:
        """Return the record of a run queue item."""
        found = self._table.get(_run_key(item_id))
        return _record(found) if found else None

    def open_run(self, item_id: str) -> RunRecord | None:
        """Return the record of a run queue item whose run is open here."""
        record = self.get(item_id)
        return record if record and record.state is RunState.OPEN else None

    def details(self, item_id: str) -> RunDetails:
        """Return the spec and the plan of an open run. What is secret in them, no text shows from now on."""
        found = self._details.get(_details_key(item_id)) or {}
        if not found.keys() >= set(_DETAILS):
            # In version 0.1.0 both were in the run's own record. Delete with tests/upgrade/0.1.0.
            found = {**(self._table.get(_run_key(item_id)) or {}), **found}
        details = RunDetails(spec=_unpacked(found, "spec"), plan=_plan(_unpacked(found, "plan")))
        keep_secret(*secret_values(details.spec))
        return details

    def open(self, record: RunRecord, *, spec: Any, limit: int) -> bool:
        """Take one of at most `limit` slots (-1 for no limit) and store the run: both, or neither and False.

        It is False too when the item is open already, or was opened before and not given back. Raises InvalidRunSpec
        for a run spec that does not fit into an item of the table.
        """
        if len(_pack(spec)) > _MAX_PACKED:
            raise InvalidRunSpec([_TOO_LONG])
        take = self._take_slot(record, limit=limit, at=record.opened_at)
        put = self._table.change(
            _run_key(record.item.id),
            set_=_attributes(record),
            remove=_OF_AN_EARLIER_ATTEMPT,
            condition="attribute_not_exists(#pk) OR (#state = :returned AND #attempt < :attempt)",
            known={"returned": RunState.RETURNED.value},
            names=("pk",),
        )
        with _that_fits():
            return self._table.make(take, put, self._store_spec(record, spec))

    def open_again(self, record: RunRecord, *, spec: Any, redrives: int, at: datetime, limit: int) -> bool:
        """Take a slot for a closed run that is launched again, with its spec. False when no slot is free.

        It is False too when another call has opened it.
        """
        values = {
            "acked": True,
            "open": _OPEN,
            "opened_at": at.isoformat(),
            "redrives": redrives,
            "state": RunState.OPEN.value,
        }
        put = self._table.change(
            _run_key(record.item.id),
            set_=values,
            remove=_OF_AN_EARLIER_LAUNCH,
            condition="#state = :closed AND #attempt = :attempt",
            known={"closed": RunState.CLOSED.value, "attempt": record.attempt},
            names=("attempt",),
        )
        take = self._take_slot(record, limit=limit, at=at)
        with _that_fits():
            return self._table.make(take, put, self._store_spec(record, spec))

    def open_runs(self) -> Iterator[RunRecord]:
        """Yield every open run without its spec, plan and token; one that has just been opened may be missing."""
        yield from (_record(found) for found in self._table.query(_OPEN_RUNS, "open", _OPEN))

    def leased_again(self, item_id: str, agent: AgentRecord) -> None:
        """Remember which launch agent has the lease of an open run's item now."""
        self._set(_run_key(item_id), agent.model_dump(include={"launch_agent_id", "launch_agent_name"}))

    def acknowledged(self, item_id: str) -> None:
        """Remember that W&B took our acknowledgement."""
        self._set(_run_key(item_id), {"acked": True})

    def planned(self, plan: LaunchPlan) -> None:
        """Store the plan of an open run. Raises InvalidRunSpec where it does not fit into an item of the table."""
        where = self._table.change(
            _run_key(plan.item.id),
            set_={"entity": plan.entity, "project": plan.project},
            condition="#state = :open",
            known={"open": RunState.OPEN.value},
            names=("state",),
        )
        packed = _pack(plan.model_dump(mode="json"))
        with _that_fits():
            self._table.make(where, self._details.change(_details_key(plan.item.id), set_={"plan": packed}))

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

    def close(self, record: RunRecord, outcome: Mapping[str, str]) -> bool:
        """Store the outcome, forget spec, plan and token, and free the slot. False when that was done before."""
        return self._end(record, RunState.CLOSED, {"outcome": dict(outcome)})

    def give_back(self, record: RunRecord, *, refusal: str = "") -> bool:
        """Free the slot of a run whose item went back to W&B, and may come again. False when it was not open.

        What was refused for good, where that is why, is counted and stored.
        """
        if not refusal:
            return self._end(record, RunState.RETURNED, {})
        return self._end(record, RunState.RETURNED, {"refusal": refusal}, add={"refusals": 1})

    def reset_count(self, agent: AgentRecord, *, slot: Slot, open_runs: int) -> bool:
        """Set the number of slots in use to the number of open runs, if none was taken or freed since `agent` was read.

        False, too, where none ever was.
        """
        if agent.changed_at is None:
            return False
        return self._set_if(
            "#changed_at = :changed_at",
            _agent_key(agent.entity),
            {_COUNTERS[slot]: open_runs},
            known={"changed_at": agent.changed_at.isoformat()},
            names=("changed_at",),
        )

    def sweep_cursor(self) -> str:
        """Return the key of the last repair of the last sweep; empty where it left nothing undone."""
        found = self._table.get(_SWEEP_KEY) or {}
        return str(json.loads(found.get("notes", "{}")).get("after", ""))

    def save_sweep_cursor(self, key: str) -> None:
        """Store the key of the last repair, behind which the next sweep begins."""
        self._set(_SWEEP_KEY, {"notes": json.dumps({"after": key})})

    def _take_slot(self, record: RunRecord, *, limit: int, at: datetime) -> Any:
        counter, agent = _COUNTERS[record.slot], _agent_key(record.item.entity)
        changed = {"changed_at": at.isoformat()}
        if limit < 0:
            return self._table.change(agent, set_=changed, add={counter: 1})
        return self._table.change(
            agent,
            set_=changed,
            add={counter: 1},
            condition=f"attribute_not_exists(#{counter}) OR #{counter} < :limit",
            known={"limit": limit},
        )

    def _end(self, record: RunRecord, state: RunState, values: Mapping[str, Any], **more: Any) -> bool:
        now = datetime.now(UTC)
        times = {"ended_at": now.isoformat(), "ttl": int((now + _KEEP_CLOSED).timestamp())}
        end = self._table.change(
            _run_key(record.item.id),
            set_={"state": state.value, **times, **values},
            remove=_ONLY_WHILE_OPEN,
            condition="#state = :open AND #attempt = :attempt",
            known={"open": RunState.OPEN.value, "attempt": record.attempt},
            names=("attempt",),
            **more,
        )
        changed = {"changed_at": now.isoformat()}
        free = self._table.change(_agent_key(record.item.entity), set_=changed, add={_COUNTERS[record.slot]: -1})
        ttl = {"ttl": int(now.timestamp())}
        forget = self._details.change(_details_key(record.item.id), set_=ttl, remove=_DETAILS)
        return self._table.make(end, free, forget)

    def _store_spec(self, record: RunRecord, spec: Any) -> Any:
        keep_secret(*secret_values(spec))
        values = {"spec": _pack(spec)}
        return self._details.change(_details_key(record.item.id), set_=values, remove=("plan", "ttl"))

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


_TOO_LONG = "It is too long to be stored: DynamoDB takes 400 KB. Put large data into an artifact."


@contextmanager
def _that_fits() -> Iterator[None]:
    try:
        yield
    except ItemTooLarge:
        raise InvalidRunSpec([_TOO_LONG]) from None


def _agent_key(entity: str) -> str:
    return f"agent#{entity}"


def _run_key(item_id: str) -> str:
    return f"run#{item_id}"


def _details_key(item_id: str) -> str:
    # In a transaction IAM may hold the keys of both tables to the condition on one.
    return f"{_run_key(item_id)}#details"


def _attributes(record: RunRecord) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude_defaults=True) | {"open": _OPEN}


def _record(found: Mapping[str, Any]) -> RunRecord:
    return RunRecord.model_validate({name: found[name] for name in RunRecord.model_fields if name in found})


def _plan(stored: Any) -> LaunchPlan | None:
    try:
        return LaunchPlan.model_validate(stored) if stored else None
    except ValidationError:
        return None


def _pack(value: object) -> bytes:
    return gzip.compress(json.dumps(value, separators=(",", ":")).encode(), mtime=0)


def _unpacked(found: Mapping[str, Any], name: str) -> Any:
    return json.loads(gzip.decompress(bytes(found[name]))) if name in found else None
