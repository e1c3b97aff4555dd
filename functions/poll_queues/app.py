"""Every minute: show that we are alive, stop what was stopped in W&B, lease items while there is room, start them."""

import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent import __version__
from launch_agent.clients.executions import Executions, execution_arn
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.runs import Runs
from launch_agent.clients.sagemaker import SageMaker
from launch_agent.clients.secrets import WandbApiKey
from launch_agent.clients.wandb import Wandb
from launch_agent.errors import InvalidRunSpec
from launch_agent.outcome.judgement import STOPPED
from launch_agent.run_queue.items import ItemRef, QueueItem, Slot
from launch_agent.run_queue.launch_config import LaunchConfig
from launch_agent.runs.record import AgentRecord, RunRecord, RunState, execution_name
from launch_agent.settings import Settings, read_launch_config

logger = Logger()

MAX_LEASED = 100
"""How many items one call leases at most: each has to be acknowledged before its lease of about a minute ends."""


class Env(Settings):
    """The environment of this function."""

    runs_table: str
    stack_name: str
    state_machine_arn: str
    wandb_api_key_secret: str
    wandb_base_url: str


class Wired(NamedTuple):
    """What this function works with, made once for each execution environment."""

    env: Env
    config: LaunchConfig
    wandb: Wandb
    runs: Runs
    executions: Executions


@cache
def wire() -> Wired:
    """Read the environment and the configuration, and make the clients."""
    env = Env.from_environment()
    config = read_launch_config()
    for warning in config.warnings():
        logger.warning(warning)
    wandb = Wandb(GraphqlClient(env.wandb_base_url, WandbApiKey(env.wandb_api_key_secret)))
    return Wired(env, config, wandb, Runs(env.runs_table), Executions())


@cache
def wire_sagemaker() -> SageMaker:
    """Make the client for stopping training jobs, which most polls do without."""
    return SageMaker()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return the status shown to W&B, and the run queue items opened; REGISTERING while another call does that."""
    w = wire()
    agent = registered_agent(w)
    if not agent:
        return {"status": "REGISTERING", "opened": []}
    if agent.stop_polling:
        return {"status": "KILLED", "opened": []}
    status = "RUNNING" if agent.jobs_open + agent.schedulers_open else "POLLING"
    queues = in_turn(w.config.queues)
    leased = w.wandb.lease(agent.launch_agent_id, agent.entity, queues, room=room(w.config, agent), status=status)
    return {"status": status, "opened": [item.id for queue, item in leased if open_run(w, agent, queue, item)]}


def registered_agent(w: Wired) -> AgentRecord | None:
    """Return our launch agent, registered anew when its configuration has changed or W&B no longer knows it.

    None while a call beside this one registers it: two agents would stay listed in W&B, one of them never polling.
    """
    entity = w.config.entity or w.wandb.default_entity()
    known = w.runs.agent(entity)
    if known:
        open_runs = list(w.runs.open_runs()) if known.jobs_open + known.schedulers_open else []
        seen, stopped = w.wandb.look(known.launch_agent_id, open_runs)
        heed_stops(w, open_runs, stopped)
        if seen and known.config_fingerprint == w.config.fingerprint:
            return heed_stop_polling(w, known, stop=seen.stop_polling)
    if not w.runs.claim_registration(entity, known=known, now=datetime.now(UTC)):
        return None
    new = w.wandb.register(entity, w.config, hostname=w.env.stack_name, version=f"wandb-launch-sagemaker@{__version__}")
    logger.info("launch agent registered", launch_agent_id=new.id, launch_agent_name=new.name)
    agent = AgentRecord(
        entity=entity,
        launch_agent_id=new.id,
        launch_agent_name=new.name,
        config_fingerprint=w.config.fingerprint,
        jobs_open=known.jobs_open if known else 0,
        schedulers_open=known.schedulers_open if known else 0,
    )
    w.runs.remember_agent(agent)
    return agent


def heed_stops(w: Wired, open_runs: Iterable[RunRecord], stopped: Collection[str]) -> None:
    """Stop the runs that somebody has stopped in W&B, once their own `stopped_run_timeout` to end is over."""
    now = datetime.now(UTC)
    for run in open_runs:
        if run.item.id in stopped and not run.stop_requested_at:
            w.runs.stop_requested(run.item.id, at=now)
        since = run.stop_requested_at or (now if run.item.id in stopped else None)
        if since and now >= since + timedelta(seconds=w.config.stopped_run_timeout):
            stop(w, run.item.id)


def stop(w: Wired, item_id: str) -> None:
    """Stop a run's training job if it has one, else its execution. What has ended by itself is left alone."""
    record = w.runs.get(item_id)
    if record is None or record.state is not RunState.OPEN:
        return
    name = record.training_job_name
    # After a job that came to nothing the execution waits before it makes the next one.
    job = wire_sagemaker().describe(name) if name and name not in record.ended_jobs else None
    if job and wire_sagemaker().item_of(job) == item_id:
        # Its end, whether this brings it about or it is there, resumes the execution.
        wire_sagemaker().stop(job.name)
    else:
        arn = execution_arn(w.env.state_machine_arn, record.execution_name)
        w.executions.stop(arn, error=STOPPED, cause="The run was stopped in W&B.")
    logger.info("run stopped, as asked in W&B", run_queue_item_id=item_id, training_job_name=name)


