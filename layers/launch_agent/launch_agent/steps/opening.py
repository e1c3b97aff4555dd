"""Opens the runs of leased items and starts their executions: new ones together, and others one by one."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger

from launch_agent.clients.executions import execution_arn
from launch_agent.clients.runs import MAX_OPENED
from launch_agent.clients.wandb_leases import Leased
from launch_agent.errors import AwsThrottled, InvalidRunSpec, LaunchError
from launch_agent.run_queue.items import ItemRef, Slot, derived_run_id
from launch_agent.runs.execution import execution_input, execution_name
from launch_agent.runs.life import RunState
from launch_agent.runs.record import AgentRecord, RunRecord
from launch_agent.steps.waiting import OF_QUEUE, TOTAL, told_text
from launch_agent.wiring import Clients

logger = Logger(child=True)

_MAX_REFUSALS = 3
"""An item that went back to its queue so many times because of a refusal is failed."""


class Opening:
    """Opens the runs of one poll. What is not opened returns to its queue when its lease ends.

    Executions are started while the next items are leased and opened, so `finish` has to be called at the end.
    """

    def __init__(self, clients: Clients, agent: AgentRecord, *, room: int, has_time: Callable[[], bool]) -> None:
        """`room` is how many jobs may be opened; `has_time` whether more may be begun."""
        self._clients, self._config, self._agent = clients, clients.config, agent
        self._wandb, self._runs = clients.wandb, clients.runs
        self._left, self._has_time = room, has_time
        self._rooms = self._left_in_queues()
        self._starting: list[tuple[Sequence[RunRecord], Iterator[bool | Exception]]] = []
        self.opened: list[str] = []
        """The run queue items whose executions were started, after `finish`."""
        self.failures: list[LaunchError] = []
        """Why items were not opened that are not the reason for it."""
        self.schedulers_left: dict[str, str] = {}
        """The queues of the sweep schedulers that were left to their lease, as all slots of schedulers are in use."""

    def room(self) -> int:
        """Return how many more jobs may be leased. None if there is no time, or if AWS or W&B refused something."""
        return self._left if self._has_time() and not self.failures else 0

    def rooms(self) -> Mapping[str, int]:
        """Return how many more jobs of each queue with a limit of its own may be leased."""
        return self._rooms

    def limits_reached(self) -> dict[str, str]:
        """Return the key of the limit that each full queue has reached: its own, else that of all queues."""
        of_all = dict.fromkeys(self._config.queues if self._left <= 0 else (), TOTAL)
        return {**of_all, **{queue: OF_QUEUE for queue, left in self._rooms.items() if left <= 0}}

    def _left_in_queues(self) -> dict[str, int]:
        limits = self._config.max_jobs_per_queue
        in_use = self._runs.jobs_by_queue() if limits and self._agent.jobs_open else Counter[str]()
        return {queue: max(limit - in_use[queue], 0) for queue, limit in limits.items()}

    def _uses(self, record: RunRecord) -> None:
        """Count a job that is about to be opened. A scheduler takes no room."""
        if record.slot is Slot.JOB:
            self._left -= 1
            if record.item.queue in self._rooms:
                self._rooms[record.item.queue] -= 1

    def open_all(self, leased: Sequence[Leased]) -> None:
        """Open the runs of leased items. One that is not valid fails in W&B, and affects no other.

        A scheduler takes no room. Otherwise schedulers that wait for a slot would be leased again and again in the
        place of jobs.
        """
        self.finish()  # the executions of the items before these were started while these were leased
        for start in range(0, len(leased), MAX_OPENED):
            some = leased[start : start + MAX_OPENED]
            jobs = [each for each in some if each.item.slot is Slot.JOB and not each.fault]
            together = jobs if self._has_time() and self._open_together(jobs) else []
            for each in some:
                if each not in together and self._has_time():
                    self._open_or_refuse(each)

    def _open_together(self, jobs: Sequence[Leased]) -> bool:
        """Open new items in one transaction, and start their executions at the same time.

        Return False, and change nothing, if they have to be opened one by one: one of them is not new or not valid, or
        there are not enough slots.
        """
        try:
            records = [self._new_record(each, attempt=1) for each in jobs]
            inputs = [self._input(record, each.item.run_spec) for record, each in zip(records, jobs, strict=True)]
            specs = [each.item.run_spec for each in jobs]
            new = list(zip(records, specs, strict=True))
            if not new or not self._runs.open_new(new, limit=self._config.limit(Slot.JOB)):
                return False
        except AwsThrottled as error:
            self._leave(error, jobs[0].item.id)
            return True
        except Exception:
            # Whatever is wrong with one item must not affect the others.
            logger.info("leased items are opened one by one", exc_info=True)
            return False
        for record in records:
            self._uses(record)
        self._start_all(records, inputs)
        return True

    def _open_or_refuse(self, leased: Leased) -> None:
        """Open the run of a leased item. An item that is not valid fails in W&B."""
        item = ItemRef(
            id=leased.item.id, queue=leased.queue, entity=self._agent.entity, run_id=derived_run_id(leased.item.id)
        )
        try:
            try:
                known = self._runs.get(item.id)
                reason = _reason_to_refuse(leased, known)
                if not reason:
                    self._open(leased, known)
            except InvalidRunSpec as error:
                reason = f"InvalidRunSpec: {error}"
            except LaunchError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one item affects no other
                self._fail(item, error)
                return
            if reason:
                self._wandb.fail(item, reason, "agent")
        except LaunchError as error:
            self._leave(error, item.id)

    def _leave(self, error: LaunchError, item_id: str) -> None:
        """Leave an item to its lease because of an error that another item would meet too."""
        logger.error("item left to its lease", run_queue_item_id=item_id, exc_info=error)
        self.failures.append(error)

    def _open(self, leased: Leased, known: RunRecord | None) -> None:
        """Take a slot, store the record and start the execution.

        If no slot is free, the item returns to its queue when its lease ends.
        """
        if known and known.is_open:
            # Its lease ended before it was acknowledged, and this poll leased it again: the same execution continues.
            self._runs.leased_again(known.item.id, self._agent)
            self._start_all([known], [self._input(known, leased.item.run_spec)])
            return
        record = self._new_record(leased, attempt=known.attempt + 1 if known else 1)
        self._uses(record)
        given = self._input(record, leased.item.run_spec)
        if self._runs.open(record, spec=leased.item.run_spec, limit=self._config.limit(record.slot)):
            self._start_all([record], [given])
        else:
            logger.info(
                "item left to its lease: no slot is free, or its run has ended", run_queue_item_id=record.item.id
            )
            if record.slot is Slot.SCHEDULER and self._agent.schedulers_open >= self._config.limit(Slot.SCHEDULER) >= 0:
                self.schedulers_left[record.item.id] = record.item.queue

    def _start_all(self, records: Sequence[RunRecord], inputs: Sequence[dict[str, str]]) -> None:
        """Start the executions of open runs, at the same time and while this poll goes on."""
        self._starting.append((records, self._clients.pool.map(self._start, records, inputs)))

    def _start(self, record: RunRecord, given: dict[str, str]) -> bool | Exception:
        """Return whether this call started the execution, or why it could not."""
        try:
            return self._clients.executions.start(self._clients.state_machine_arn, record.execution_name, given)
        except Exception as error:  # noqa: BLE001 - it ends this run, and no other
            return error

    def finish(self) -> None:
        """Wait until all executions are started. The slot of a run whose execution AWS refuses is freed."""
        starting, self._starting = self._starting, []
        for record, answer in (pair for records, answers in starting for pair in zip(records, answers, strict=True)):
            if isinstance(answer, Exception):
                self._not_started(record, answer)
                continue
            logger.info(
                "execution started" if answer else "execution exists already",
                execution=record.execution_name,
                run_queue_item_id=record.item.id,
                run_id=record.item.run_id,
            )
            if answer:
                self.opened.append(record.item.id)

    def _not_started(self, record: RunRecord, error: Exception) -> None:
        """Leave an item to its lease whose execution was not started, or fail it if the item itself is the reason."""
        try:
            if isinstance(error, LaunchError):
                self._leave(error, record.item.id)
            else:
                self._fail(record.item, error)
            if not isinstance(error, AwsThrottled):
                # If AWS refused the call, the item returns to its queue every time until someone allows the call.
                self._runs.give_back(record)
        except LaunchError as another:
            self._leave(another, record.item.id)

    def _fail(self, item: ItemRef, error: Exception) -> None:
        logger.error("item cannot be opened", run_queue_item_id=item.id, exc_info=error)
        name = type(error).__name__
        self._wandb.fail(
            item, f"{name}: the launch agent cannot read this item. See the log of PollQueuesFunction.", "agent"
        )

    def _input(self, record: RunRecord, spec: Any) -> dict[str, str]:
        return execution_input(record.item, spec, self._clients.env.deployment)

    def _new_record(self, leased: Leased, *, attempt: int) -> RunRecord:
        item, agent = leased.item, self._agent
        name = execution_name(item.id, item.run_id, attempt)
        return RunRecord(
            item=ItemRef(id=item.id, queue=leased.queue, entity=agent.entity, run_id=item.run_id),
            slot=item.slot,
            state=RunState.OPEN,
            attempt=attempt,
            execution_name=name,
            execution_arn=execution_arn(self._clients.state_machine_arn, name),
            launch_agent_id=agent.launch_agent_id,
            launch_agent_name=agent.launch_agent_name,
            opened_at=datetime.now(UTC),
            waits_for=told_text(self._clients, agent, item.id, leased.queue),
        )


def _reason_to_refuse(leased: Leased, known: RunRecord | None) -> str:
    """Return why an item fails in W&B and is not opened; empty if it can be opened."""
    if leased.fault:
        return f"InvalidRunSpec: the run spec cannot be read: {leased.fault}. Fix that and queue the run again."
    if known and known.refusals >= _MAX_REFUSALS:
        return f"{known.refusal} This happened {known.refusals} times."
    return ""
