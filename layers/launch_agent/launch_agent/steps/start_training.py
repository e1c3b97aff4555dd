"""Stores the container's credentials and the task token, then submits the training job.

No earlier step has the API key.
"""

import secrets
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain, count, islice
from typing import Any, NoReturn

from aws_lambda_powertools import Logger

from launch_agent.errors import (
    AwsThrottled,
    CapacityUnavailable,
    CapacityWaitEnded,
    ImageBuildFailed,
    InvalidRunSpec,
    TrainingJobRejected,
)
from launch_agent.image.dockerfile import is_entry_point_of
from launch_agent.image.recipe import BuildPlan, ImageNote
from launch_agent.model import Model
from launch_agent.operations.metrics import Metric
from launch_agent.outcome.events import run_launched
from launch_agent.outcome.report import capacity_warning
from launch_agent.outcome.results import config_keys
from launch_agent.plan.delivery import start_of
from launch_agent.plan.launch_plan import LaunchPlan
from launch_agent.plan.run_environment import MOST_VARIABLES, with_run_config
from launch_agent.plan.secret_references import filled
from launch_agent.plan.training_request import alternative_training_job_name
from launch_agent.run_queue.items import parse_run_spec
from launch_agent.runs.record import RunDetails, RunRecord
from launch_agent.steps.announcing import announce
from launch_agent.steps.results import Results
from launch_agent.steps.resuming import Resuming
from launch_agent.steps.warning import renew_waiting
from launch_agent.training.retries import RetryReason, may_try_again
from launch_agent.wiring import Clients

logger = Logger(child=True)

_NAMES_TRIED = 5
_NO_PLAN = "the run has ended, or another version of the launch agent planned it. Queue the run again."
_ENDED = "the run ended before its training job could start."


class Task(Model):
    """The input from the state machine."""

    run_queue_item_id: str
    task_token: str


