"""Handles status events of training jobs: records each and, at the job's end, resumes the execution."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.door import door
from launch_agent.steps.resume_run import ResumeRun
from launch_agent.training.status_event import parse_status_event
from launch_agent.wiring import Clients

step = ResumeRun(Clients())


@door
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """`event` is an event "SageMaker Training Job State Change" from EventBridge."""
    step.status_changed(parse_status_event(event))
