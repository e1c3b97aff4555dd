"""Runs every minute, and when a scheduler starts: moves each sweep one step on.

All sweeps take each part of a step together, so that W&B gets few requests. What a part is about to do is stored first:
the next step completes what one that ended in between has begun.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aws_lambda_powertools import Logger

from launch_agent.clients.sweep_records import StoredSweep
from launch_agent.errors import AwsThrottled, InvalidRunSpec, LaunchError, WandbRefused
from launch_agent.model import Model
from launch_agent.safe_text import safe
from launch_agent.steps.ending_sweeps import completed, end_sweep
from launch_agent.sweeps.order import Order
from launch_agent.sweeps.push import Push
from launch_agent.sweeps.record import SweepRecord
from launch_agent.sweeps.scheduler import (
    Command,
    Seen,
    Step,
    begun,
    crashed,
    find,
    is_due,
    look,
    noted,
    obey,
    register,
    wind_down,
)
from launch_agent.wiring import Clients

logger = Logger(child=True)

_NOT_OPEN = "the run has ended, or another version of the launch agent planned it. Start the sweep again."


class Task(Model):
    """The input from the state machine."""

    run_queue_item_id: str
    task_token: str


class Sweep(NamedTuple):
    """A sweep during one step."""

    order: Order
    stored: StoredSweep
    seen: Seen = Seen(None)
    step: Step = Step(SweepRecord())
    refused: frozenset[str] = frozenset()
    """Runs that an earlier step could not queue. They are queued one by one, so that W&B says why."""

    @property
    def record(self) -> SweepRecord:
        """The sweep's record as it is stored."""
        return self.stored.record


Part = Callable[[Sweep], Sweep | None]


