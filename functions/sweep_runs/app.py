"""Runs every five minutes, and whenever an execution fails: repairs what a lost event left undone."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.door import door
from launch_agent.operations.repair import item_to_repair
from launch_agent.steps.sweep_runs import SweepRuns
from launch_agent.wiring import Clients

step = SweepRuns(Clients())


@door
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return what was done, by run queue item or training job.

    An event "Step Functions Execution Status Change" from EventBridge repairs its run, any other event all runs.
    """
    item_id = item_to_repair(event)
    if item_id:
        return step.sweep_one(item_id)
    return step.sweep_all(context.get_remaining_time_in_millis)