def heed_stop_polling(w: Wired, agent: AgentRecord, *, stop: bool) -> AgentRecord:
    """Note that an operator stopped or resumed polling in W&B. A stopped agent says so once, then is silent."""
    if stop == agent.stop_polling:
        return agent
    changed = agent.model_copy(update={"stop_polling": stop})
    if stop:
        w.wandb.report_status(agent.launch_agent_id, "KILLED")
    w.runs.remember_agent(changed)
    logger.warning("polling was stopped in W&B" if stop else "polling was resumed in W&B")
    return changed


def in_turn(queues: list[str]) -> list[str]:
    """Begin with another queue every minute, so that none waits behind a full one."""
    first = int(time.time() // 60) % len(queues)
    return queues[first:] + queues[:first]


def room(config: LaunchConfig, agent: AgentRecord) -> int:
    """Return how many items may be leased now."""
    return MAX_LEASED if config.max_jobs < 0 else min(MAX_LEASED, config.max_jobs - agent.jobs_open)


def open_run(w: Wired, agent: AgentRecord, queue: str, item: QueueItem) -> bool:
    """Take a slot, store the record, start the execution. An item without a slot goes back when its lease ends."""
    logger.append_keys(run_queue_item_id=item.id, run_id=item.run_id)
    known = w.runs.get(item.id)
    if known and known.state is RunState.OPEN:
        # Its lease ended before it was acknowledged, and it is ours again: the same execution goes on.
        w.runs.leased_again(item.id, agent)
        return start(w, known)
    record = new_record(agent, queue, item, attempt=known.attempt + 1 if known else 1)
    limit = w.config.max_jobs if item.slot is Slot.JOB else w.config.max_schedulers
    try:
        opened = w.runs.open(record, limit=limit)
    except InvalidRunSpec as error:
        w.wandb.fail(record.item, f"InvalidRunSpec: {error}", "agent")
        return False
    if not opened:
        logger.info("item left to its lease: there is no slot for it, or it ended before")
    return opened and start(w, record)


def new_record(agent: AgentRecord, queue: str, item: QueueItem, *, attempt: int) -> RunRecord:
    """Make the record of an item that is to be opened."""
    return RunRecord(
        item=ItemRef(id=item.id, queue=queue, entity=agent.entity, run_id=item.run_id),
        slot=item.slot,
        state=RunState.OPEN,
        attempt=attempt,
        execution_name=execution_name(item.id, attempt),
        launch_agent_id=agent.launch_agent_id,
        launch_agent_name=agent.launch_agent_name,
        opened_at=datetime.now(UTC),
        spec=item.run_spec,
    )


def start(w: Wired, record: RunRecord) -> bool:
    """Start the execution of an open run; what was started before goes on."""
    started = w.executions.start(w.env.state_machine_arn, record)
    logger.info("execution started" if started else "execution has been there before", execution=record.execution_name)
    return started
