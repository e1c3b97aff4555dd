"""Acknowledges the item within its lease, then decides everything about its run before anything is submitted."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from launch_agent.clients.service_model import create_training_job_shape
from launch_agent.errors import AwsRefused, ImageBeingBuilt, ImageBuildFailed, InvalidRunSpec, LeaseLost, WandbRefused
from launch_agent.image.recipe import BUILD_HOSTS, BuildPlan, ImageNote
from launch_agent.model import Model
from launch_agent.operations.metrics import Metric
from launch_agent.outcome.report import AWAITING_BUILD, BUILDING
from launch_agent.plan.agent import Agent
from launch_agent.plan.buckets import bucket_faults
from launch_agent.plan.launch_plan import LaunchPlan, plan_launch
from launch_agent.plan.own_scheduler import as_run
from launch_agent.plan.source import Job
from launch_agent.run_queue.items import Slot, parse_run_spec
from launch_agent.runs.record import RunRecord
from launch_agent.steps.warning import renew_waiting, warn
from launch_agent.wiring import Clients

if TYPE_CHECKING:
    from launch_agent.clients.image_claims import ImageClaim

logger = Logger(child=True)

SURE_OF_LEASE = timedelta(seconds=30)
"""For this time after an item is leased, no other agent can have it. W&B's leases last about a minute."""


class Task(Model):
    """The input from the state machine."""

    run_queue_item_id: str


