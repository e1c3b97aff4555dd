"""A training job changed its status: record it, and at its end answer the task token that waits for it."""

from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.runs import Runs
from launch_agent.clients.sagemaker import ITEM_TAG, SageMaker
from launch_agent.clients.secrets import WandbApiKey
from launch_agent.clients.task_tokens import TaskTokens
from launch_agent.clients.wandb import Wandb
from launch_agent.operations.repair import Stray, is_stray
from launch_agent.outcome.report import interruption_warning
from launch_agent.settings import Settings
from launch_agent.steps.resume_run import resume, warn_once, warning_of
from launch_agent.training.training_job import VERDICTS, TrainingJob

logger = Logger()


class Env(Settings):
    """The environment of this function."""

    capacity_wait_hours: float
    runs_table: str
    wandb_api_key_secret: str
    wandb_base_url: str


class Wired(NamedTuple):
    """What this function works with, made once for each execution environment."""

    env: Env
    runs: Runs
    tokens: TaskTokens


@cache
def wire() -> Wired:
    """Read the environment, and make the clients."""
    env = Env.from_environment()
    return Wired(env, Runs(env.runs_table), TaskTokens())


@cache
def wire_wandb() -> Wandb:
    """Make the client for warnings, which most events do without."""
    env = Env.from_environment()
    return Wandb(GraphqlClient(env.wandb_base_url, WandbApiKey(env.wandb_api_key_secret)))


@cache
def wire_sagemaker() -> SageMaker:
    """Make the client for training jobs that nobody waits for, of which there are hardly any."""
    return SageMaker()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Take one event "SageMaker Training Job State Change"; duplicates and late ones change nothing."""
    w = wire()
    job = TrainingJob.model_validate(event["detail"])
    item_id = event["detail"]["Tags"][ITEM_TAG]
    logger.append_keys(run_queue_item_id=item_id, training_job_name=job.name)
    if job.status not in VERDICTS:
        logger.warning("unknown training job status, waiting on", status=job.status)
    record = w.runs.status_seen(
        item_id, training_job_name=job.name, status=job.secondary_status or job.status, at=job.modified_at
    )
    logger.info("status seen", status=job.status, secondary_status=job.secondary_status)
    if record is None:
        return
    if job.status == "InProgress" and is_stray(Stray(job.name, item_id), record):
        # Its execution ended while start_training was making it.
        wire_sagemaker().stop(job.name)
        logger.warning("stopped a training job that no run waits for")
        return
    trouble = resume(w.runs, w.tokens, record, job, capacity_wait=timedelta(hours=w.env.capacity_wait_hours))
    if trouble:
        warn_once(wire_wandb(), w.runs, record, warning_of(trouble, job))
    elif job.secondary_status == "Interrupted":
        warn_once(wire_wandb(), w.runs, record, interruption_warning())
