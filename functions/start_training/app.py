"""The state "Train": submits the training job. The end of the job answers the task token."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.door import door, logger
from launch_agent.steps.start_training import StartTraining, Task
from launch_agent.wiring import Clients

step = StartTraining(Clients())


@door
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:
    """Return the training job's name."""
    task = Task.model_validate(event)
    logger.append_keys(run_queue_item_id=task.run_queue_item_id)
    return step.start(task)
