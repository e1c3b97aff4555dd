"""Tell W&B how the run ended, then close it and free its slot, last. Repeated, it changes nothing."""

from datetime import timedelta
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.runs import Runs
from launch_agent.clients.sagemaker import SageMaker
from launch_agent.clients.secrets import WandbApiKey
from launch_agent.clients.wandb import Wandb
from launch_agent.deployment import Deployment
from launch_agent.model import Model
from launch_agent.outcome import Failure, TrainingEnd
from launch_agent.reporting import Reporter
from launch_agent.settings import Settings

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
    """The input of this function: how the training job ended, or what kept it from being one."""

    run_queue_item_id: str
    execution_arn: str
    training: TrainingEnd | None = None
    failure: Failure | None = None


@cache
def wire() -> Reporter:
    """Read the environment, and make what reports."""
    env = Env.from_environment()
    wandb = Wandb(GraphqlClient(env.wandb_base_url, WandbApiKey(env.wandb_api_key_secret)))
    grace = timedelta(seconds=env.wandb_init_grace_seconds)
    return Reporter(
        wandb, Runs(env.runs_table), SageMaker(), runs_table=env.runs_table, deployment=env.deployment, grace=grace
    )


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:
    """Return the outcome: the verdict, and the reason."""
    task = Task.model_validate(event)
    logger.append_keys(run_queue_item_id=task.run_queue_item_id)
    return wire().end(
        task.run_queue_item_id, execution_arn=task.execution_arn, training=task.training, failure=task.failure
    )
