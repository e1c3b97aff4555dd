"""Frees the slot of a run that is over, reports to W&B, then closes the run. A repeated call changes nothing."""

from typing import Any

from launch_agent.model import Model
from launch_agent.outcome.judgement import Failure
from launch_agent.steps.ending import Ending
from launch_agent.training.training_job import TrainingEnd
from launch_agent.wiring import Clients


class Task(Model):
    """The input from the state machine: how the training job ended, or the error of the launch."""

    run_queue_item_id: str
    execution_arn: str
    training: TrainingEnd | None = None
    failure: Failure | None = None


class ReportOutcome:
    """Reports the outcome of a run."""

    def __init__(self, clients: Clients) -> None:
        """Create the clients."""
        self._ending = Ending(clients)

    def report(self, task: Task) -> dict[str, Any]:
        """Return the execution's output."""
        return self._ending.end(
            task.run_queue_item_id, execution_arn=task.execution_arn, training=task.training, failure=task.failure
        )
