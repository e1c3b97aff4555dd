"""The runs of this stack, open and closed, in the table Runs.

The transaction that opens a run takes a slot, and the one that ends it frees the slot, so the count always matches the
open runs (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html). The transactions
that open and close a run store and delete its details, in a table without backups.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from launch_agent.clients.agents import Agents
from launch_agent.clients.run_details import Details, that_fits
from launch_agent.clients.sweep_records import SweepRecords
from launch_agent.clients.table import Table
from launch_agent.run_queue.items import RunPath, Slot
from launch_agent.runs.life import LIFE, Change, Event, RunState
from launch_agent.runs.record import AgentRecord, PlannedRun, RunDetails, RunRecord
from launch_agent.training.retries import RetryReason

if TYPE_CHECKING:
    from launch_agent.plan.launch_plan import LaunchPlan
    from launch_agent.sweeps.order import Order

MAX_OPENED = 10
"""The most runs that one transaction opens: DynamoDB allows 4 MB, and a run's details can have 300 KB."""
_KEEP_CLOSED = timedelta(days=30)
_JOBS_BY_REASON = {RetryReason.CAPACITY: "jobs_without_capacity", RetryReason.SAGEMAKER: "jobs_sagemaker_failed"}
_OPEN_RUNS = "OpenRuns"
_OPEN = "run"
"""The hash key of the index. Only runs without an outcome have it."""


