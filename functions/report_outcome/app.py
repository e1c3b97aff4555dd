"""The states "Report outcome" and "Report failure": frees the run's slot, and reports to W&B how the run ended."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.door import door, logger
from launch_agent.steps import relaunch_run
from launch_agent.steps.report_outcome import ReportOutcome, Task
from launch_agent.wiring import Clients

clients = Clients()
step = ReportOutcome(clients)


@door
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return the execution's output: the verdict, the reason, the training job and links."""
    if "redrives" in event:
        # In version 0.1.0 this function was the task of "Launch failed". Executions keep their state machine while they
        # run, and for the 14 days in which they can be redriven. Delete with tests/upgrade/0.1.0.
        relaunch_run.RelaunchRun(clients).relaunch(relaunch_run.Task.model_validate(event))
        return {}
    task = Task.model_validate(event)
    logger.append_keys(run_queue_item_id=task.run_queue_item_id)
    return step.report(task)
