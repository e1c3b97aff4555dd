"""Runs at every deployment, and when an operator asks: checks what the stack needs before it can launch runs."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.door import door
from launch_agent.operations.stack_change import StackChange
from launch_agent.steps.check_setup import CheckSetup
from launch_agent.wiring import Clients

step = CheckSetup(Clients())


@door
def handler(event: dict[str, Any], context: LambdaContext) -> list[dict[str, Any]]:
    """Return what was found; or answer a request of CloudFormation's to the custom resource, and return nothing.

    An operator's event can be {"create_queues": true}, which creates the run queues that do not exist.
    """
    if "RequestType" in event:
        step.change(StackChange.model_validate(event))
        return []
    findings = step.check(create_queues=event.get("create_queues") is True)
    return [finding.model_dump(mode="json") for finding in findings]
