"""The last task of a failed launch: fails the execution or, if it was redriven, launches the run again."""

from datetime import UTC, datetime

from aws_lambda_powertools import Logger

from launch_agent.errors import LaunchFailed, NoSlotFree
from launch_agent.model import Model
from launch_agent.runs.record import RunRecord
from launch_agent.wiring import Clients

logger = Logger(child=True)


class Task(Model):
    """The input from the state machine. `redrives` is how often the execution has been redriven."""

    run_queue_item_id: str
    execution_arn: str
    redrives: int
    task_token: str | None = None
    """None from an execution of version 0.1.0. Delete that with tests/upgrade/0.1.0."""


class RelaunchRun:
    """Fails an execution, or launches its run again."""

    def __init__(self, clients: Clients) -> None:
        """Create the clients."""
        self._clients, self._runs = clients, clients.runs

    def relaunch(self, task: Task) -> None:
        """Open the run again if its execution was redriven since the launch failed. Otherwise fail the execution.

        Raises NoSlotFree while all slots are in use, and LaunchFailed if the task has no token.
        """
        try:
            self._open_if_redriven(task)
        except LaunchFailed as error:
            if task.task_token is None:
                raise
            # Not raised: the cause of the execution would be JSON with a stack trace.
            self._clients.task_tokens.fail(task.task_token, error=LaunchFailed.__name__, cause=str(error))
        else:
            if task.task_token:
                self._clients.task_tokens.answer(task.task_token, {})

    def _open_if_redriven(self, task: Task) -> None:
        """Open the run again, or raise LaunchFailed."""
        record = self._runs.get(task.run_queue_item_id)
        if record is None or record.execution_name != task.execution_arn.rpartition(":")[2]:
            raise LaunchFailed("Another execution owns this run queue item now.")
        if record.redrives < task.redrives:
            self._open_again(record, task.redrives)
        elif not record.is_open:
            raise LaunchFailed((record.outcome or {}).get("reason", "The item was returned to its queue."))
        # Otherwise an earlier try of this call has opened it.

    def _open_again(self, record: RunRecord, redrives: int) -> None:
        """Take a slot, and store the run spec, which is read from W&B: closing the run deleted it here."""
        spec = self._clients.wandb.run_spec(record.item)
        if spec is None:
            raise LaunchFailed("W&B no longer has this run queue item. Queue the run again.")
        limit = self._clients.config.limit(record.slot)
        if not self._runs.open_again(record, spec=spec, redrives=redrives, at=datetime.now(UTC), limit=limit):
            raise NoSlotFree(
                f"all {limit} slots of max_jobs are in use. This run is launched when one of them is free."
            )
        logger.info("run launched again", run_id=record.item.run_id)