class Runs:
    """The tables of this stack's runs. Every method may raise AwsThrottled and AwsRefused."""

    def __init__(self, table: str, details_table: str) -> None:
        """The arguments are the names of the tables Runs and RunDetails."""
        self._table, self._details = Table(table), Details(details_table)
        self.agents, self.sweeps = Agents(self._table), SweepRecords(self._table)

    def get(self, item_id: str) -> RunRecord | None:
        """Return the record of a run queue item, or None."""
        found = self._table.get(_run_key(item_id))
        return _record(found) if found else None

    def open_run(self, item_id: str) -> RunRecord | None:
        """Return the record of a run queue item if its run is open, else None."""
        record = self.get(item_id)
        return record if record and record.is_open else None

    def unreported_run(self, item_id: str) -> RunRecord | None:
        """Return the record of a run queue item whose run has no outcome yet."""
        record = self.get(item_id)
        return record if record and record.is_unreported else None

    def details(self, item_id: str) -> RunDetails:
        """Return the spec and the plan of an unreported run. Their secrets are hidden in all texts from now on."""
        return self._details.read(item_id, in_record=lambda: self._table.get(_run_key(item_id)) or {})

    def open(self, record: RunRecord, *, spec: Any, limit: int) -> bool:
        """Take one of `limit` slots (-1: no limit) and store the run. Return False, and change nothing, if it cannot.

        That is if no slot is free, or if the item was opened before and has not returned to its queue since. Raises
        InvalidRunSpec for a run spec that does not fit into an item of the table.
        """
        values = record.model_dump(mode="json", exclude_defaults=True)
        stored = self._details.storing(record.item.id, spec)
        with that_fits():
            return self._change(Event.OPENED, record, values, stored, at=record.opened_at, limit=limit)

    def open_new(self, runs: Sequence[tuple[RunRecord, Any]], *, limit: int) -> bool:
        """Open runs as `open` does, each given with its spec, in one transaction. All take slots of the same kind.

        Return False, and change nothing, if one of them cannot be opened. At most MAX_OPENED fit into a transaction.
        """
        if 0 <= limit < len(runs):
            return False
        first, _ = runs[0]
        slots = self.agents.counting(first, len(runs), at=first.opened_at, limit=limit)
        changes = []
        for record, spec in runs:
            values = record.model_dump(mode="json", exclude_defaults=True)
            stored = self._details.storing(record.item.id, spec)
            changes += [self._state_change(Event.OPENED, record, values), stored]
        with that_fits():
            return self._table.make(slots, *changes)

    def open_again(self, record: RunRecord, *, spec: Any, redrives: int, at: datetime, limit: int) -> bool:
        """Take a slot for a closed run that is launched again, and store its spec.

        Return False if no slot is free, or if another call has opened the run.
        """
        values = {"acked": True, "opened_at": at.isoformat(), "redrives": redrives}
        stored = self._details.storing(record.item.id, spec)
        with that_fits():
            return self._change(Event.RELAUNCHED, record, values, stored, at=at, limit=limit)

    def unreported_runs(self) -> Iterator[RunRecord]:
        """Yield every run without an outcome, without its task token. A run that was just opened may be missing."""
        yield from (_record(found) for found in self._table.query(_OPEN_RUNS, "open", _OPEN))

    def planned_runs(self) -> Iterator[PlannedRun]:
        """Yield what a poll needs to know of every open run that is planned: there can be thousands."""
        only = ("item.id", "item.run_id", "entity", "project", "stop_requested_at")
        for found in self._open(*only, condition="attribute_exists(#project)"):
            item, stop = found["item"], found.get("stop_requested_at")
            path = RunPath(found["entity"], found["project"], item["run_id"])
            yield PlannedRun(item["id"], path, datetime.fromisoformat(stop) if stop else None)

    def jobs_by_queue(self) -> Counter[str]:
        """Return the number of open jobs of each queue."""
        found = self._open("item.queue", condition="#slot = :slot", known={"slot": Slot.JOB.value}, names=("slot",))
        return Counter(each["item"]["queue"] for each in found)

    def open_schedulers(self) -> Iterator[str]:
        """Yield the run queue items of the open sweep schedulers."""
        known = {"slot": Slot.SCHEDULER.value}
        for found in self._open("item.id", condition="#slot = :slot", known=known, names=("slot",)):
            yield found["item"]["id"]

    def _open(
        self, *only: str, condition: str, known: Mapping[str, Any] | None = None, names: tuple[str, ...] = ()
    ) -> Iterator[dict[str, Any]]:
        """Yield these attributes of the open runs for which the condition holds."""
        return self._table.query(
            _OPEN_RUNS,
            "open",
            _OPEN,
            only=only,
            condition=f"#state = :state AND {condition}",
            known={"state": RunState.OPEN.value, **(known or {})},
            names=("state", *names),
        )

    def leased_again(self, item_id: str, agent: AgentRecord) -> None:
        """Record which launch agent has the lease of an open run's item now."""
        self._set(_run_key(item_id), agent.model_dump(include={"launch_agent_id", "launch_agent_name"}))

    def acknowledged(self, item_id: str) -> None:
        """Record that W&B accepted the acknowledgement."""
        self._set(_run_key(item_id), {"acked": True})

    def planned(self, plan: "LaunchPlan") -> None:
        """Store the plan of an open run. Raises InvalidRunSpec if it does not fit into an item of the table."""
        self._planned(plan.item.id, plan.entity, plan.project, self._details.planning(plan))

    def sweep_planned(self, item_id: str, order: "Order") -> None:
        """Store what an open sweep scheduler is asked to do. Raises InvalidRunSpec as `planned` does."""
        self._planned(item_id, order.entity, order.project, self._details.ordering(item_id, order))

    def _planned(self, item_id: str, entity: str, project: str, stored: Any) -> None:
        where = self._table.change(
            _run_key(item_id),
            set_={"entity": entity, "project": project},
            condition="#state = :open",
            known={"open": RunState.OPEN.value},
            names=("state",),
        )
        with that_fits():
            self._table.make(where, stored)

    def awaits_build(self, item_id: str, owner: str) -> None:
        """Record which item builds the image that a run waits for."""
        self._set(_run_key(item_id), {"awaits_build_of": owner})

    def stores_credentials(self, item_id: str, folder: str) -> bool:
        """Record the folder with the container's credentials. Return False if the run has ended, or has a folder."""
        return self._set_if_open(item_id, {"credentials": folder}, only_first=True)

    def awaiting(self, item_id: str, *, training_job_name: str, task_token: str) -> bool:
        """Record the task token that the end of a training job answers. Return False if the run has ended."""
        return self._set_if_open(item_id, {"training_job_name": training_job_name, "task_token": task_token})

    def refused(self, item_id: str, *, at: datetime) -> datetime:
        """Record that SageMaker had no capacity for the job; return when that began."""
        self._set_if_open(item_id, {}, remove=("training_job_name", "task_token"))
        self._set_if_open(item_id, {"capacity_awaited_since": at.isoformat()}, only_first=True)
        record = self.get(item_id)
        return record.capacity_awaited_since if record and record.capacity_awaited_since else at

    def training_job_failed(self, item_id: str, *, training_job_name: str, reason: RetryReason, at: datetime) -> None:
        """Record that a training job of an open run failed and is tried again."""
        if reason is RetryReason.CAPACITY:
            self._set_if_open(item_id, {"capacity_awaited_since": at.isoformat()}, only_first=True)
        self._add_if_open(item_id, _JOBS_BY_REASON[reason], training_job_name)

    def warned(self, item_id: str, text: str) -> bool:
        """Record that an open run's item gets a warning. Return False if it has the warning already."""
        return self._add_if_open(item_id, "warned", text)

    def not_warned(self, item_id: str, text: str) -> None:
        """Delete the record of a warning that W&B did not accept."""
        self._table.make(self._table.change(_run_key(item_id), delete={"warned": {text}}))

    def waits_for(self, item_id: str, text: str) -> bool:
        """Record what the item of an open run says that it waits for; an empty text if it waits no longer.

        Return False if it is recorded already.
        """
        changed = (
            "(attribute_not_exists(#waits_for) OR #waits_for <> :waits_for)" if text else "attribute_exists(#waits_for)"
        )
        return self._set_if(
            f"#state = :open AND {changed}",
            _run_key(item_id),
            {"waits_for": text} if text else {},
            known={"open": RunState.OPEN.value},
            names=("state",),
            remove=() if text else ("waits_for",),
        )

    def stop_requested(self, item_id: str, *, at: datetime) -> None:
        """Record that someone stopped an open run in W&B. Only the first time is kept."""
        self._set_if_open(item_id, {"stop_requested_at": at.isoformat()}, only_first=True)

    def status_seen(self, item_id: str, *, training_job_name: str, status: str, at: datetime) -> RunRecord | None:
        """Record the status of a run's training job unless a later one is recorded. Return the run, or None."""
        self._set_if(
            "#training_job_name = :job AND (attribute_not_exists(#status_at) OR #status_at <= :status_at)",
            _run_key(item_id),
            {"training_status": status, "status_at": at.isoformat()},
            known={"job": training_job_name},
            names=("training_job_name",),
        )
        return self.get(item_id)

    def job_counted(self, item_id: str, training_job_name: str) -> bool:
        """Record that the cost of a run's last training job is in the metrics. Return False if it is recorded."""
        changed = "attribute_not_exists(#job_counted) OR #job_counted <> :job_counted"
        return self._set_if(changed, _run_key(item_id), {"job_counted": training_job_name})

    def end(self, record: RunRecord) -> bool:
        """Free the slot of a run that is over. It stays in the index until it is closed.

        Return False if the run is not open.
        """
        return self._change(Event.ENDED, record, {"acked": True}, at=datetime.now(UTC))

    def never_begun(self, item_id: str) -> None:
        """Record, before it is reported, that a run never appeared in W&B."""
        self._set(_run_key(item_id), {"never_begun": True})

    def close(self, record: RunRecord, outcome: Mapping[str, str]) -> bool:
        """Store the outcome of an ended run, and delete spec and plan. Return False if the run has not just ended."""
        return self._leave(Event.CLOSED, record, {"outcome": dict(outcome)})

    def give_back(self, record: RunRecord, *, refusal: str = "") -> bool:
        """Free the slot of a run whose item returns to its queue. Return False if the run is not open.

        A `refusal`, the reason why the item cannot be launched, is stored and counted.
        """
        if not refusal:
            return self._leave(Event.GIVEN_BACK, record, {})
        return self._leave(Event.GIVEN_BACK, record, {"refusal": refusal}, add={"refusals": 1})

    def sweep_cursor(self) -> str:
        """Return the key of the last sweep's last repair; empty if that sweep finished all repairs."""
        found = self._table.get(_SWEEP_KEY) or {}
        return str(json.loads(found.get("notes", "{}")).get("after", ""))

    def save_sweep_cursor(self, key: str) -> None:
        """Store the key of the last repair. The next sweep begins after it."""
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
        """Change the state of a run, its details and the count of slots.

        Return False if LIFE does not have this change from the run's state, or if `limit` slots are in use.
        """
        slots = LIFE[event].slots
        counted = [self.agents.counting(record, slots, at=at, limit=limit)] if slots else []
        return self._table.make(*counted, self._state_change(event, record, values, add=add), *details)

    def _state_change(
        self, event: Event, record: RunRecord, values: Mapping[str, Any], add: Mapping[str, int] | None = None
    ) -> Any:
        change = LIFE[event]
        index = {"open": _OPEN} if change.to is RunState.OPEN else {}
        return self._table.change(
            _run_key(record.item.id),
            set_={**values, **index, "state": change.to.value},
            add=add,
            remove=change.forgets,
            **_following(change, record.attempt),
        )

    def _set_if_open(
        self, item_id: str, values: Mapping[str, Any], *, only_first: bool = False, remove: tuple[str, ...] = ()
    ) -> bool:
        """Set values of a run, unless it has ended or, with `only_first`, has them. Return whether they were set."""
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
        """Add a member to a set of an open run. Return False if the set has it already."""
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
        """Set values if the condition holds; return whether it does."""
        return self._table.make(self._table.change(key, set_=values, condition=condition, **more))


_SWEEP_KEY = "sweep"


def _following(change: Change, attempt: int) -> dict[str, Any]:
    """Return the condition that a run's state allows a change, as arguments of `Table.change`."""
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