class StartTraining:
    """Submits the training job of a run. A repeated call adopts the job that an earlier call created."""

    def __init__(self, clients: Clients) -> None:
        """Create the clients."""
        self._clients, self._runs, self._sagemaker = clients, clients.runs, clients.sagemaker
        self._api_key, self._bucket = clients.container_api_key, clients.credentials_bucket

    def start(self, task: Task) -> dict[str, str]:
        """Submit or adopt the run's training job, and return its name. Its end answers the task token."""
        found = self._clients.pool.map(self._runs.open_run, [task.run_queue_item_id])
        details, record = self._runs.details(task.run_queue_item_id), next(found)
        if record is None or details.plan is None:
            raise TrainingJobRejected(_NO_PLAN)
        plan = self._pin_built_image(details.plan, details.plan.build)
        if plan.delivery:
            record = self._with_folder(record)
        for name in _names(plan, record.ended_jobs):
            named = self._with_links({**plan.training_request, "TrainingJobName": name}, record, plan)
            # Before the task token is stored: the run could end before it has begun.
            Results(self._clients).begin(record, RunDetails(details.spec, plan), named)
            if self._submit(self._request(named, record, details.spec, plan), record, task, plan.instance_limits):
                announce(self._clients, run_launched(record, name, self._clients.env.deployment))
                return {"training_job_name": name}
        raise TrainingJobRejected(
            f'the name "{plan.training_job_name}" and {_NAMES_TRIED - 1} alternatives are taken by other training '
            "jobs. Use another run id, or remove TrainingJobName from the queue's configuration."
        )

    def _submit(self, request: dict[str, Any], record: RunRecord, task: Task, limits: Mapping[str, int]) -> bool:
        """Submit a training job, or adopt the job of that name if it is ours. Return False if it is not ours.

        Raises CapacityUnavailable, CapacityWaitEnded, and TrainingJobRejected.
        """
        name = request["TrainingJobName"]
        # Token first: a job that ends at once can send its event before this function returns.
        if not self._runs.awaiting(task.run_queue_item_id, training_job_name=name, task_token=task.task_token):
            if record.credentials:
                # The run was closed while they were being stored.
                self._bucket.delete(record.credentials)
            raise TrainingJobRejected(_ENDED)
        try:
            if limits:
                self._clients.instance_limits.take(limits, record.item.id)
            created = self._sagemaker.create(request)
        except CapacityUnavailable as error:
            # The job of an earlier try that did not get SageMaker's answer may be what uses up the quota.
            return self._adopt(task) or self._wait_for_capacity(record, error)
        if created:
            logger.info("training job created", training_job_name=name)
            seconds = (datetime.now(UTC) - record.opened_at).total_seconds()
            self._clients.metrics.put({Metric.RUNS_LAUNCHED: 1, Metric.SECONDS_TO_LAUNCH: seconds})
        if created or self._adopt(task):
            return True
        if name == record.training_job_name and not self._sagemaker.is_known_not_ours(name):
            # An earlier try may have created it: with another job, the run would have two.
            raise TrainingJobRejected(
                f"the training job {name} exists, and AWS does not show whether it is this run's. Allow "
                "sagemaker:DescribeTrainingJob and sagemaker:ListTags, and queue the run again."
            )
        return False

    def _wait_for_capacity(self, record: RunRecord, error: CapacityUnavailable) -> NoReturn:
        """Put on the queue item what the run waits for, and raise the error again.

        Raises CapacityWaitEnded if the run has waited for `CapacityWaitHours`.
        """
        now, env = datetime.now(UTC), self._clients.env
        self._clients.metrics.count(Metric.CAPACITY_REFUSALS)
        since = self._runs.refused(record.item.id, at=now)
        wait = env.capacity_wait
        if not may_try_again(RetryReason.CAPACITY, capacity_awaited_since=since, now=now, capacity_wait=wait):
            raise CapacityWaitEnded(
                f"there was no room for the training job for {env.capacity_wait_hours:g} hours: {error}"
            ) from None
        renew_waiting(self._clients, record, capacity_warning(str(error)))
        raise error

    def _pin_built_image(self, plan: LaunchPlan, build: BuildPlan | None) -> LaunchPlan:
        """Return the plan with the image that its build reported, by digest. Other runs may use the image from now on.

        Raises ImageBuildFailed if the build reported no image, a wrong entry point, or an image that does not exist.
        """
        if build is None or plan.image_uri != build.image:
            return plan
        image, repository = self._reported_image(build), self._clients.image_repository
        if image is None or not repository.has(image.digest):
            raise ImageBuildFailed(f"the build ended without the image {build.image}. Queue the run again.")
        if not is_entry_point_of(build.recipe, image.entry_point):
            started = " ".join(image.entry_point)[:200]
            raise ImageBuildFailed(f'the image has the entry point "{started}", which is not the job\'s.')
        self._clients.image_claims.built(build.tag, plan.item.id, build.token, image)
        built = plan.with_image(repository.at(image.digest), image)
        self._runs.planned(built)
        return built

    def _reported_image(self, build: BuildPlan) -> ImageNote | None:
        """Return the note of a plan's build, or None."""
        bucket = self._clients.build_bucket
        image = bucket.note(build)
        if image is None and build.token is None:
            # Version 0.1.0 started it. Delete with tests/upgrade/0.1.0.
            pushed = self._clients.image_repository.by_tag(build.tag)
            image = bucket.note_by_tag(build.tag, digest=pushed.digest) if pushed else None
        return image

    def _with_folder(self, record: RunRecord) -> RunRecord:
        """Return the record with the name of its folder, which is recorded before anything is in the folder.

        Raises TrainingJobRejected if the run has ended.
        """
        item_id = record.item.id
        if record.credentials or self._runs.stores_credentials(item_id, folder := secrets.token_hex(16)):
            return record if record.credentials else record.model_copy(update={"credentials": folder})
        changed = self._runs.open_run(item_id)
        if changed is None:
            raise TrainingJobRejected(_ENDED)
        return changed

    def _request(self, planned: Mapping[str, Any], record: RunRecord, spec: Any, plan: LaunchPlan) -> dict[str, Any]:
        """Store the container's credentials in the run's folder, if it has one; return the request to submit."""
        folder = record.credentials or ""
        start = start_of(
            planned,
            plan.delivery,
            folder=self._bucket.uri(folder),
            api_key=plan.api_key(parse_run_spec(spec), self._api_key),
            again=bool(record.ended_jobs or record.redrives),
            fill=self._fill,
        )
        self._bucket.store(folder, start.files, self._clients.pool)
        return start.request

    def _fill(self, value: str) -> str:
        """Return the value of a variable with the secrets that it names. Raises InvalidRunSpec for one not allowed."""
        allowed = self._clients.env.run_secret_arns
        try:
            return filled(value, allowed, lambda named: self._clients.run_secrets.value(named.arn, named.key))
        except LookupError:
            raise InvalidRunSpec([f"{value} names a secret that RunSecretArns does not list."]) from None

    def _with_links(self, request: dict[str, Any], record: RunRecord, plan: LaunchPlan) -> dict[str, Any]:
        """Return the request with the training job in the run's config, which the container's wandb.init writes."""
        if plan.is_provided_algorithm:
            return request
        keys = config_keys(self._clients.env.deployment, record, request)
        # NETRC or the API key, and WANDB_RESUME, are added later.
        most = None if plan.delivery and plan.delivery.through_sh else MOST_VARIABLES - 2
        return {**request, "Environment": with_run_config(request["Environment"], keys, most=most)}

    def _adopt(self, task: Task) -> bool:
        """Adopt the training job that an earlier try created; if it has ended, answer the task token.

        Return False if there is no job to adopt. Raises AwsThrottled while the job of the failed launch still runs.
        """
        record = self._runs.get(task.run_queue_item_id)
        job = self._sagemaker.job_of(record) if record else None
        if record is None or job is None:
            return False
        if record.redrives and job.created_at and job.created_at < record.opened_at:
            if job.verdict is None:
                raise AwsThrottled(f"the training job {job.name} of the failed launch has not ended yet")
            return False
        logger.info("training job adopted", training_job_name=job.name)
        Resuming(self._clients).resume(record, job)
        return True


def _names(plan: LaunchPlan, ended_jobs: Collection[str]) -> Iterator[str]:
    """Return the training job names to try, in order, without those of jobs that ended."""
    alternatives = (alternative_training_job_name(plan.training_job_name, plan.item.id, n) for n in count(1))
    left = (name for name in chain([plan.training_job_name], alternatives) if name not in ended_jobs)
    return islice(left, _NAMES_TRIED)
