"""Runs every minute, and for each tick between minutes: polls the W&B run queues."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.door import door
from launch_agent.steps.poll_queues import PollQueues
from launch_agent.wiring import Clients

step = PollQueues(Clients())


@door
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return the status that W&B shows, and the run queue items that were opened. Only ticks come from SQS."""
    return step.poll(context.get_remaining_time_in_millis, is_tick="Records" in event)
