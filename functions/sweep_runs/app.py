"""Every five minutes, and when an execution ends badly: make good what an event that got lost has left undone."""

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any, NamedTuple

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.clients.executions import Executions, execution_arn
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.runs import Runs
from launch_agent.clients.sagemaker import SageMaker
from launch_agent.clients.secrets import WandbApiKey
from launch_agent.clients.task_tokens import TaskTokens
from launch_agent.clients.wandb import Wandb
from launch_agent.deployment import Deployment
from launch_agent.errors import LaunchError
from launch_agent.operations.repair import Repair, Stray, is_stray, repair_of, suspects, wrong_counts
from launch_agent.run_queue.items import Slot
from launch_agent.run_queue.launch_config import LaunchConfig
from launch_agent.runs.record import RunRecord, RunState
from launch_agent.settings import Settings, read_launch_config
from launch_agent.steps.report_outcome import Reporter
from launch_agent.steps.resume_run import resume, warn_once, warning_of

logger = Logger()

_LEAVE_OFF_MILLISECONDS = 60_000
"""With less time than this left, a call begins no other repair; the next sweep goes on behind the last one."""

_INDEX_FOLLOWS_WITHIN = timedelta(seconds=10)


class Env(Settings):
    """The environment of this function."""

    account_id: str
    capacity_wait_hours: float
    partition: str
    region: str
    runs_table: str
    stack_name: str
    state_machine_arn: str
    wandb_api_key_secret: str
    wandb_base_url: str
    wandb_init_grace_seconds: float

    @property
    def deployment(self) -> Deployment:
        """Where this stack is."""
        return Deployment.model_validate(self.model_dump(include=set(Deployment.model_fields)))


class Wired(NamedTuple):
    """What this function works with, made once for each execution environment."""

    env: Env
    config: LaunchConfig
    wandb: Wandb
    runs: Runs
    sagemaker: SageMaker
    executions: Executions
    tokens: TaskTokens
    reporter: Reporter


@cache
def wire() -> Wired:
    """Read the environment and the configuration, and make the clients."""
    env = Env.from_environment()
    wandb = Wandb(GraphqlClient(env.wandb_base_url, WandbApiKey(env.wandb_api_key_secret)))
    runs, sagemaker = Runs(env.runs_table), SageMaker()
    grace = timedelta(seconds=env.wandb_init_grace_seconds)
    reporter = Reporter(wandb, runs, sagemaker, runs_table=env.runs_table, deployment=env.deployment, grace=grace)
    return Wired(env, read_launch_config(), wandb, runs, sagemaker, Executions(), TaskTokens(), reporter)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return what was done, by run queue item or training job.

    Take an event of EventBridge: "Step Functions Execution Status Change", for the one run, or a schedule's, for all.
    What fails for one run is logged, keeps no other from being looked at, and is tried again by the next sweep.
    """
    w = wire()
    item_id = json.loads(event.get("detail", {}).get("input") or "{}").get("run_queue_item_id")
    if item_id:
        return {"done": {item_id: tried(partial(mend, w, item_id), item_id)}}
    return sweep(w, context)


def sweep(w: Wired, context: LambdaContext) -> dict[str, Any]:
    """Compare all open runs with all running executions and all training jobs in progress."""
    notes, listed_at = w.runs.sweep_notes(), datetime.now(UTC)
    open_runs = list(w.runs.open_runs())
    running = set(w.executions.running(w.env.state_machine_arn))
    live_jobs = dict(w.sagemaker.live_jobs(w.env.stack_name))
    known = {run.training_job_name for run in open_runs}
    work: dict[str, Callable[[], str | None]] = {
        run.item.id: partial(mend, w, run.item.id) for run in suspects(open_runs, running=running, live_jobs=live_jobs)
    }
    for name, item_id in live_jobs.items():
        if item_id and name not in known:
            work[name] = partial(stop_stray, w, Stray(name, item_id))
    done: dict[str, str | None] = {}
    after = str(notes.get("after", ""))
    for key in sorted(work, key=lambda key: (key <= after, key)):
        if context.get_remaining_time_in_millis() < _LEAVE_OFF_MILLISECONDS:
            break
        done[key], after = tried(work[key], key), key
    w.runs.leave_sweep_notes({"after": after if len(done) < len(work) else ""})
    try:
        count_slots(w, open_runs, listed_at)
    except LaunchError:
        logger.exception("the slots are left to the next sweep to count")
    return {"open_runs": len(open_runs), "done": done, "left": len(work) - len(done)}


def tried(repair: Callable[[], str | None], key: str) -> str | None:
    """Do one repair; log what fails."""
    try:
        return repair()
    except LaunchError as error:
        logger.exception("left to the next sweep", key=key)
        return type(error).__name__


def mend(w: Wired, item_id: str) -> str | None:
    """Look at one run closely, and do what it needs; return what that was."""
    logger.append_keys(run_queue_item_id=item_id)
    record = w.runs.get(item_id)
    if record is None or record.state is not RunState.OPEN:
        return None
    execution = w.executions.find(execution_arn(w.env.state_machine_arn, record.execution_name))
    # The execution may have closed the run between the two looks.
    record = w.runs.get(item_id)
    repair = repair_of(record, execution_status=execution.status if execution else None, now=datetime.now(UTC))
    if record is None or repair is None:
        return None
    logger.info("repairing a run", repair=repair.value)
    if repair is Repair.START:
        w.executions.start(w.env.state_machine_arn, record)
    elif execution and repair is Repair.CLOSE:
        w.reporter.end_for(execution, record)
    elif not resume_if_ended(w, record):
        return None
    return repair.value


def resume_if_ended(w: Wired, record: RunRecord) -> bool:
    """Answer the token of a training job whose end no event has told; return whether it had ended."""
    job = w.sagemaker.describe(record.training_job_name) if record.training_job_name else None
    if job is None or job.verdict is None or w.sagemaker.item_of(job) != record.item.id:
        return False
    trouble = resume(w.runs, w.tokens, record, job, capacity_wait=timedelta(hours=w.env.capacity_wait_hours))
    if trouble:
        warn_once(w.wandb, w.runs, record, warning_of(trouble, job))
    return True


def stop_stray(w: Wired, job: Stray) -> str | None:
    """Stop a training job in progress for which no open run waits; return what was done."""
    record = w.runs.get(job.item_id)
    if record is None:
        logger.warning("left a training job alone: it has this stack's name, but no record", name=job.training_job_name)
        return None
    if not is_stray(job, record):
        return None
    w.sagemaker.stop(job.training_job_name)
    logger.warning("stopped a training job that no run waits for", name=job.training_job_name)
    return "stopped"


def count_slots(w: Wired, open_runs: Iterable[RunRecord], listed_at: datetime) -> None:
    """Mend the count of slots in use where it is not the number of open runs, as they were listed at a time.

    A list tells nothing while runs are being opened or closed: the index follows the table within a second or so.
    """
    entity = w.config.entity or w.wandb.default_entity()
    agent = w.runs.agent(entity)
    if agent is None or agent.changed_at is None or agent.changed_at > listed_at - _INDEX_FOLLOWS_WITHIN:
        return
    counted = {Slot.JOB: agent.jobs_open, Slot.SCHEDULER: agent.schedulers_open}
    wrong = wrong_counts((run for run in open_runs if run.item.entity == entity), counted)
    for slot, (number, found) in wrong.items():
        mended = w.runs.count_anew(agent, slot=slot, open_runs=found)
        logger.error("the count of slots was wrong", slot=slot.value, counted=number, open=found, mended=mended)
