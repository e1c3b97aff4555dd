"""The stack is created, changed or deleted: report the launch agent of one that is deleted as killed."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.door import door
from launch_agent.operations.stack_change import StackChange
from launch_agent.steps.retire_agent import RetireAgent
from launch_agent.wiring import Clients

step = RetireAgent(Clients())


@door
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Take one request of CloudFormation's to a custom resource, and answer it."""
    step.change(StackChange.model_validate(event))
