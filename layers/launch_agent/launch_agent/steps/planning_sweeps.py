"""Plans the scheduler of a sweep: everything that it needs to know, once, before it starts."""

import json
from typing import Any

from aws_lambda_powertools import Logger

from launch_agent.errors import InvalidRunSpec, WandbRefused
from launch_agent.run_queue.items import RunSpec, parse_run_spec
from launch_agent.runs.record import RunRecord
from launch_agent.steps.warning import renew_waiting
from launch_agent.sweeps.asked import parse_order, read_config
from launch_agent.sweeps.order import Order
from launch_agent.wiring import Clients

logger = Logger(child=True)

_TIME_LIMIT_SECONDS = 360 * 24 * 3600
"""Step Functions ends an execution after a year."""


def plan_sweep(clients: Clients, record: RunRecord) -> dict[str, Any]:
    """Return the summary of a scheduler's plan. What it is asked to do is stored.

    Raises InvalidRunSpec, and JobArtifactNotFound if the job of its runs cannot be read.
    """
    details = clients.runs.details(record.item.id)
    order = details.order
    if order is None:
        order = _decide(clients, parse_run_spec(details.spec))
        clients.runs.sweep_planned(record.item.id, order)
        _show_run(clients, order, details.spec)
        renew_waiting(clients, record, "The sweep has its slot.", over=True, stage="agent")
        logger.info("sweep planned", sweep_id=order.sweep_id)
    return {
        "is_scheduler": True,
        "entity": order.entity,
        "project": order.project,
        "sweep_id": order.sweep_id,
        "run_url": clients.env.deployment.run_page(order.entity, order.project, record.item.run_id),
        "run_queue": order.queue,
        "workers": order.workers,
        "time_limit_seconds": _TIME_LIMIT_SECONDS,
    }


def _show_run(clients: Clients, order: Order, spec: Any) -> None:
    """Show the scheduler's own run in W&B. A scheduler that resumes the sweep reads its configuration."""
    launch = {key: value for key, value in order.launch.items() if key != "_wandb_api_key"}
    given = {**(parse_run_spec(spec).overrides.run_config or {}), "launch": launch}
    run = {
        "name": order.sweep_id,
        "entityName": order.entity,
        "modelName": order.project,
        "displayName": f"Scheduler.{order.sweep_id}",
        "jobType": "sweep-controller",
        "state": "running",
        "config": json.dumps({key: {"value": value} for key, value in given.items()}),
    }
    try:
        clients.wandb.write_run(run)
    except WandbRefused:
        logger.exception("W&B does not show the scheduler's run")


def _decide(clients: Clients, spec: RunSpec) -> Order:
    sweep_id = spec.run_id or ""
    found = clients.wandb_sweeps.find(spec.entity, spec.project, sweep_id)
    if found is None:
        raise InvalidRunSpec([f"the sweep {spec.entity}/{spec.project}/{sweep_id} does not exist in W&B."])
    order = parse_order(spec, read_config(found.config), earlier=found.earlier, runs_before=found.runs)
    if order.job:
        clients.artifacts.job_with_code(order.job, entity=order.entity, project=order.project)
    return order
