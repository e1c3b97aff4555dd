"""A training job changed its status: record it, and at its end answer the task token that waits for it."""

from aws_lambda_powertools import Logger

from launch_agent.operations.repair import OrphanJob, is_orphan
from launch_agent.outcome.report import interruption_warning
from launch_agent.steps.resuming import Resuming
from launch_agent.steps.warning import warn_once
from launch_agent.training.status_event import StatusEvent
from launch_agent.training.training_job import VERDICTS, TrainingJob, item_in
from launch_agent.wiring import Clients

logger = Logger(child=True)


class ResumeRun:
    """One status event at a time; duplicates and late ones change nothing."""

    def __init__(self, clients: Clients) -> None:
        """Take the clients."""
        self._clients, self._runs, self._resuming = clients, clients.runs, Resuming(clients)

    def status_changed(self, event: StatusEvent) -> None:
        """Do what the status of a training job asks for, if this stack made the job."""
        job, item_id = self._job_and_item(event)
        if job is None or item_id is None:
            return
        logger.append_keys(run_queue_item_id=item_id, training_job_name=job.name)
        if job.status not in VERDICTS:
            logger.warning("unknown training job status, waiting on", status=job.status)
        record = self._runs.status_seen(
            item_id, training_job_name=job.name, status=job.secondary_status or job.status, at=job.modified_at
        )
        logger.info("status seen", status=job.status, secondary_status=job.secondary_status)
        if record is None:
            return
        if job.status == "InProgress" and is_orphan(OrphanJob(job.name, item_id), record):
            # Its execution ended while start_training was making it.
            self._clients.sagemaker.stop(job.name)
            logger.warning("stopped a training job that no run waits for")
            return
        self._resuming.resume(record, job)
        if job.secondary_status == "Interrupted":
            warn_once(self._clients, record, interruption_warning())

    def _job_and_item(self, event: StatusEvent) -> tuple[TrainingJob | None, str | None]:
        """Return the training job of an event and its run queue item. SageMaker is asked for what the event lacks.

        None for the item when the job is foreign. Where events have no tags, those of all jobs of the account come
        here; a foreign one costs one call.
        """
        sagemaker = self._clients.sagemaker
        if event.tags:
            item_id = item_in(event.tags, self._clients.env.stack_name)
            return (event.job or sagemaker.describe(event.name)) if item_id else None, item_id
        job = event.job or sagemaker.describe(event.name)
        return job, sagemaker.item_of(job) if job else None
