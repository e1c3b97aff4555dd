"""Acknowledge the item within its lease, then decide everything about its run before anything is submitted."""

from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda_powertools import Logger

from launch_agent.clients.service_model import create_training_job_shape
from launch_agent.errors import ImageBeingBuilt, ImageBuildFailed, LeaseLost
from launch_agent.image.recipe import BUILD_HOSTS, BuildPlan
from launch_agent.model import Model
from launch_agent.plan.launch_plan import LaunchPlan, plan_launch
from launch_agent.run_queue.items import parse_run_spec
from launch_agent.runs.record import RunRecord
from launch_agent.wiring import Clients

logger = Logger(child=True)

SURE_OF_LEASE = timedelta(seconds=30)
"""For so long after it was leased nobody else can have an item; W&B's leases last about a minute."""


class Task(Model):
    """What the state machine sends."""

    run_queue_item_id: str


class PlanRun:
    """Plans one run at a time, with or without an image of ours."""

    def __init__(self, clients: Clients) -> None:
        """Take the clients; those for images cost a cold start for image jobs nothing."""
        # First: SageMaker's model takes 5 MB while it is read, which the clients use after it.
        self._shape = create_training_job_shape()
        self._clients, self._config = clients, clients.config
        self._wandb, self._artifacts, self._runs = clients.wandb, clients.artifacts, clients.runs

    def plan(self, task: Task) -> dict[str, Any]:
        """Return the summary of the launch plan, and what the build of its image needs; the rest stays in the record.

        Raises ImageBeingBuilt while another item's execution builds the image; the next call goes on from the record.
        """
        record = self._runs.open_run(task.run_queue_item_id)
        if record is None:
            raise LeaseLost(f"run queue item {task.run_queue_item_id} is not open here")
        self._acknowledge(record)
        plan = record.plan or self._decide(record)
        return self._claim_or_reuse_image(record, plan, plan.build) if plan.build else plan.summary(image="given")

    def _acknowledge(self, record: RunRecord) -> None:
        """Tell W&B that the item is ours, once. Raises LeaseLost, with the slot freed, when it is not."""
        if record.acked:
            return
        late = datetime.now(UTC) > record.opened_at + SURE_OF_LEASE
        if not self._wandb.ack(record.item, record.launch_agent_id, late=late):
            self._runs.give_back(record)
            raise LeaseLost(f"run queue item {record.item.id} went to another launch agent, or back to the queue")
        self._runs.acknowledged(record.item.id)

    def _decide(self, record: RunRecord) -> LaunchPlan:
        """Read what the plan depends on, decide, and store what was decided."""
        spec = parse_run_spec(record.spec)
        if spec.sweep_id:
            self._wandb.check_sweep(spec.entity, spec.project, spec.sweep_id)
        artifact, code = None, None
        if spec.job and not spec.image:
            artifact, code = self._artifacts.job_with_code(spec.job, entity=spec.entity, project=spec.project)
        plan = plan_launch(
            spec,
            artifact,
            record.item,
            deployment=self._clients.env.deployment,
            shape=self._shape,
            code=code,
            config=self._config,
        )
        if plan.warnings:
            self._wandb.warn(record.item, "\n".join(plan.warnings), "agent")
        self._runs.planned(plan)
        logger.info("run planned", run_id=record.item.run_id, training_job_name=plan.training_job_name)
        return plan

    def _claim_or_reuse_image(self, record: RunRecord, plan: LaunchPlan, build: BuildPlan) -> dict[str, Any]:
        """Use the image if the repository has it, else have it built, by one execution for all that need it."""
        tag = build.recipe.tag
        address = self._clients.image_repository.find(tag)
        if address is None:
            self._claim_build(record, build)
            # It may have been built, and its claim released, between the look and the claim.
            address = self._clients.image_repository.find(tag)
            if address is None:
                logger.info("image to be built", image=build.image)
                key = self._clients.build_bucket.store_plan(build)
                host = BUILD_HOSTS[build.recipe.platform]
                return plan.summary(image="to be built") | {"build": {"plan_key": key, **host}}
            self._clients.image_claims.release(tag, record.item.id)
        return self._reuse_image(record, plan, tag, address)

    def _reuse_image(self, record: RunRecord, plan: LaunchPlan, tag: str, address: str) -> dict[str, Any]:
        """Plan the run with an image that is there; its builder's warnings are this item's too."""
        note = self._clients.build_bucket.note(tag)
        if note and note.warnings:
            self._wandb.warn(record.item, "\n".join(note.warnings), "build")
        plan = plan.with_image(address, note)
        self._runs.planned(plan)
        return plan.summary(image="reused")

    def _claim_build(self, record: RunRecord, build: BuildPlan) -> None:
        """Claim the build of an image.

        Raises ImageBeingBuilt, or ImageBuildFailed when the build waited for has failed.
        """
        claims, tag, me = self._clients.image_claims, build.recipe.tag, record.item.id
        claim = claims.claim(tag, me)
        if claim and claim.owner != me:
            if claim.failure and claim.owner == record.awaits_build_of:
                raise ImageBuildFailed(f"run queue item {claim.owner} needed the same image: {claim.failure}")
            if claim.failure or self._runs.open_run(claim.owner) is None:
                claim = claims.claim(tag, me, after=claim)
        if claim is None or claim.owner != me:
            if claim:
                self._runs.awaits_build(me, claim.owner)
            raise ImageBeingBuilt(f"the image {build.image} is being built for run queue item {claim and claim.owner}")
