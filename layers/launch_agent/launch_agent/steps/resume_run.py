"""What the end of a training job does to the execution that waits for it: it goes on, or tries once more.

A status event, a job that is adopted, and a sweep that finds an end nobody heard of all come here.
"""

from datetime import UTC, datetime, timedelta

from aws_lambda_powertools import Logger

from launch_agent.clients.runs import Runs
from launch_agent.clients.task_tokens import TaskTokens
from launch_agent.clients.wandb import Wandb
from launch_agent.errors import LaunchError
from launch_agent.outcome.report import capacity_warning, retry_warning
from launch_agent.runs.record import RunRecord
from launch_agent.training.retries import Trouble, may_try_again, trouble_of
from launch_agent.training.training_job import TrainingEnd, TrainingJob

logger = Logger(child=True)


def resume(
    runs: Runs, tokens: TaskTokens, record: RunRecord, job: TrainingJob, *, capacity_wait: timedelta
) -> Trouble | None:
    """Answer the task token that waits for a training job that has ended; nothing where it lives or no token waits.

    Return for what trouble the run is tried again with another job; None when it is not. May raise AwsThrottled.
    """
    end = TrainingEnd.of(job)
    if end is None or record.task_token is None or record.training_job_name != job.name:
        return None
    trouble, now = trouble_of(job.failure_kind), datetime.now(UTC)
    if trouble and not record.stop_requested_at:
        again = may_try_again(
            trouble,
            failures_before=len(record.jobs_sagemaker_failed - {job.name}),
            capacity_awaited_since=record.capacity_awaited_since,
            now=now,
            capacity_wait=capacity_wait,
        )
        if again:
            runs.came_to_nothing(record.item.id, training_job_name=job.name, trouble=trouble, at=now)
            tokens.fail(record.task_token, error=trouble.value, cause=end.reason)
            return trouble
    tokens.answer(record.task_token, end.model_dump(mode="json"))
    return None


def warning_of(trouble: Trouble, job: TrainingJob) -> str:
    """Say on the queue item why a training job is tried again."""
    return retry_warning(job.name) if trouble is Trouble.SAGEMAKER else capacity_warning(job.failure_reason or job.name)


def warn_once(wandb: Wandb, runs: Runs, record: RunRecord, text: str) -> None:
    """Put a warning on the queue item unless it is there. If W&B does not take it, a later try of the same will."""
    if text in record.warned or not runs.warned(record.item.id, text):
        return
    try:
        wandb.warn(record.item, text, "run")
    except LaunchError:
        logger.warning("the queue item could not be warned", exc_info=True)
        runs.not_warned(record.item.id, text)
