"""Tell W&B how the run ended, then close it and free its slot, last. Repeated, it changes nothing."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.build_outcome import Build, build_id_in, explain, explain_without_build
from launch_agent.clients.codebuild import Builds
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.images import ImageClaims
from launch_agent.clients.logs import TrainingLogs
from launch_agent.clients.runs import Runs
from launch_agent.clients.sagemaker import SageMaker
from launch_agent.clients.secrets import WandbApiKey
from launch_agent.clients.wandb import Wandb
from launch_agent.deployment import Deployment
from launch_agent.errors import ImageBuildFailed, WandbRefused
from launch_agent.model import Model
from launch_agent.outcome import Failure, OnItem, TrainingEnd, Verdict, judge
from launch_agent.report import LOG_FILE, algorithm_run, error_log, links, message
from launch_agent.run_queue import parse_run_spec
from launch_agent.run_record import RunRecord, RunState
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


class Wired(NamedTuple):
    """What this function works with, made once for each execution environment."""

    env: Env
    wandb: Wandb
    runs: Runs
    sagemaker: SageMaker
    logs: TrainingLogs


@cache
def wire() -> Wired:
    """Read the environment, and make the clients."""
    env = Env.from_environment()
    wandb = Wandb(GraphqlClient(env.wandb_base_url, WandbApiKey(env.wandb_api_key_secret)))
    return Wired(env, wandb, Runs(env.runs_table), SageMaker(), TrainingLogs())


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:
    """Return the outcome: the verdict, and the reason."""
    w = wire()
    task = Task.model_validate(event)
    logger.append_keys(run_queue_item_id=task.run_queue_item_id)
    record = w.runs.get(task.run_queue_item_id)
    if record is None or record.state is not RunState.OPEN:
        return (record and record.outcome) or outcome(Verdict.NOT_LAUNCHED, "The run is not open here.")
    if not record.acked:
        w.runs.give_back(record)
        return outcome(Verdict.NOT_LAUNCHED, "The item was not acknowledged; W&B hands it out again.")
    result = report_failure(w, record, task) if task.failure else report_end(w, record, task)
    w.runs.close(record, result)
    logger.info("run closed", run_id=record.item.run_id, verdict=result["verdict"])
    return result


def outcome(verdict: Verdict, reason: str) -> dict[str, str]:
    """Say how it ended, as the record keeps it and the execution shows it."""
    return {"verdict": verdict.value, "reason": message(reason)}


def report_end(w: Wired, record: RunRecord, task: Task) -> dict[str, str]:
    """Report a training job that ended, however it did. Raises RunNotSeen while its run may still appear."""
    end, plan = task.training, record.plan
    if end is None or plan is None:
        raise ValueError("an ended run has a plan and an ended training job")
    judgement = judge(
        end,
        run_state=w.wandb.run_state(plan.entity, plan.project, plan.item.run_id),
        expects_wandb_init=plan.expects_wandb_init,
        now=datetime.now(UTC),
        grace=timedelta(seconds=w.env.wandb_init_grace_seconds),
    )
    if plan.is_provided_algorithm:
        w.wandb.write_run(algorithm_run(parse_run_spec(record.spec), record, end))
    if judgement.on_item is not OnItem.LEAVE:
        tell(w, record, task, judgement.reason, stage="run", on_item=judgement.on_item)
    return outcome(judgement.verdict, judgement.reason)


def report_failure(w: Wired, record: RunRecord, task: Task) -> dict[str, str]:
    """Report what kept the launch from going on, and leave no training job of this item behind."""
    if task.failure is None:
        raise ValueError("a failed launch has a failure")
    if record.training_job_name:
        job = w.sagemaker.describe(record.training_job_name)
        if job and job.verdict is None and w.sagemaker.item_of(job) == record.item.id:
            w.sagemaker.stop(job.name)
    build = record.plan.build if record.plan else None
    if task.failure.stage == "build" and build and task.failure.error != ImageBuildFailed.__name__:
        return report_build(w, record, task, task.failure, build.recipe.tag)
    if build:
        ImageClaims(w.env.runs_table).release(build.recipe.tag, record.item.id)
    reason = f"{task.failure.error}: {task.failure.reason}"
    tell(w, record, task, reason, stage=task.failure.stage, on_item=OnItem.FAIL)
    return outcome(Verdict.NOT_LAUNCHED, reason)


def report_build(w: Wired, record: RunRecord, task: Task, failure: Failure, tag: str) -> dict[str, str]:
    """Report a build that ended without an image, to this item and to those that wait for the same image."""
    builds, build_id = Builds(), build_id_in(failure.cause)
    build = builds.find(build_id) if build_id else None
    log = builds.log_tail(build) if build else []
    why = explain(build, log) if build else explain_without_build(failure.error, failure.cause)
    reason = f"{ImageBuildFailed.__name__}: {why}"
    tell(w, record, task, reason, stage="build", on_item=OnItem.FAIL, build=build, log=log)
    ImageClaims(w.env.runs_table).fail(tag, record.item.id, why)
    return outcome(Verdict.NOT_LAUNCHED, reason)


def tell(
    w: Wired,
    record: RunRecord,
    task: Task,
    reason: str,
    *,
    stage: str,
    on_item: OnItem,
    build: Build | None = None,
    log: Sequence[str] = (),
) -> None:
    """Put the reason on the queue item, with error.log. If W&B refuses that, the run ends all the same.

    `build` is the build that failed, if one did, and `log` the end of its log.
    """
    name = record.training_job_name
    where = links(w.env.deployment, execution_arn=task.execution_arn, training_job_name=name)
    tails = w.logs.tails(name) if name else []
    if build:
        where.append(f"Build log:    {build.logs.page}")
        tails.append((f"build {build.id}", list(log)))
    text = error_log(reason, where, tails)
    kind, put = ("error", w.wandb.fail) if on_item is OnItem.FAIL else ("warning", w.wandb.warn)
    try:
        files = w.wandb.attach(record.item, record.launch_agent_name, kind=kind, files={LOG_FILE: text})
        put(record.item, message(reason), stage, files)
    except WandbRefused:
        logger.exception("W&B refused the report")
