"""The last task of a failed launch: it fails the execution or, once that was redriven, launches the run again."""

from datetime import UTC, datetime

from aws_lambda_powertools import Logger

from launch_agent.errors import LaunchFailed, NoSlotFree
from launch_agent.model import Model
from launch_agent.runs.record import RunRecord
from launch_agent.wiring import Clients

logger = Logger(child=True)


class Task(Model):
    """What the state machine sends. `redrives` is how often the execution has been redriven."""

    run_queue_item_id: str
    execution_arn: str
    redrives: int


class RelaunchRun:
    """Launches one run again at a time."""

    def __init__(self, clients: Clients) -> None:
        """Take the clients."""
        self._clients, self._runs = clients, clients.runs

    def relaunch(self, task: Task) -> None:
        """Open a run once more whose execution was redriven since its launch failed. Raises LaunchFailed if it was not.

        Raises NoSlotFree while as many runs are open as may be.
        """
        record = self._runs.get(task.run_queue_item_id)
        if record is None or record.execution_name != task.execution_arn.rpartition(":")[2]:
            raise LaunchFailed("The item is not this execution's any more.")
        if record.redrives < task.redrives:
            self._open_again(record, task.redrives)
        elif not record.is_open:
            raise LaunchFailed((record.outcome or {}).get("reason", "The item was given back to its queue."))
        # Else an earlier try of this call has opened it.

    def _open_again(self, record: RunRecord, redrives: int) -> None:
        """Take a slot, and store the run spec, which is W&B's: a closed record has none."""
        spec = self._clients.wandb.run_spec(record.item)
        if spec is None:
            raise LaunchFailed("W&B has no such run queue item any more. Queue the run again.")
        limit = self._clients.config.limit(record.slot)
        if not self._runs.open_again(record, spec=spec, redrives=redrives, at=datetime.now(UTC), limit=limit):
            raise NoSlotFree(
                f"{limit} runs are open, as many as max_jobs allows; this one is launched when one has ended"
            )
        logger.info("run launched again", run_id=record.item.run_id)
