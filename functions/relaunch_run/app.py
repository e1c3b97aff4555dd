"""The state "Launch failed": fail the execution, or launch the run of a redriven one again."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.door import door, logger
from launch_agent.steps.relaunch_run import RelaunchRun, Task
from launch_agent.wiring import Clients

step = RelaunchRun(Clients())


@door
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Return when the run is open again. Raises LaunchFailed where the execution was not redriven."""
    task = Task.model_validate(event)
    logger.append_keys(run_queue_item_id=task.run_queue_item_id)
    step.relaunch(task)
