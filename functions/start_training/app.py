"""Remember the task token, then submit the training job, with the API key put in here and nowhere before."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import chain, count, islice
from typing import Any, NamedTuple, NoReturn

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.clients.build_bucket import BuildBucket
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.image_claims import ImageClaims
from launch_agent.clients.image_repository import ImageRepository
from launch_agent.clients.runs import Runs
from launch_agent.clients.sagemaker import SageMaker
from launch_agent.clients.secrets import WandbApiKey
from launch_agent.clients.task_tokens import TaskTokens
from launch_agent.clients.wandb import Wandb
from launch_agent.errors import (
    AwsThrottled,
    CapacityUnavailable,
    CapacityWaitEnded,
    ImageBuildFailed,
    TrainingJobRejected,
)
from launch_agent.image.recipe import BuildPlan
from launch_agent.model import Model
from launch_agent.outcome.report import capacity_warning
from launch_agent.plan.launch_plan import LaunchPlan, own_api_key
from launch_agent.plan.run_environment import API_KEY, RESUME
from launch_agent.plan.training_request import alternative_training_job_name
from launch_agent.run_queue.items import parse_run_spec
from launch_agent.runs.record import RunRecord
from launch_agent.settings import Settings
from launch_agent.steps.resume_run import resume, warn_once
from launch_agent.training.retries import Trouble, may_try_again

logger = Logger()

_NAMES_TRIED = 5
_ENDED = "the run has ended before its training job could start"


class Env(Settings):
    """The environment of this function."""

    build_bucket: str
    capacity_wait_hours: float
    image_repository: str
    runs_table: str
    wandb_api_key_secret: str
    wandb_base_url: str


class Task(Model):
    """The input of this function."""

    run_queue_item_id: str
    task_token: str


class Wired(NamedTuple):
    """What this function works with, made once for each execution environment."""

    env: Env
    agent_api_key: WandbApiKey
    runs: Runs
    sagemaker: SageMaker
    tokens: TaskTokens


@cache
def wire() -> Wired:
    """Read the environment, and make the clients."""
    env = Env.from_environment()
    return Wired(env, WandbApiKey(env.wandb_api_key_secret), Runs(env.runs_table), SageMaker(), TaskTokens())


@cache
def wire_wandb() -> Wandb:
    """Make the client for warnings, which most runs do without."""
    env = Env.from_environment()
    return Wandb(GraphqlClient(env.wandb_base_url, WandbApiKey(env.wandb_api_key_secret)))


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return the name of the training job whose end answers the task token."""
    w = wire()
    task = Task.model_validate(event)
    logger.append_keys(run_queue_item_id=task.run_queue_item_id)
    record = w.runs.get(task.run_queue_item_id)
    if record is None or record.plan is None:
        raise TrainingJobRejected(f"run queue item {task.run_queue_item_id} has no plan here: it has ended before.")
    plan = with_built_image(w, record.plan, record.plan.build)
    request = {**plan.training_request, "Environment": environment(w, record, plan)}
    for name in names(plan, record.ended_jobs):
        # Token first: a job that ends at once can send its event before this function returns.
        if not w.runs.awaiting(task.run_queue_item_id, training_job_name=name, task_token=task.task_token):
            raise TrainingJobRejected(_ENDED)
        try:
            created = w.sagemaker.create({**request, "TrainingJobName": name})
        except CapacityUnavailable as error:
            # What is used up may be used by a job that an earlier try has made, without hearing of it.
            if not adopted(w, name, task):
                wait_for_capacity(w, record, error)
            return {"training_job_name": name}
        if created:
            logger.info("training job created", training_job_name=name)
            return {"training_job_name": name}
        if adopted(w, name, task):
            return {"training_job_name": name}
    raise TrainingJobRejected(
        f'the name "{plan.training_job_name}" and {_NAMES_TRIED - 1} like it are taken by other training jobs. '
        "Give the run another id, or leave TrainingJobName out of the queue's configuration."
    )


def wait_for_capacity(w: Wired, record: RunRecord, error: CapacityUnavailable) -> NoReturn:
    """Say on the queue item what the run waits for. Raises the error again, or CapacityWaitEnded when it is enough."""
    now, wait = datetime.now(UTC), timedelta(hours=w.env.capacity_wait_hours)
    since = w.runs.refused(record.item.id, at=now)
    if not may_try_again(Trouble.CAPACITY, capacity_awaited_since=since, now=now, capacity_wait=wait):
        raise CapacityWaitEnded(f"there was no room for {w.env.capacity_wait_hours:g} hours: {error}") from None
    warn_once(wire_wandb(), w.runs, record, capacity_warning(str(error)))
    raise error


def with_built_image(w: Wired, plan: LaunchPlan, build: BuildPlan | None) -> LaunchPlan:
    """Return the plan with the image that was built for it, by digest; others may use the image from now on.

    Raises ImageBuildFailed when the repository has no such image.
    """
    if build is None or plan.image_uri != build.image:
        return plan
    address = ImageRepository(w.env.image_repository).find(build.recipe.tag)
    if address is None:
        raise ImageBuildFailed(f"the build has ended, and there is no image {build.image}. Queue the run again.")
    built = plan.with_image(address, BuildBucket(w.env.build_bucket).note(build.recipe.tag))
    w.runs.planned(built)
    ImageClaims(w.env.runs_table).release(build.recipe.tag, plan.item.id)
    return built


def environment(w: Wired, record: RunRecord, plan: LaunchPlan) -> dict[str, str]:
    """Return the container's environment with the API key: the queue's, else the run spec's, else this agent's."""
    key = own_api_key(parse_run_spec(record.spec)) or w.agent_api_key()
    again = {RESUME: "allow"} if record.ended_jobs or record.redrives else {}
    return {**again, **plan.training_request["Environment"], API_KEY: key}


def names(plan: LaunchPlan, ended_jobs: Collection[str]) -> Iterator[str]:
    """Yield the training job names to try, in order, but for those of jobs that came to nothing."""
    alternatives = (alternative_training_job_name(plan.training_job_name, plan.item.id, n) for n in count(1))
    wanted = (name for name in chain([plan.training_job_name], alternatives) if name not in ended_jobs)
    return islice(wanted, _NAMES_TRIED)


def adopted(w: Wired, name: str, task: Task) -> bool:
    """Take over a training job that an earlier try of ours has made; answer for it at once when it has ended."""
    job, record = w.sagemaker.describe(name), w.runs.get(task.run_queue_item_id)
    if job is None or record is None or w.sagemaker.item_of(job) != task.run_queue_item_id:
        return False
    if record.redrives and job.created_at and job.created_at < record.opened_at:
        if job.verdict is None:
            raise AwsThrottled(f"the training job {name}, of the launch that failed, has not ended yet")
        return False
    logger.info("training job adopted", training_job_name=name)
    resume(w.runs, w.tokens, record, job, capacity_wait=timedelta(hours=w.env.capacity_wait_hours))
    return True
