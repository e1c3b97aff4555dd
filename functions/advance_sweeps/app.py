"""The state "Run sweep", and every minute: moves the sweeps on. The end of a sweep answers the task token."""

from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.door import door, logger
from launch_agent.steps.advance_sweeps import AdvanceSweeps, Task
from launch_agent.wiring import Clients

step = AdvanceSweeps(Clients())


@door
def handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Return the number of sweeps, and the runs that were queued.

    The input of the state starts the scheduler of its run queue item; any other event moves all sweeps on.
    """
    if not isinstance(event, Mapping) or "task_token" not in event:
        return step.advance_all()
    task = Task.model_validate(event)
    logger.append_keys(run_queue_item_id=task.run_queue_item_id)
    return step.begin(task)
