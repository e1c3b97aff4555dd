"""The scheduler of a sweep, one step at a time. It has no process: all that it knows is in its record.

A step calls `look` with what W&B shows of the sweep. If some workers are free, the step asks W&B for their commands,
stores the record that `obey` returns, and then queues the runs in it. `take_up` and `find` complete a step that ended
before it could store an answer, so that no run is lost and none is queued twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from launch_agent.model import shown
from launch_agent.run_queue.items import is_run_id
from launch_agent.sweeps.order import Order
from launch_agent.sweeps.push import Push, push_of
from launch_agent.sweeps.record import SweepEnd, SweepRecord, SweepRun
from launch_agent.training.training_job import Verdict

_DEAD = ("finished", "failed", "crashed", "killed", "preempted")
_CANCELED = ("CANCELED", "CANCELLED", "STOPPED")
_CRASHED = ("CRASHED", "FAILED")
_BLOCKED_AFTER, _COMPLETE_STORED_EVERY = timedelta(days=1), timedelta(hours=1)
_LOG_LINES = 50
_WAITING = (None, "pending")
"""The states of a run that no process has begun."""

Command = Mapping[str, Any]


class Seen(NamedTuple):
    """A sweep as W&B shows it. The states of its scheduler's live runs, and of their run queue items, by id.

    A run or an item is None if it does not exist, and missing if W&B does not say.
    """

    state: str | None
    """None if the sweep was deleted."""
    runs: Mapping[str, str | None] = {}
    items: Mapping[str, str | None] = {}
    is_stopped: bool = False
    """Whether someone stopped the scheduler's own run."""
    has_all_runs: bool = False
    """Whether the sweep has as many runs as its grid."""


class Step(NamedTuple):
    """What one step does, in this order: store the record, then everything else."""

    record: SweepRecord
    ask: tuple[int, ...] = ()
    """The workers whose commands to ask W&B for."""
    push: tuple[Push, ...] = ()
    """The runs to queue."""
    stop: tuple[str, ...] = ()
    """The runs to stop."""
    fail: tuple[str, ...] = ()
    """The runs that will never begin, as their item failed or was deleted: W&B shows them as pending otherwise."""
    notes: tuple[str, ...] = ()
    """What happened, in words."""


def look(order: Order, record: SweepRecord, seen: Seen) -> Step:
    """Return the first half of a step: drop the runs that have ended, and decide whether to end, wait or ask."""
    if record.end:
        return wind_down(record, record.end)
    alive, fail, notes = _alive(record, seen)
    record = record.model_copy(update={"runs": alive})
    end = _end_of(order, record, seen)
    if end:
        return wind_down(record, end, fail, notes)
    return Step(record, _free_workers(order, record, seen), _pushes(order, record), fail=fail, notes=notes)


def obey(order: Order, record: SweepRecord, commands: Mapping[int, Sequence[Command]], seen: Seen) -> Step:
    """Return the second half of a step, from the commands that W&B gave to free workers.

    `seen` is what W&B showed before it gave them.
    """
    step = Step(record.model_copy(update={"asking": ()}))
    for worker, given in sorted(commands.items()):
        for command in given:
            step = _left_out(step, command) if step.record.end else _obeyed(step, worker, command)
    record = step.record
    if not record.end and not record.runs and (record.is_used_up or seen.has_all_runs):
        record = _with_end(record, _finished("All runs of the sweep have ended."))
    if record.end:
        return wind_down(record, record.end, step.fail, step.notes)
    return step._replace(push=_pushes(order, record))


def _obeyed(step: Step, worker: int, command: Command) -> Step:
    """Return the step with what one command adds to it."""
    record, kind, run_id = step.record, command.get("type"), command.get("run_id")
    if kind in ("run", "resume"):
        record, note = _with_run(record, worker, command)
        return step._replace(record=record, notes=(*step.notes, note))
    if kind == "exit":
        return step._replace(record=record.model_copy(update={"is_used_up": True}))
    if kind == "stop" and run_id:
        return step._replace(stop=(*step.stop, *(run.run_id for run in record.runs if run.run_id == run_id)))
    if kind == "stop":
        return step._replace(record=_with_end(record, stopped("W&B stopped the sweep.")))
    why = f'W&B sent the command "{shown(str(kind))}", which the scheduler does not know.'
    return step._replace(record=_with_end(record, crashed(why)))


def _left_out(step: Step, command: Command) -> Step:
    """Return the step of a sweep that has ended: a run that W&B has made will never begin."""
    run_id = command.get("run_id")
    is_made = command.get("type") == "run" and isinstance(run_id, str) and run_id not in step.record.queued
    return step._replace(fail=(*step.fail, str(run_id))) if is_made else step


