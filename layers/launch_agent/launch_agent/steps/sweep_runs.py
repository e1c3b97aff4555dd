"""Runs every five minutes, and whenever an execution fails: repairs what a lost event left undone."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from aws_lambda_powertools import Logger

from launch_agent.clients.executions import Execution, execution_arn
from launch_agent.errors import AwsRefused, LaunchError, SweepBlocked
from launch_agent.operations.metrics import Metric, open_runs, waiting
from launch_agent.operations.repair import OrphanJob, Repair, is_orphan, needs_check, repair_of, wrong_counts
from launch_agent.run_queue.items import Slot
from launch_agent.runs.execution import execution_input
from launch_agent.runs.record import RunRecord
from launch_agent.steps.ending import Ending
from launch_agent.steps.resuming import Resuming
from launch_agent.sweeps.scheduler import is_blocked
from launch_agent.wiring import Clients

logger = Logger(child=True)

_LEAVE_OFF_MILLISECONDS = 60_000
"""A sweep that has less time left begins no further repair. The next sweep continues after the last one."""

_INDEX_FOLLOWS_WITHIN = timedelta(seconds=10)

_KEY_RENEWED_WITHIN = timedelta(days=7)
_FAILED = "failed: "
Entry = TypeVar("Entry")
Work = dict[str, Callable[[], str | None]]
"""Repairs by run queue item or training job. Each returns what it did, or None."""


class SweepRuns:
    """Repairs runs. A failed repair is logged, does not affect other runs, and is tried again by the next sweep."""

    def __init__(self, clients: Clients) -> None:
        """Create the clients."""
        self._clients, self._config, self._runs = clients, clients.config, clients.runs
        self._sagemaker, self._executions = clients.sagemaker, clients.executions
        self._state_machine_arn = clients.state_machine_arn

    def sweep_one(self, item_id: str) -> dict[str, Any]:
        """Repair the run of one item, whose execution has failed. Return what was done."""
        return {"done": {item_id: _attempt(partial(self._repair, item_id), item_id)}}

    def sweep_all(self, milliseconds_left: Callable[[], int]) -> dict[str, Any]:
        """Compare all unreported runs, running executions and training jobs in progress, and repair the runs.

        Return what was done, by run queue item or training job, the number of failed repairs, and the number of repairs
        left to the next sweep.
        """
        cursor, listed_at = self._runs.sweep_cursor(), datetime.now(UTC)
        unreported = list(self._runs.unreported_runs())
        work = self._work(unreported)
        done: dict[str, str | None] = {}
        for key in sorted(work, key=lambda key: (key <= cursor, key)):
            if milliseconds_left() < _LEAVE_OFF_MILLISECONDS:
                break
            # Before the repair: a repair that makes the function end comes last in the next sweep, not first again.
            _attempt(partial(self._runs.save_sweep_cursor, key), "the cursor")
            done[key] = _attempt(work[key], key)
        if work and len(done) == len(work):
            _attempt(partial(self._runs.save_sweep_cursor, ""), "the cursor")
        _attempt(partial(self._count_slots, unreported, listed_at), "the count of slots")
        _attempt(partial(self._measure, unreported, done), "the metrics")
        if milliseconds_left() >= _LEAVE_OFF_MILLISECONDS:
            _attempt(self._measure_queues, "the metrics of the queues")
        failed = sum(str(each).startswith(_FAILED) for each in done.values())
        return {"open_runs": len(unreported), "done": done, "failed": failed, "left": len(work) - len(done)}

    def _work(self, unreported: list[RunRecord]) -> Work:
        """Return a check for each run and training job where the records, the executions and the jobs do not agree."""
        running = set(_listed(self._executions.running(self._state_machine_arn)))
        live_jobs = dict(_listed(self._sagemaker.live_jobs()))
        checks = needs_check(unreported, running=running, live_jobs=live_jobs)
        work: Work = {run.item.id: partial(self._repair, run.item.id) for run in checks}
        schedulers = [run for run in unreported if run.is_open and run.slot is Slot.SCHEDULER]
        work |= {run.item.id: partial(self._end_blocked_sweep, run) for run in schedulers if run.item.id not in work}
        known = {run.training_job_name for run in unreported if run.is_open}
        for name, item_id in live_jobs.items():
            if item_id and name not in known:
                work[name] = partial(self._stop_orphan, OrphanJob(name, item_id))
        return work

    def _repair(self, item_id: str) -> str | None:
        """Read the record and the execution of one run, and repair it; return the repair, or None."""
        logger.append_keys(run_queue_item_id=item_id)
        record = self._runs.unreported_run(item_id)
        if record is None:
            return None
        execution = self._executions.find(execution_arn(self._state_machine_arn, record.execution_name))
        # The execution may have closed the run in the meantime.
        record = self._runs.unreported_run(item_id)
        repair = repair_of(record, execution_status=execution.status if execution else None, now=datetime.now(UTC))
        if record is None or repair is None:
            return None
        logger.info("repairing a run", repair=repair.value)
        if repair is Repair.START:
            self._start(record)
        elif execution and repair is Repair.CLOSE:
            Ending(self._clients, without_key=_key_was_awaited(execution)).end_for(execution, record)
        elif not self._resume_if_ended(record):
            return None
        return repair.value

    def _start(self, record: RunRecord) -> None:
        """Start the execution of an open run. If AWS refuses that, raises AwsRefused, and frees the slot of an item
        that is not acknowledged.
        """
        spec = None
        with suppress(AwsRefused):  # then the input shows less
            spec = self._runs.details(record.item.id).spec
        given = execution_input(record.item, spec, self._clients.env.deployment)
        try:
            self._executions.start(self._state_machine_arn, record.execution_name, given)
        except AwsRefused:
            if not record.acked:
                self._runs.give_back(record)
            raise

    def _resume_if_ended(self, record: RunRecord) -> bool:
        """If the run's training job has ended, answer its task token; return whether it has ended.

        That includes a job that is already recorded as failed: the function may have ended before it answered.
        """
        job = self._sagemaker.job_of(record)
        if job is None or job.verdict is None:
            return False
        Resuming(self._clients).resume(record, job)
        return True

    def _end_blocked_sweep(self, run: RunRecord) -> str | None:
        """Fail the execution of a scheduler if no step of its sweep was complete for a day; return what was done.

        While W&B is unavailable, and for an hour after that, nothing is done. Raises WandbUnavailable.
        """
        now, stored = datetime.now(UTC), self._runs.sweeps.get(run.item.id)
        if stored is None or stored.task_token is None or not is_blocked(stored.record, now=now):
            return None
        self._clients.wandb.default_entity()
        if not self._runs.sweeps.found_blocked(stored, now=now):
            return None
        why = "the sweep could not be moved on for a day. The log of AdvanceSweepsFunction says why."
        self._clients.task_tokens.fail(stored.task_token, error=SweepBlocked.__name__, cause=why)
        return "ended a blocked sweep"

    def _stop_orphan(self, job: OrphanJob) -> str | None:
        """Stop a training job in progress that no open run waits for; return what was done, or None."""
        logger.append_keys(run_queue_item_id=job.item_id)
        record = self._runs.get(job.item_id)
        name = job.training_job_name
        if record is None:
            logger.warning(
                "left a training job running: it has this stack's name, but no record", training_job_name=name
            )
            return None
        if not is_orphan(job, record):
            return None
        self._sagemaker.stop(name)
        logger.warning("stopped a training job that no run waits for", training_job_name=name)
        return "stopped"

    def _measure(self, unreported: list[RunRecord], done: Mapping[str, str | None]) -> None:
        """Write the metrics of the runs without an outcome and of the repairs."""
        metrics, repairs = self._clients.metrics, [each for each in done.values() if each]
        if repairs:
            metrics.put({Metric.SWEEP_REPAIRS: len(repairs)})
        for counted, number in open_runs(unreported).items():
            metrics.put({Metric.OPEN_RUNS: number}, **counted._asdict())

    def _measure_queues(self) -> None:
        """Write the metrics of the items that wait in W&B."""
        entity = self._config.entity or self._clients.wandb.default_entity()
        queues = self._clients.wandb.waiting(entity, self._config.queues).values()
        queued_at = [time for queued in queues for time in queued.values()]
        self._clients.metrics.put(waiting(queued_at, datetime.now(UTC)))

    def _count_slots(self, unreported: Iterable[RunRecord], listed_at: datetime) -> None:
        """Correct the count of slots in use if it is not the number of open runs that were listed at `listed_at`.

        Does nothing if a slot changed shortly before that: the index may be about a second behind the table.
        """
        entity = self._config.entity or self._clients.wandb.default_entity()
        agent = self._runs.agents.find(entity)
        if agent is None or agent.changed_at is None or agent.changed_at > listed_at - _INDEX_FOLLOWS_WITHIN:
            return
        counted = {Slot.JOB: agent.jobs_open, Slot.SCHEDULER: agent.schedulers_open}
        wrong = wrong_counts((run for run in unreported if run.is_open and run.item.entity == entity), counted)
        for slot, (number, found) in wrong.items():
            reset = self._runs.agents.reset_count(agent, slot=slot, open_runs=found)
            logger.error("the count of slots was wrong", slot=slot.value, counted=number, open=found, reset=reset)


def _key_was_awaited(execution: Execution) -> bool:
    """Whether an execution ended more than 7 days ago, so that its run no longer waits for a valid API key."""
    return execution.ended_at is not None and datetime.now(UTC) > execution.ended_at + _KEY_RENEWED_WITHIN


def _attempt(repair: Callable[[], str | None], key: str) -> str | None:
    """Do one repair and return what it did. Any error is logged, and returned as `failed: ` and its name."""
    try:
        return repair()
    except Exception as error:
        logger.exception("left to the next sweep", key=key)
        return f"{_FAILED}{type(error).__name__}"
    finally:
        logger.remove_keys(["run_queue_item_id"])  # what is logged next is about another run


def _listed(entries: Iterable[Entry]) -> list[Entry]:
    """Return all entries of a list from AWS. If it cannot be read, return none, so that every run is checked."""
    try:
        return list(entries)
    except LaunchError:
        logger.exception("a list cannot be read, so every run is checked")
        return []
