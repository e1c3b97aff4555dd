"""The state "Plan run": acknowledge the item, and decide everything about its run."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.door import door, logger
from launch_agent.steps.plan_run import PlanRun, Task
from launch_agent.wiring import Clients

step = PlanRun(Clients())


@door
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return the summary of the launch plan, and what the build of its image needs."""
    task = Task.model_validate(event)
    logger.append_keys(run_queue_item_id=task.run_queue_item_id)
    return step.plan(task)
