"""The state "Launch failed": fails the execution or, if it was redriven, launches its run again."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.door import door, logger
from launch_agent.steps.relaunch_run import RelaunchRun, Task
from launch_agent.wiring import Clients

step = RelaunchRun(Clients())


@door
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Open the run again or, if the execution was not redriven, fail it. Both answer the task token."""
    task = Task.model_validate(event)
    logger.append_keys(run_queue_item_id=task.run_queue_item_id)
    step.relaunch(task)