class PlanRun:
    """Plans a run, and has its image built if it needs one."""

    def __init__(self, clients: Clients) -> None:
        """Create the clients that every plan needs. Those for image builds are created on first use."""
        # First: reading SageMaker's model takes 5 MB, which the clients can use afterwards.
        self._shape = create_training_job_shape()
        self._clients, self._config = clients, clients.config
        self._wandb, self._artifacts, self._runs = clients.wandb, clients.artifacts, clients.runs

    def plan(self, task: Task) -> dict[str, Any]:
        """Return the summary of the launch plan, and the input of the image build; the rest stays in the record.

        Raises ImageBeingBuilt while another item's execution builds the image; the next call continues from the record.
        """
        record = self._runs.open_run(task.run_queue_item_id)
        if record is None:
            raise LeaseLost(f"run queue item {task.run_queue_item_id} is not open here")
        with self._acknowledging(record):
            details = self._runs.details(record.item.id)
            is_sweep = record.slot is Slot.SCHEDULER and not parse_run_spec(details.spec).is_own_scheduler
            plan = None if is_sweep else details.plan or self._decide(record, details.spec)
        if plan is None:
            from launch_agent.steps.planning_sweeps import plan_sweep  # few items are schedulers

            return plan_sweep(self._clients, record)
        if not details.plan:
            self._store(plan)
        return self._claim_or_reuse_image(record, plan, plan.build) if plan.build else plan.summary(image="given")

    @contextmanager
    def _acknowledging(self, record: RunRecord) -> Iterator[None]:
        """Acknowledge the item in W&B, once, while the block reads and decides. The block changes nothing.

        If the item is not ours, frees its slot and raises LeaseLost, whatever the block raises.
        """
        if record.acked:
            yield
            return
        self._clients.agent_api_key()  # here, because each thread knows only the secrets to hide that it has read
        late = datetime.now(UTC) > record.opened_at + SURE_OF_LEASE
        ack = partial(self._wandb.ack, record.item, record.launch_agent_id, late=late)
        answer = self._clients.pool.map(lambda send: send(), [ack])
        try:
            yield
        except Exception:
            self._acknowledged(record, answer)
            raise
        self._acknowledged(record, answer)

    def _acknowledged(self, record: RunRecord, answer: Iterator[bool]) -> None:
        """Record W&B's answer to the acknowledgement. If the item is not ours, frees its slot and raises LeaseLost."""
        try:
            is_ours, refusal = next(answer), ""
        except WandbRefused as error:
            is_ours, refusal = False, f"The item could not be acknowledged. {error}"
        if not is_ours:
            self._runs.give_back(record, refusal=refusal)
            raise LeaseLost(f"run queue item {record.item.id} went to another launch agent, or back to the queue")
        self._runs.acknowledged(record.item.id)

    def _decide(self, record: RunRecord, raw: Any) -> LaunchPlan:
        """Read everything that the plan depends on, and make the plan."""
        spec = parse_run_spec(raw)
        if spec.sweep_id:
            self._wandb.check_sweep(spec.entity, spec.project, spec.sweep_id)
        job = None
        if spec.job and not spec.image:
            job = Job(*self._artifacts.job_with_code(spec.job, entity=spec.entity, project=spec.project))
        queue = None
        if self._config.secure_mode or spec.is_own_scheduler:
            queue = self._wandb.queue_block(record.item)
        if spec.is_own_scheduler:
            spec = as_run(spec, queue, instance_type=self._config.schedulers.instance_type)
        agent = Agent(self._clients.env.deployment, self._config, self._shape, self._entry_point_of, self._prices_of)
        plan = plan_launch(spec, job, record.item, agent, queue)
        self._check_buckets(plan)
        return plan

    def _store(self, plan: LaunchPlan) -> None:
        """Store a new plan, and put its warnings on the item."""
        warnings = [*plan.warnings, *self._key_warning(plan)]
        if warnings:
            warn(self._clients, plan.item, "\n".join(warnings), "agent")
        self._runs.planned(plan)
        logger.info("run planned", run_id=plan.item.run_id, training_job_name=plan.training_job_name)

    def _entry_point_of(self, image: str) -> tuple[str, ...] | None:
        return self._clients.image_configs.entry_point(image)

    def _prices_of(self, types: set[str]) -> Mapping[str, float]:
        """Return the prices of an hour, by instance type. The rules of the policy refuse a type without a price."""
        try:
            return self._clients.prices.of(types).an_hour
        except AwsRefused:
            logger.warning("no prices for the rules of the policy", exc_info=True)
            return {}

    def _key_warning(self, plan: LaunchPlan) -> Iterator[str]:
        """Yield a warning, once for each queue, if containers get the launch agent's own API key."""
        item = plan.item
        if plan.gets_agents_key and self._runs.agents.warned(item.entity, item.queue):
            yield (
                f'Containers of queue "{item.queue}" get the launch agent\'s own W&B API key, and everyone who can '
                "queue a run can use it. Deploy the stack with the parameter RunApiKeySecretArn, for example with the "
                "key of a service account. This warning is put on one item of the queue only."
            )

    def _check_buckets(self, plan: LaunchPlan) -> None:
        """Raise InvalidRunSpec where a bucket is missing or elsewhere: SageMaker says so when the job has been paid."""
        faults = bucket_faults(plan.training_request, self._clients.env.region, self._clients.buckets.find)
        if said := list(faults):
            raise InvalidRunSpec(said, queue=plan.item.queue)

    def _claim_or_reuse_image(self, record: RunRecord, plan: LaunchPlan, build: BuildPlan) -> dict[str, Any]:
        """Use the image if a build reported it and the repository has it. Otherwise order its build, once for all."""
        claim = self._claim(record, build)
        if claim.image:
            return self._reuse_image(record, plan, claim.image)
        ordered = self._order_build(plan, build, claim)
        renew_waiting(self._clients, record, BUILDING, stage="build")
        return ordered

    def _claim(self, record: RunRecord, build: BuildPlan) -> "ImageClaim":
        """Return the claim of the image: one with an image that exists, or this item's own, to order the build.

        Raises ImageBeingBuilt while another item builds it, and ImageBuildFailed if the build this item waited for
        failed.
        """
        claims, tag, me = self._clients.image_claims, build.tag, record.item.id
        claim = claims.find(tag)
        if claim and claim.image and self._clients.image_repository.has(claim.image.digest):
            return claim
        # A claim with an image that the repository does not have any more is replaced, too.
        if claim is None or claim.image or self._has_failed(record, claim):
            claim = claims.claim(tag, me, after=claim)
        if claim and claim.owner == me and claim.image is None:
            return claim
        if claim:
            self._runs.awaits_build(me, claim.owner)
            renew_waiting(self._clients, record, AWAITING_BUILD, stage="build")
        raise ImageBeingBuilt(f"the image {build.image} is being built for run queue item {claim and claim.owner}")

    def _has_failed(self, record: RunRecord, claim: "ImageClaim") -> bool:
        """Whether a build ended without an image.

        Raises ImageBuildFailed if that is the build this item waited for.
        """
        if claim.failure and claim.owner == record.awaits_build_of:
            raise ImageBuildFailed(f"run queue item {claim.owner} needed the same image: {claim.failure}")
        return bool(claim.failure) or self._runs.unreported_run(claim.owner) is None

    def _order_build(self, plan: LaunchPlan, build: BuildPlan, claim: "ImageClaim") -> dict[str, Any]:
        """Store the build plan under the claim's token, which no other build can guess."""
        # Claims of version 0.1.0 have no token. Delete with tests/upgrade/0.1.0.
        token = claim.token or build.token or secrets.token_hex(16)
        ordered = build.model_copy(update={"token": token})
        self._runs.planned(plan.model_copy(update={"build": ordered}))
        logger.info("image to be built", image=build.image)
        self._clients.metrics.count(Metric.BUILDS_STARTED)
        key = self._clients.build_bucket.store_plan(ordered)
        return plan.summary(image="to be built") | {"build": {"plan_key": key, **BUILD_HOSTS[build.recipe.platform]}}

    def _reuse_image(self, record: RunRecord, plan: LaunchPlan, image: ImageNote) -> dict[str, Any]:
        """Plan the run with an image that exists. The warnings of its build are put on this item too."""
        if image.warnings:
            warn(self._clients, record.item, "\n".join(image.warnings), "build")
        plan = plan.with_image(self._clients.image_repository.at(image.digest), image)
        self._runs.planned(plan)
        self._clients.metrics.count(Metric.IMAGES_REUSED)
        return plan.summary(image="reused")
