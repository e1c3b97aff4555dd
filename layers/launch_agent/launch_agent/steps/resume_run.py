"""Handles a status event of a training job: records it and, at the job's end, answers the task token."""

from aws_lambda_powertools import Logger

from launch_agent.operations.repair import OrphanJob, is_orphan
from launch_agent.outcome.report import interruption_warning, waited_for
from launch_agent.steps.results import Results
from launch_agent.steps.resuming import Resuming
from launch_agent.steps.warning import renew_waiting, warn_once
from launch_agent.training.status_event import StatusEvent
from launch_agent.training.training_job import VERDICTS, TrainingJob, item_in
from launch_agent.wiring import Clients

logger = Logger(child=True)


class ResumeRun:
    """Handles status events. Duplicate and late events change nothing."""

    def __init__(self, clients: Clients) -> None:
        """Create the clients."""
        self._clients, self._runs = clients, clients.runs
        self._resuming, self._results = Resuming(clients), Results(clients)

    def status_changed(self, event: StatusEvent) -> None:
        """Record the status of a training job of this stack, and resume its execution if the job has ended.

        A job that no open run waits for is stopped. A spot interruption puts a warning on the queue item. If the run
        was closed before its job ended, what the job costs is counted, and a stopped run gets its results.
        """
        job, item_id = self._job_and_item(event)
        if job is None or item_id is None:
            return
        logger.append_keys(run_queue_item_id=item_id, training_job_name=job.name)
        if job.status not in VERDICTS:
            logger.warning("unknown training job status, still waiting", status=job.status)
        record = self._runs.status_seen(
            item_id, training_job_name=job.name, status=job.secondary_status or job.status, at=job.modified_at
        )
        logger.info("status seen", status=job.status, secondary_status=job.secondary_status)
        if record is None:
            return
        if job.status == "InProgress" and is_orphan(OrphanJob(job.name, item_id), record):
            # Its execution ended while start_training was creating it.
            self._clients.sagemaker.stop(job.name)
            logger.warning("stopped a training job that no run waits for")
            return
        if job.started_at and record.training_job_name == job.name:
            renew_waiting(self._clients, record, waited_for(job.name), over=True)
        self._resuming.resume(record, job)
        if job.verdict and not record.is_unreported and record.training_job_name == job.name:
            self._results.finish_late(record, job.name)
        if job.secondary_status == "Interrupted":
            warn_once(self._clients, record, interruption_warning())

    def _job_and_item(self, event: StatusEvent) -> tuple[TrainingJob | None, str | None]:
        """Return the training job of an event and its run queue item; None for the item if the job is foreign.

        SageMaker is called if the event does not have them. If events have no tags, those of all jobs of the account
        arrive here, and each foreign one costs one call.
        """
        sagemaker = self._clients.sagemaker
        if event.tags:
            item_id = item_in(event.tags, self._clients.env.stack_name)
            return (event.job or sagemaker.describe(event.name)) if item_id else None, item_id
        job = event.job or sagemaker.describe(event.name)
        return job, sagemaker.item_of(job) if job else None
