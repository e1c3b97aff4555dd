"""The state "Plan run": acknowledges the item and decides everything about its run."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.door import door, logger
from launch_agent.steps.plan_run import PlanRun, Task
from launch_agent.wiring import Clients

step = PlanRun(Clients())


@door
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return the summary of the launch plan, and the input of the image build."""
    task = Task.model_validate(event)
    logger.append_keys(run_queue_item_id=task.run_queue_item_id)
    return step.plan(task)
