"""Resumes the execution that waits for a training job: the job ended, or the run is tried again with another job.

Used by status events, by `start_training` for a job that exists already, and by sweeps.
"""

from datetime import UTC, datetime

from launch_agent.outcome.report import capacity_warning, retry_warning
from launch_agent.runs.record import RunRecord
from launch_agent.steps.warning import renew_waiting, warn_once
from launch_agent.training.retries import RetryReason, may_try_again, retry_reason_of
from launch_agent.training.training_job import TrainingEnd, TrainingJob
from launch_agent.wiring import Clients


class Resuming:
    """Answers the task tokens of executions. Calls may raise AwsThrottled and can be repeated."""

    def __init__(self, clients: Clients) -> None:
        """Create the clients."""
        self._clients, self._runs, self._tokens = clients, clients.runs, clients.task_tokens

    def resume(self, record: RunRecord, job: TrainingJob) -> None:
        """If the training job has ended, answer the task token that waits for it.

        If the run is tried again with another job, put the reason on its queue item.
        """
        end = TrainingEnd.of(job)
        if end is None or record.task_token is None or record.training_job_name != job.name:
            return
        # SageMaker's reason may repeat the run's secrets. Reading them here makes safe_text hide them.
        self._runs.details(record.item.id)
        now = datetime.now(UTC)
        reason = self._reason_to_retry(record, job, now)
        if reason is None:
            self._tokens.answer(record.task_token, end.model_dump(mode="json"))
            return
        self._runs.training_job_failed(record.item.id, training_job_name=job.name, reason=reason, at=now)
        self._tokens.fail(record.task_token, error=reason.value, cause=end.reason)
        if reason is RetryReason.SAGEMAKER:
            warn_once(self._clients, record, retry_warning(job.name))
        else:
            renew_waiting(self._clients, record, capacity_warning(job.failure_reason or job.name))

    def _reason_to_retry(self, record: RunRecord, job: TrainingJob, now: datetime) -> RetryReason | None:
        """Return why a run whose training job has ended is tried again with another one; None if it is not."""
        reason = retry_reason_of(job.failure_kind)
        if reason is None or record.stop_requested_at:
            return None
        again = may_try_again(
            reason,
            failures_before=len(record.jobs_sagemaker_failed - {job.name}),
            capacity_awaited_since=record.capacity_awaited_since,
            now=now,
            capacity_wait=self._clients.env.capacity_wait,
        )
        return reason if again else None
