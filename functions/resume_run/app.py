"""A training job changed its status: record it, and at its end answer the task token that waits for it."""

from functools import cache
from typing import Any, NamedTuple

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.clients.runs import Runs
from launch_agent.clients.sagemaker import ITEM_TAG
from launch_agent.clients.step_functions import StepFunctions
from launch_agent.outcome import VERDICTS, TrainingEnd, TrainingJob
from launch_agent.settings import Settings

logger = Logger()


class Env(Settings):
    """The environment of this function."""

    runs_table: str


class Wired(NamedTuple):
    """What this function works with, made once for each execution environment."""

    runs: Runs
    executions: StepFunctions


@cache
def wire() -> Wired:
    """Read the environment, and make the clients."""
    return Wired(Runs(Env.from_environment().runs_table), StepFunctions())


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Take one event "SageMaker Training Job State Change"; duplicates and late ones change nothing."""
    w = wire()
    job = TrainingJob.model_validate(event["detail"])
    item_id = event["detail"]["Tags"][ITEM_TAG]
    logger.append_keys(run_queue_item_id=item_id, training_job_name=job.name)
    if job.status not in VERDICTS:
        logger.warning("unknown training job status, waiting on", status=job.status)
    record = w.runs.status_seen(
        item_id, training_job_name=job.name, status=job.secondary_status or job.status, at=job.modified_at
    )
    end = TrainingEnd.of(job)
    if record is None or record.task_token is None or end is None:
        logger.info("status seen", status=job.status, secondary_status=job.secondary_status)
        return
    answered = w.executions.answer(record.task_token, end.model_dump(mode="json"))
    logger.info("run resumed" if answered else "run was resumed before", verdict=end.verdict)