def take_up(record: SweepRecord, given: Mapping[int, Sequence[Command]]) -> SweepRecord:
    """Return the record with the runs that W&B gave to workers in an answer that was not stored.

    `given` has a `run` command for each run of a worker that has not begun. Those that were queued are not added again.
    """
    record = record.model_copy(update={"asking": ()})
    for worker, commands in sorted(given.items()):
        for command in commands:
            record, _ = _with_run(record, worker, command)
    return record


def find(record: SweepRecord, items: Mapping[str, str]) -> SweepRecord:
    """Return the record with the run queue items that were found for runs. Those without an item are queued again."""
    runs = tuple(_with_item(run, items[run.run_id]) if run.run_id in items else run for run in record.runs)
    return record.model_copy(update={"runs": runs, "pushing": ()})


def begun(order: Order, record: SweepRecord | None, *, now: datetime) -> SweepRecord:
    """Return the record of a scheduler that starts. One whose execution was redriven goes on with its runs."""
    if record is None:
        return SweepRecord(counted=order.runs_before, complete_at=now)
    return record.model_copy(update={"end": None, "is_used_up": False, "complete_at": now})


def noted(record: SweepRecord, notes: Sequence[str], *, now: datetime) -> SweepRecord:
    """Return the record with the notes of a step in its log. The end of a sweep is noted once."""
    lines = [f"{now:%Y-%m-%d %H:%M:%S} {note}" for note in notes if note]
    is_repeated = bool(record.end and record.log and record.log[-1].endswith(record.end.reason))
    return record if is_repeated else record.model_copy(update={"log": (*record.log, *lines)[-_LOG_LINES:]})


def is_blocked(record: SweepRecord, *, now: datetime) -> bool:
    """Whether no step of a sweep was complete for a day."""
    return record.complete_at is None or now > record.complete_at + _BLOCKED_AFTER


def is_due(record: SweepRecord, *, now: datetime) -> bool:
    """Whether a step that changes nothing else has to store that it was complete."""
    return record.complete_at is None or now > record.complete_at + _COMPLETE_STORED_EVERY


def register(order: Order, record: SweepRecord, agents: Mapping[int, str]) -> SweepRecord:
    """Return the record with the sweep agents of these workers; an empty text for an agent that W&B has forgotten."""
    known = [*record.agents, *[""] * (order.workers - len(record.agents))]
    return record.model_copy(update={"agents": tuple(agents.get(n, agent) for n, agent in enumerate(known))})


def wind_down(record: SweepRecord, end: SweepEnd, fail: Iterable[str] = (), notes: Iterable[str] = ()) -> Step:
    """Return the step that ends a sweep. Runs that are not queued yet are left out, and shown as failed.

    A run that may be queued counts as queued.
    """
    queued = {run.run_id for run in record.runs if run.item_id} | {*record.pushing}
    return Step(
        _with_end(record, end),
        stop=tuple(run.run_id for run in record.runs if end.stops_runs and run.run_id in queued),
        fail=(*fail, *(run.run_id for run in record.runs if run.run_id not in queued)),
        notes=(*filter(None, notes), end.reason),
    )


def state_to_write(end: SweepEnd, state: str | None) -> str | None:
    """Return the state to write to a sweep that is in `state`; None if it has ended, or was not started."""
    if end.state == "PAUSED":
        return end.state if state in ("RUNNING", "PAUSED") else None
    return end.state if state in ("RUNNING", "PAUSED", "PENDING") else None


def crashed(reason: str) -> SweepEnd:
    """Return the end of a sweep that cannot go on."""
    return SweepEnd(verdict=Verdict.FAILED, reason=reason, state="CRASHED", stops_runs=True)


def stopped(reason: str) -> SweepEnd:
    """Return the end of a sweep that someone stopped."""
    return SweepEnd(verdict=Verdict.STOPPED, reason=reason, state="CANCELED", stops_runs=True)