class AdvanceSweeps:
    """Moves sweeps on. Steps that overlap do no harm: one of them claims each sweep."""

    def __init__(self, clients: Clients) -> None:
        """Create the clients."""
        self._clients, self._runs, self._wandb = clients, clients.runs, clients.wandb_sweeps

    def begin(self, task: Task) -> dict[str, Any]:
        """Start the scheduler of a run queue item, and return as `advance_all` does.

        The end of its sweep answers the task token. Raises InvalidRunSpec if the scheduler is not open or not planned.
        If its first step fails, the next minute's step goes on.
        """
        record = self._runs.open_run(task.run_queue_item_id)
        order = self._runs.details(task.run_queue_item_id).order
        if record is None or order is None:
            raise InvalidRunSpec([_NOT_OPEN])
        after = self._runs.sweeps.get(record.item.id)
        ready = begun(order, after.record if after else None, now=datetime.now(UTC))
        if not self._runs.sweeps.begin(record.item.id, ready, task_token=task.task_token, after=after):
            raise AwsThrottled("another call has changed the sweep")
        try:
            return self._advance([record.item.id])
        except LaunchError:
            logger.exception("the first step is left to the next minute")
            return {"sweeps": 1, "queued": []}

    def advance_all(self) -> dict[str, Any]:
        """Make one step of every open sweep; return their number, and the runs that were queued.

        An error in one sweep is raised after the steps of the others.
        """
        return self._advance(self._runs.open_schedulers())

    def _advance(self, item_ids: Iterable[str]) -> dict[str, Any]:
        failures: list[Exception] = []
        free = _each(self._completed, self._free(item_ids), failures)
        shown = self._wandb.see([(sweep.order, sweep.record) for sweep in free])
        looked = [_looked(sweep, seen) for sweep, seen in zip(free, shown, strict=True) if seen]
        claimed = _each(self._claim, [sweep for sweep in looked if _has_work(sweep)], failures)
        commands = self._ask(claimed)
        obeyed = _each(lambda sweep: self._obey(sweep, commands), claimed, failures)
        items = dict(self._wandb.push([push for sweep in obeyed for push in _pushes(sweep)]))
        pushed = _each(lambda sweep: self._store_items(sweep, items), obeyed, failures)
        going_on = [sweep for sweep in pushed if not sweep.record.end and any(sweep.step.notes)]
        self._wandb.show([(sweep.order, sweep.record) for sweep in going_on])
        _each(self._finish, pushed, failures)
        if failures:
            raise failures[0]
        return {"sweeps": len(free), "queued": sorted(items)}

    def _free(self, item_ids: Iterable[str]) -> Iterator[Sweep]:
        """Yield the sweeps of open schedulers that have started, and that no other step has claimed."""
        now = datetime.now(UTC)
        for item_id in item_ids:
            stored = self._runs.sweeps.get(item_id)
            order = self._runs.details(item_id).order if stored and stored.is_free(now) else None
            if stored and order:
                yield Sweep(order, stored)

    def _completed(self, sweep: Sweep) -> Sweep | None:
        """Complete what a step that ended in between has begun: find the runs it was given, and the items it queued."""
        record = sweep.record
        if not record.asking and not record.pushing:
            return sweep
        claimed = self._runs.sweeps.claim(sweep.stored, record, now=datetime.now(UTC))
        if claimed is None:
            return None
        found = completed(self._wandb, sweep.order, record)
        refused = frozenset(record.pushing) - {run.run_id for run in found.runs if run.item_id}
        saved = self._runs.sweeps.save(claimed, found, keep=False)
        return sweep._replace(stored=saved, refused=refused) if saved else None

    def _claim(self, sweep: Sweep) -> Sweep | None:
        """Claim a sweep, and store whom the step asks for commands."""
        step = self._with_agents(sweep.order, sweep.step)
        record = step.record.model_copy(update={"asking": step.ask})
        claimed = self._runs.sweeps.claim(sweep.stored, record, now=datetime.now(UTC))
        return sweep._replace(stored=claimed, step=step) if claimed else None

    def _with_agents(self, order: Order, step: Step) -> Step:
        """Register the workers that have no sweep agent in W&B yet. If W&B refuses that, the sweep ends."""
        new = [worker for worker in step.ask if not step.record.agents or not step.record.agents[worker]]
        try:
            agents = self._wandb.register(order, new) if new else {}
        except WandbRefused as error:
            return wind_down(
                step.record, crashed(f"W&B refuses the workers of the sweep: {error}"), step.fail, step.notes
            )
        return step._replace(record=register(order, step.record, agents))

    def _ask(self, sweeps: Iterable[Sweep]) -> Mapping[str, list[Command]]:
        """Return the commands for the free workers of all sweeps, by agent."""
        return dict(self._wandb.ask([sweep.record.agents[n] for sweep in sweeps for n in sweep.record.asking]))

    def _obey(self, sweep: Sweep, commands: Mapping[str, list[Command]]) -> Sweep | None:
        """Store what W&B's commands make of a sweep, with the runs that the step queues next."""
        record, step = sweep.record, sweep.step
        given = {n: commands[record.agents[n]] for n in record.asking if record.agents[n] in commands}
        if given:
            second = obey(sweep.order, record, given, sweep.seen)
            step = second._replace(fail=(*step.fail, *second.fail), notes=(*step.notes, *second.notes))
        unanswered = () if step.record.end else tuple(n for n in record.asking if n not in given)
        pushing = tuple(push.run_id for push in step.push)
        update = {"asking": unanswered, "pushing": pushing, "pushing_since": datetime.now(UTC)}
        saved = self._runs.sweeps.save(sweep.stored, step.record.model_copy(update=update), keep=True)
        return sweep._replace(stored=saved, step=step) if saved else None

    def _store_items(self, sweep: Sweep, items: Mapping[str, str]) -> Sweep | None:
        """Store the run queue items of the runs that were queued. A run that W&B refuses for good ends the sweep."""
        step, found, why = sweep.step, dict(items), ""
        for push in step.push:
            if push.run_id in sweep.refused and not why:
                try:
                    found[push.run_id] = self._wandb.push_one(push)
                except WandbRefused as error:
                    why = f"The run {push.run_id} cannot be queued: {error}"
        unknown = tuple(run_id for run_id in sweep.record.pushing if run_id not in found)
        record = find(sweep.record, found)
        if why:
            step = wind_down(record, crashed(why), step.fail, step.notes)
            record, unknown = step.record, ()
        is_complete = not (unknown or record.asking or record.end)  # one that has ended waits for its execution
        complete_at = datetime.now(UTC) if is_complete else record.complete_at
        update = {"pushing": unknown, "complete_at": complete_at}
        notes = [safe(note) for note in step.notes]
        record = noted(record.model_copy(update=update), notes, now=datetime.now(UTC))
        saved = self._runs.sweeps.save(sweep.stored, record, keep=False)
        return sweep._replace(stored=saved, step=step) if saved else None

    def _finish(self, sweep: Sweep) -> None:
        """Stop the runs that the step stops. If the sweep has ended, end it in W&B and answer its task token."""
        order, step, end = sweep.order, sweep.step, sweep.record.end
        for note in filter(None, step.notes):
            logger.info(note, sweep_id=order.sweep_id, run_queue_item_id=sweep.stored.item_id)
        if end is None:
            self._wandb.stop(order, step.stop)
            self._wandb.write_runs(order, step.fail, "failed")
            return
        end_sweep(self._clients, order, step._replace(record=sweep.record))
        if sweep.stored.task_token:
            outcome = {"verdict": end.verdict.value, "reason": end.reason, "runs_queued": len(sweep.record.queued)}
            self._clients.task_tokens.answer(sweep.stored.task_token, outcome)


def _looked(sweep: Sweep, seen: Seen) -> Sweep:
    return sweep._replace(seen=seen, step=look(sweep.order, sweep.record, seen))


def _has_work(sweep: Sweep) -> bool:
    step = sweep.step
    if is_due(sweep.record, now=datetime.now(UTC)):
        return True
    return bool(step.record != sweep.record or step.ask or step.push or step.stop or step.fail or step.record.end)


def _pushes(sweep: Sweep) -> Sequence[Push]:
    return [push for push in sweep.step.push if push.run_id not in sweep.refused]


def _each(part: Callable[[Sweep], Sweep | None], sweeps: Iterable[Sweep], failures: list[Exception]) -> list[Sweep]:
    """Do one part of a step for each sweep, and return those that go on. An error in one does not affect the others."""
    done = []
    for sweep in sweeps:
        logger.append_keys(run_queue_item_id=sweep.stored.item_id)
        try:
            result = part(sweep)
        except Exception as error:
            logger.exception("sweep left to the next step", sweep_id=sweep.order.sweep_id)
            failures.append(error)
        else:
            done += [result] if result else []
    return done
