"""Acknowledge the item within its lease, then decide everything about its run before anything is submitted."""

from functools import cache
from typing import Any, NamedTuple

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.runs import Runs
from launch_agent.clients.secrets import WandbApiKey
from launch_agent.clients.service_model import create_training_job_shape
from launch_agent.clients.wandb import Wandb
from launch_agent.deployment import Deployment
from launch_agent.errors import LeaseLost
from launch_agent.launch_config import LaunchConfig
from launch_agent.launch_plan import LaunchPlan, plan_launch
from launch_agent.model import Model
from launch_agent.run_queue import parse_run_spec
from launch_agent.run_record import RunRecord, RunState
from launch_agent.settings import Settings, read_launch_config

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

    @property
    def deployment(self) -> Deployment:
        """Where this stack is."""
        return Deployment.model_validate(self.model_dump(include=set(Deployment.model_fields)))


class Task(Model):
    """The input of this function."""

    run_queue_item_id: str


class Wired(NamedTuple):
    """What this function works with, made once for each execution environment."""

    env: Env
    config: LaunchConfig
    wandb: Wandb
    runs: Runs


@cache
def wire() -> Wired:
    """Read the environment and the configuration, and make the clients."""
    env = Env.from_environment()
    wandb = Wandb(GraphqlClient(env.wandb_base_url, WandbApiKey(env.wandb_api_key_secret)))
    return Wired(env, read_launch_config(), wandb, Runs(env.runs_table))


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return the summary of the launch plan; the plan itself stays in the run's record."""
    w = wire()
    task = Task.model_validate(event)
    logger.append_keys(run_queue_item_id=task.run_queue_item_id)
    record = w.runs.get(task.run_queue_item_id)
    if record is None or record.state is not RunState.OPEN:
        raise LeaseLost(f"run queue item {task.run_queue_item_id} is not open here")
    acknowledge(w, record)
    plan = plan_run(w, record)
    w.runs.planned(plan)
    if plan.warnings:
        w.wandb.warn(record.item, "\n".join(plan.warnings), "agent")
    logger.info("run planned", run_id=record.item.run_id, training_job_name=plan.training_job_name)
    return plan.summary()


def acknowledge(w: Wired, record: RunRecord) -> None:
    """Tell W&B that the item is ours, once. Raises LeaseLost, with the slot freed, when it is not."""
    if record.acked:
        return
    if not w.wandb.ack(record.item, record.launch_agent_id):
        w.runs.give_back(record)
        raise LeaseLost(f"run queue item {record.item.id} went to another launch agent, or back to the queue")
    w.runs.acknowledged(record.item.id)


def plan_run(w: Wired, record: RunRecord) -> LaunchPlan:
    """Read what the plan depends on, and decide."""
    spec = parse_run_spec(record.spec)
    if spec.sweep_id:
        w.wandb.check_sweep(spec.entity, spec.project, spec.sweep_id)
    artifact = None
    if spec.job and not spec.image:
        artifact = w.wandb.job_artifact(spec.job, entity=spec.entity, project=spec.project)
    return plan_launch(
        spec,
        artifact,
        record.item,
        deployment=w.env.deployment,
        shape=create_training_job_shape(),
        secure_mode=w.config.secure_mode,
    )
