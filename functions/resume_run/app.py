"""A training job changed its status: record it, and at its end resume the execution that waits for it."""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.steps.resume_run import ResumeRun
from launch_agent.training.status_event import parse_status_event
from launch_agent.wiring import Clients

logger, step = Logger(), ResumeRun(Clients())


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Take one event "SageMaker Training Job State Change" of EventBridge."""
    step.status_changed(parse_status_event(event))
