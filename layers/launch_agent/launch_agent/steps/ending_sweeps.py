"""Ends the scheduler of a sweep: stops its runs if they are to stop, and writes how the sweep ended to W&B."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from pydantic import ValidationError

from launch_agent.errors import AwsThrottled, InvalidRunSpec, WandbRefused
from launch_agent.outcome.judgement import Failure
from launch_agent.run_queue.items import Slot, parse_run_spec
from launch_agent.runs.record import RunRecord
from launch_agent.sweeps.order import Order
from launch_agent.sweeps.record import SweepEnd, SweepRecord
from launch_agent.sweeps.scheduler import (
    Step,
    crashed,
    find,
    noted,
    register,
    state_to_write,
    stopped,
    take_up,
    wind_down,
)
from launch_agent.training.training_job import Verdict
from launch_agent.wiring import Clients

if TYPE_CHECKING:
    from launch_agent.clients.wandb_sweeps import WandbSweeps

logger = Logger(child=True)

_RUN_STATES = {Verdict.FINISHED: "finished", Verdict.FAILED: "failed", Verdict.STOPPED: "killed"}


def end_sweep(clients: Clients, order: Order, step: Step) -> None:
    """Carry out the last step of a sweep. Can be repeated; what W&B refuses is left out.

    May raise WandbUnavailable and WandbKeyRejected.
    """
    end, sweeps = step.record.end, clients.wandb_sweeps
    if end is None:
        return
    sweeps.stop(order, step.stop)
    sweeps.write_runs(order, step.fail, "failed")
    _write_state(clients, order, end)
    sweeps.show([(order, noted(step.record, step.notes, now=datetime.now(UTC)))])
    sweeps.write_runs(order, [order.sweep_id], _RUN_STATES[end.verdict])
    logger.info("sweep ended", sweep_id=order.sweep_id, verdict=end.verdict.value, reason=end.reason)


def end_failed_sweep(clients: Clients, record: RunRecord, failure: Failure | None) -> SweepEnd | None:
    """Return how the sweep of a scheduler ended; None if the record is not of a scheduler that has started.

    If its execution failed or was stopped before the sweep ended, ends the sweep. Raises as `end_sweep` does, and
    AwsThrottled while a step of the sweep may still run: it may be given runs that only the next look finds.
    """
    if record.slot is not Slot.SCHEDULER:
        return None
    stored, order = clients.runs.sweeps.get(record.item.id), clients.runs.details(record.item.id).order
    if stored is None or order is None:
        if failure:
            _fail_pending(clients, record)
        return None
    if failure is None:
        return stored.record.end
    if not stored.is_free(datetime.now(UTC)):
        raise AwsThrottled("a step of the sweep has not ended yet")
    last = _completed_or_as_it_is(clients, order, stored.record)
    end = last.end or (stopped(failure.reason) if failure.is_stop else crashed(f"{failure.error}: {failure.reason}"))
    step = wind_down(last, end)
    end_sweep(clients, order, step._replace(fail=(*step.fail, *_never_begun(clients, order, step))))
    return end


def completed(sweeps: "WandbSweeps", order: Order, record: SweepRecord) -> SweepRecord:
    """Return the record with what an interrupted step did not store: the runs it was given, and the items it queued.

    May raise WandbRefused and WandbUnavailable.
    """
    record = _taken_up(sweeps, order, record)
    return find(record, sweeps.items_of(order, record) if record.pushing else {})


def _completed_or_as_it_is(clients: Clients, order: Order, record: SweepRecord) -> SweepRecord:
    """Return the completed record, as far as W&B shows what is missing in it."""
    try:
        record = _taken_up(clients.wandb_sweeps, order, record)
        return completed(clients.wandb_sweeps, order, record)
    except WandbRefused:
        logger.exception("W&B refused what the last step of the sweep did not store")
        return record


def _taken_up(sweeps: "WandbSweeps", order: Order, record: SweepRecord) -> SweepRecord:
    if not record.asking:
        return record
    given = sweeps.given(order)
    agents = {worker: record.agents[worker] for worker in record.asking}
    record = take_up(record, {worker: given.get(agent, []) for worker, agent in agents.items()})
    return register(order, record, {n: "" for n, agent in agents.items() if agent not in given})


def _never_begun(clients: Clients, order: Order, step: Step) -> list[str]:
    """Return the runs that are stopped, are perhaps not queued, and have not begun: W&B would show them as pending."""
    unsure = [run.run_id for run in step.record.runs if run.item_id is None and run.run_id in step.stop]
    return [each for each in unsure if clients.wandb.seen_run(order.entity, order.project, each).state == "pending"]


def end_pending_run(clients: Clients, record: RunRecord, spec: Any) -> None:
    """Show that the run of a sweep failed, which W&B made before it was queued, and whose item has failed.

    Otherwise W&B would show it as pending, and its scheduler would wait for it.
    """
    given = spec if isinstance(spec, Mapping) else {}
    entity, project = given.get("entity"), given.get("project")
    if not given.get("sweep_id") or not isinstance(entity, str) or not isinstance(project, str):
        return
    if clients.wandb.seen_run(entity, project, record.item.run_id).state == "pending":
        run = {"name": record.item.run_id, "entityName": entity, "modelName": project, "state": "failed"}
        clients.wandb.write_run(run)


def _write_state(clients: Clients, order: Order, end: SweepEnd) -> None:
    """Write the state of a sweep, unless it has ended. A server that does not take CRASHED gets CANCELED."""
    sweeps = clients.wandb_sweeps
    try:
        storage_id, state = sweeps.state(order)
        written = state_to_write(end, state)
        if not written:
            return
        try:
            sweeps.write_state(order, storage_id, written)
        except WandbRefused:
            if written != "CRASHED":
                raise
            sweeps.write_state(order, storage_id, "CANCELED")
    except WandbRefused:
        logger.exception("W&B refused the state of the sweep")


def _fail_pending(clients: Clients, record: RunRecord) -> None:
    """Write CRASHED to a sweep that waits for this scheduler, which will not start. One that runs is left alone."""
    try:
        spec = parse_run_spec(clients.runs.details(record.item.id).spec)
        order = Order(
            sweep_id=record.item.run_id,
            entity=spec.entity,
            project=spec.project,
            queue=record.item.queue,
            queue_entity=record.item.entity,
            workers=1,
            priority=0,
            launch={},
        )
        storage_id, state = clients.wandb_sweeps.state(order)
        if state == "PENDING":
            clients.wandb_sweeps.write_state(order, storage_id, "CRASHED")
    except (InvalidRunSpec, ValidationError, WandbRefused):
        logger.exception("the state of the sweep is left as it is")