def _alive(record: SweepRecord, seen: Seen) -> tuple[tuple[SweepRun, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the runs that have not ended, those that never will begin, and words about the others."""
    alive, fail, notes = [], [], []
    for run in record.runs:
        if run.item_id is None or (run.run_id not in seen.runs and run.item_id not in seen.items):
            alive.append(run)
            continue
        state, item = seen.runs.get(run.run_id, "unknown"), seen.items.get(run.item_id, "unknown")
        has_begun = state not in _WAITING
        waits_again = run.resumes and item in ("PENDING", "LEASED")
        if state in _DEAD and not waits_again:
            notes.append(f"Run {run.run_id} has {'ended' if state == 'finished' else state}.")
        elif item == "FAILED" or (item is None and not has_begun):
            notes.append(f"Run {run.run_id} was not launched: its queue item {'failed' if item else 'was deleted'}.")
            fail += [] if has_begun else [run.run_id]
        elif state is None and run.unseen:
            notes.append(f"Run {run.run_id} was deleted.")
        else:
            alive.append(run.model_copy(update={"unseen": state is None}))
    return tuple(alive), tuple(fail), tuple(notes)


def _end_of(order: Order, record: SweepRecord, seen: Seen) -> SweepEnd | None:
    """Return how the sweep ends now, or None if it goes on."""
    if seen.state is None:
        return SweepEnd(verdict=Verdict.STOPPED, reason="The sweep was deleted in W&B.", stops_runs=True)
    state = seen.state.upper()
    if state == "FINISHED":
        return _finished("The sweep has finished.")
    if state in _CRASHED:
        return SweepEnd(verdict=Verdict.FAILED, reason=f"The sweep is {state.lower()} in W&B.")
    if state in _CANCELED or seen.is_stopped:
        return stopped("The sweep was stopped in W&B.")
    return None if record.runs else _end_without_runs(order, record, state)


def _end_without_runs(order: Order, record: SweepRecord, state: str) -> SweepEnd | None:
    """Return how the sweep ends if none of its runs is left to wait for."""
    if record.is_used_up:
        return _finished("All runs of the sweep have ended.")
    if _room(order, record) == 0:
        return _finished(f"The sweep has reached its run cap of {order.run_cap}.")
    if state == "PAUSED":
        reason = "The sweep is paused. To resume it, use `wandb launch-sweep --resume_id`."
        return SweepEnd(verdict=Verdict.FINISHED, reason=reason, state="PAUSED")
    return None


def _free_workers(order: Order, record: SweepRecord, seen: Seen) -> tuple[int, ...]:
    """Return the workers to ask commands for: none while the sweep is paused or winds down."""
    if record.is_used_up or (seen.state or "").upper() == "PAUSED":
        return ()
    busy = {run.worker for run in record.runs}
    free = [worker for worker in range(order.workers) if worker not in busy]
    return tuple(free[: _room(order, record)])


def _room(order: Order, record: SweepRecord) -> int | None:
    """Return how many runs may still be queued; None for no limit."""
    return None if order.run_cap is None else max(order.run_cap - record.counted, 0)


def _with_run(record: SweepRecord, worker: int, command: Command) -> tuple[SweepRecord, str]:
    """Return the record with the run of a `run` or `resume` command, and a note."""
    run_id, parameters = command.get("run_id"), _parameters(command.get("args"))
    if not isinstance(run_id, str) or not is_run_id(run_id) or parameters is None:
        why = "W&B sent a run without a valid id, or with a parameter that has no value."
        return _with_end(record, crashed(why)), ""
    is_known = run_id in record.queued
    if any(run.run_id == run_id for run in record.runs) or (is_known and command.get("type") == "run"):
        return record, f"Run {run_id} is queued already."
    run = SweepRun(run_id=run_id, worker=worker, parameters=parameters, resumes=is_known)
    update = {"runs": (*record.runs, run), "queued": record.queued | {run_id}, "counted": record.counted + 1}
    return record.model_copy(update=update), f"Run {run_id} is queued: {shown(str(parameters))}."


def _parameters(args: object) -> dict[str, Any] | None:
    """Return the parameters of a command, or None if they cannot be read."""
    args = {} if args is None else args
    values = args.values() if isinstance(args, Mapping) else [None]
    if not isinstance(args, Mapping) or not all(isinstance(each, Mapping) and "value" in each for each in values):
        return None
    return {name: each["value"] for name, each in args.items()}


def _with_item(run: SweepRun, item_id: str) -> SweepRun:
    return run.model_copy(update={"item_id": item_id, "parameters": None})


def _with_end(record: SweepRecord, end: SweepEnd) -> SweepRecord:
    return record.model_copy(update={"end": end, "asking": ()})


def _pushes(order: Order, record: SweepRecord) -> tuple[Push, ...]:
    return tuple(push_of(order, run.run_id, run.parameters or {}) for run in record.runs if run.item_id is None)


def _finished(reason: str) -> SweepEnd:
    return SweepEnd(verdict=Verdict.FINISHED, reason=reason, state="FINISHED")
