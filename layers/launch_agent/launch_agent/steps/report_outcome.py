"""Free the slot of a run that is over, tell W&B how it ended, then close it, last. Repeated, it changes nothing."""

from launch_agent.model import Model
from launch_agent.outcome.judgement import Failure
from launch_agent.steps.ending import Ending
from launch_agent.training.training_job import TrainingEnd
from launch_agent.wiring import Clients


class Task(Model):
    """What the state machine sends: how the training job ended, or what kept it from being one."""

    run_queue_item_id: str
    execution_arn: str
    training: TrainingEnd | None = None
    failure: Failure | None = None


class ReportOutcome:
    """Reports one run at a time."""

    def __init__(self, clients: Clients) -> None:
        """Take the clients."""
        self._ending = Ending(clients)

    def report(self, task: Task) -> dict[str, str]:
        """Return the outcome: the verdict, and the reason."""
        return self._ending.end(
            task.run_queue_item_id, execution_arn=task.execution_arn, training=task.training, failure=task.failure
        )
