"""Acknowledge the item within its lease, then decide everything about its run before anything is submitted."""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.clients.artifacts import Artifacts
from launch_agent.clients.build_bucket import BuildBucket
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.image_claims import ImageClaims
from launch_agent.clients.image_repository import ImageRepository
from launch_agent.clients.runs import Runs
from launch_agent.clients.secrets import WandbApiKey
from launch_agent.clients.service_model import create_training_job_shape
from launch_agent.clients.wandb import Wandb
from launch_agent.deployment import Deployment
from launch_agent.errors import ImageBeingBuilt, ImageBuildFailed, LeaseLost
from launch_agent.image.recipe import BUILD_HOSTS, BuildPlan
from launch_agent.model import Model
from launch_agent.plan.launch_plan import LaunchPlan, plan_launch
from launch_agent.run_queue.items import parse_run_spec
from launch_agent.run_queue.launch_config import LaunchConfig
from launch_agent.runs.record import RunRecord, RunState
from launch_agent.settings import Settings, read_launch_config

logger = Logger()

SURE_OF_LEASE = timedelta(seconds=30)
"""For so long after it was leased nobody else can have an item; W&B's leases last about a minute."""


class Env(Settings):
    """The environment of this function."""

    account_id: str
    build_bucket: str
    image_repository: str
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
    artifacts: Artifacts
    runs: Runs


class Images(NamedTuple):
    """What it works with beside, for jobs that come as code."""

    repository: ImageRepository
    claims: ImageClaims
    bucket: BuildBucket


@cache
def wire() -> Wired:
    """Read the environment and the configuration, and make the clients."""
    env = Env.from_environment()
    graphql = GraphqlClient(env.wandb_base_url, WandbApiKey(env.wandb_api_key_secret))
    return Wired(env, read_launch_config(), Wandb(graphql), Artifacts(graphql), Runs(env.runs_table))


@cache
def wire_images() -> Images:
    """Make the clients for images, which cost a cold start for image jobs nothing."""
    env = Env.from_environment()
    return Images(ImageRepository(env.image_repository), ImageClaims(env.runs_table), BuildBucket(env.build_bucket))


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return the summary of the launch plan, and what the build of its image needs; the rest stays in the record.

    Raises ImageBeingBuilt while another item's execution builds the image; the next call goes on from the record.
    """
    w = wire()
    task = Task.model_validate(event)
    logger.append_keys(run_queue_item_id=task.run_queue_item_id)
    record = w.runs.get(task.run_queue_item_id)
    if record is None or record.state is not RunState.OPEN:
        raise LeaseLost(f"run queue item {task.run_queue_item_id} is not open here")
    acknowledge(w, record)
    plan = record.plan or plan_run(w, record)
    return prepared(w, record, plan, plan.build) if plan.build else plan.summary(image="given")


def acknowledge(w: Wired, record: RunRecord) -> None:
    """Tell W&B that the item is ours, once. Raises LeaseLost, with the slot freed, when it is not."""
    if record.acked:
        return
    late = datetime.now(UTC) > record.opened_at + SURE_OF_LEASE
    if not w.wandb.ack(record.item, record.launch_agent_id, late=late):
        w.runs.give_back(record)
        raise LeaseLost(f"run queue item {record.item.id} went to another launch agent, or back to the queue")
    w.runs.acknowledged(record.item.id)


def plan_run(w: Wired, record: RunRecord) -> LaunchPlan:
    """Read what the plan depends on, decide, and store what was decided."""
    spec = parse_run_spec(record.spec)
    if spec.sweep_id:
        w.wandb.check_sweep(spec.entity, spec.project, spec.sweep_id)
    artifact, code = None, None
    if spec.job and not spec.image:
        artifact, code = w.artifacts.job_with_code(spec.job, entity=spec.entity, project=spec.project)
    plan = plan_launch(
        spec,
        artifact,
        record.item,
        deployment=w.env.deployment,
        shape=create_training_job_shape(),
        code=code,
        config=w.config,
    )
    if plan.warnings:
        w.wandb.warn(record.item, "\n".join(plan.warnings), "agent")
    w.runs.planned(plan)
    logger.info("run planned", run_id=record.item.run_id, training_job_name=plan.training_job_name)
    return plan


def prepared(w: Wired, record: RunRecord, plan: LaunchPlan, build: BuildPlan) -> dict[str, Any]:
    """Use the image if the repository has it, else have it built, by one execution for all that need it."""
    images, tag = wire_images(), build.recipe.tag
    address = images.repository.find(tag)
    if address is None:
        claim_build(w, images, record, build)
        # It may have been built, and its claim released, between the look and the claim.
        address = images.repository.find(tag)
        if address is None:
            logger.info("image to be built", image=build.image)
            key = images.bucket.store_plan(build)
            return plan.summary(image="to be built") | {
                "build": {"plan_key": key, **BUILD_HOSTS[build.recipe.platform]}
            }
        images.claims.release(tag, record.item.id)
    note = images.bucket.note(tag)
    if note and note.warnings:
        w.wandb.warn(record.item, "\n".join(note.warnings), "build")
    plan = plan.with_image(address, note)
    w.runs.planned(plan)
    return plan.summary(image="reused")


def claim_build(w: Wired, images: Images, record: RunRecord, build: BuildPlan) -> None:
    """Claim the build of an image. Raises ImageBeingBuilt, or ImageBuildFailed when the build waited for has failed."""
    tag, me = build.recipe.tag, record.item.id
    claim = images.claims.claim(tag, me)
    if claim and claim.owner != me:
        if claim.failure and claim.owner == record.awaits_build_of:
            raise ImageBuildFailed(f"run queue item {claim.owner} needed the same image: {claim.failure}")
        owner = w.runs.get(claim.owner)
        if claim.failure or owner is None or owner.state is not RunState.OPEN:
            claim = images.claims.claim(tag, me, after=claim)
    if claim is None or claim.owner != me:
        if claim:
            w.runs.awaits_build(me, claim.owner)
        raise ImageBeingBuilt(f"the image {build.image} is being built for run queue item {claim and claim.owner}")
