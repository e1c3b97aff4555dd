"""Tell W&B how the run ended, then close it and free its slot, last. Repeated, it changes nothing."""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.runs import Runs
from launch_agent.clients.sagemaker import SageMaker
from launch_agent.clients.secrets import WandbApiKey
from launch_agent.clients.wandb import Wandb
from launch_agent.deployment import Deployment
from launch_agent.errors import LaunchFailed, NoSlotFree
from launch_agent.model import Model
from launch_agent.outcome.judgement import Failure
from launch_agent.run_queue.items import Slot
from launch_agent.run_queue.launch_config import LaunchConfig
from launch_agent.runs.record import RunState
from launch_agent.settings import Settings, read_launch_config
from launch_agent.steps.report_outcome import Reporter
from launch_agent.training.training_job import TrainingEnd

logger = Logger()


class Env(Settings):
    """The environment of this function."""

    account_id: str
    partition: str
    region: str
    runs_table: str
    stack_name: str
    wandb_api_key_secret: str
    wandb_base_url: str
    wandb_init_grace_seconds: float

    @property
    def deployment(self) -> Deployment:
        """Where this stack is."""
        return Deployment.model_validate(self.model_dump(include=set(Deployment.model_fields)))


class Task(Model):
    """The input of this function: how the training job ended, or what kept it from being one.

    With `redrives` the failure has been reported, and the execution is to fail, or to launch the run again.
    """

    run_queue_item_id: str
    execution_arn: str
    training: TrainingEnd | None = None
    failure: Failure | None = None
    redrives: int | None = None


class Wired(NamedTuple):
    """What this function works with, made once for each execution environment."""

    config: LaunchConfig
    wandb: Wandb
    runs: Runs
    reporter: Reporter


@cache
def wire() -> Wired:
    """Read the environment and the configuration, and make the clients."""
    env = Env.from_environment()
    wandb = Wandb(GraphqlClient(env.wandb_base_url, WandbApiKey(env.wandb_api_key_secret)))
    runs, grace = Runs(env.runs_table), timedelta(seconds=env.wandb_init_grace_seconds)
    reporter = Reporter(wandb, runs, SageMaker(), runs_table=env.runs_table, deployment=env.deployment, grace=grace)
    return Wired(read_launch_config(), wandb, runs, reporter)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:
    """Return the outcome: the verdict, and the reason. Raises LaunchFailed when that has been reported."""
    w = wire()
    task = Task.model_validate(event)
    logger.append_keys(run_queue_item_id=task.run_queue_item_id)
    if task.redrives is not None:
        return launched_again(w, task, task.redrives)
    return w.reporter.end(
        task.run_queue_item_id, execution_arn=task.execution_arn, training=task.training, failure=task.failure
    )


def launched_again(w: Wired, task: Task, redrives: int) -> dict[str, str]:
    """Open a run once more whose execution was redriven since its launch failed. Raises LaunchFailed if it was not.

    The run spec is W&B's: a closed record has none. Raises NoSlotFree while as many runs are open as may be.
    """
    record = w.runs.get(task.run_queue_item_id)
    if record is None or record.execution_name != task.execution_arn.rpartition(":")[2]:
        raise LaunchFailed("The item is not this execution's any more.")
    if record.redrives >= redrives:
        if record.state is RunState.OPEN:
            return {}  # by an earlier try of this call
        raise LaunchFailed((record.outcome or {}).get("reason", "The item was given back to its queue."))
    spec = w.wandb.run_spec(record.item)
    if spec is None:
        raise LaunchFailed("W&B has no such run queue item any more. Queue the run again.")
    limit = w.config.max_jobs if record.slot is Slot.JOB else w.config.max_schedulers
    if not w.runs.open_again(record, spec=spec, redrives=redrives, at=datetime.now(UTC), limit=limit):
        raise NoSlotFree(f"{limit} runs are open, as many as max_jobs allows; this one is launched when one has ended")
    logger.info("run launched again", run_id=record.item.run_id)
    return {}
