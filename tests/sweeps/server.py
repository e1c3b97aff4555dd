"""A sweep in W&B, as the scheduler sees it, and a scheduler that steps: with a record that is stored, and lost answers.

The order of the calls is that of `steps/advance_sweeps.py`; tests of that step itself are in tests/simulation.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

from launch_agent.sweeps.order import Order
from launch_agent.sweeps.push import Push
from launch_agent.sweeps.record import SweepRecord
from launch_agent.sweeps.scheduler import Seen, find, look, obey, state_to_write, take_up

FINISHED, EXIT, NOTHING = "finished", "exit", "nothing"
"""What W&B says at the end of a grid: FINISHED and exit, only exit, or no command."""


class Died(Exception):
    """The function ended here."""


class Server:
    """One sweep: its runs, and the queue. Each look moves every run of the queue one state further."""

    def __init__(
        self,
        commands: Sequence[dict[str, Any]],
        *,
        at_end: str = FINISHED,
        states: Callable[[int], Sequence[str]] = lambda _: ("pending", "running", "finished"),
        pushed: Callable[["Server"], None] = lambda _: None,
    ) -> None:
        """`commands` are the `run` commands to give, and `states` the states of the n-th run, from 1."""
        self.state: str | None = "PENDING"
        self.commands = list(commands)
        self._at_end, self._states, self._pushed = at_end, states, pushed
        self.total = len(self.commands)
        self.given: dict[int, list[dict[str, Any]]] = {}
        self.queue: list[Push] = []
        self.items: dict[str, str] = {}
        """The state of each run queue item."""
        self.run_of: dict[str, str] = {}
        self.runs: dict[str, str] = {}
        self.stopped: set[str] = set()
        self.failed: set[str] = set()
        self.written: list[str] = []
        self._looks: Counter[str] = Counter()

    def see(self, record: SweepRecord) -> Seen:
        """Return the sweep as it is now; time passes."""
        live = [run for run in record.runs if run.item_id]
        for number, push in enumerate(self.queue, 1):
            states = self._states(number)
            self.runs[push.run_id] = states[min(self._looks[push.run_id], len(states) - 1)]
            self._looks[push.run_id] += 1
        for item, run in self.run_of.items():
            if self.items[item] == "PENDING" and self.runs[run] != "pending":
                self.items[item] = "CLAIMED"
        return Seen(
            self.state,
            {run.run_id: self.runs.get(run.run_id) for run in live},
            {str(run.item_id): self.items.get(str(run.item_id)) for run in live},
            has_all_runs=self._at_end == NOTHING and not self.commands,
        )

    def heartbeat(self, worker: int) -> list[dict[str, Any]]:
        """Return the next commands for a worker."""
        self.state = "RUNNING" if self.state == "PENDING" else self.state
        if self.state in ("CANCELED", "FINISHED", None):
            return [{"type": "exit"}]
        if self.commands:
            command = self.commands.pop(0)
            if "run_id" in command:
                self.given.setdefault(worker, []).append(command)
                self.runs.setdefault(command["run_id"], "pending")
            return [command]
        if self._at_end == FINISHED:
            self.state = "FINISHED"
        return [] if self._at_end == NOTHING else [{"type": "exit"}]

    def push(self, push: Push) -> str:
        """Queue a run; return its item."""
        self.queue.append(push)
        item = f"item-{len(self.queue)}"
        self.items[item], self.run_of[item] = "PENDING", push.run_id
        self._pushed(self)
        return item

    def given_to(self, workers: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
        """Return the runs that workers were given and that have not begun."""
        return {
            worker: [each for each in self.given.get(worker, []) if self.runs[each["run_id"]] == "pending"]
            for worker in workers
        }


class Scheduler:
    """Steps a sweep, with a record that is written and read as JSON."""

    def __init__(self, server: Server, order: Order, record: SweepRecord | None = None) -> None:
        self.server, self.order = server, order
        self._stored = (record or SweepRecord()).model_dump_json()

    @property
    def record(self) -> SweepRecord:
        return SweepRecord.model_validate_json(self._stored)

    def _store(self, record: SweepRecord) -> SweepRecord:
        self._stored = record.model_dump_json()
        return record

    def step(self, *, dies_at: int = -1) -> None:
        """Make one step; end without a word at the n-th call to the outside. Raises Died."""
        calls = count()

        def call() -> None:
            if next(calls) == dies_at:
                raise Died

        record = self.record
        call()
        if record.asking:
            record = self._store(take_up(record, self.server.given_to(record.asking)))
        if record.pushing:
            found = {push.run_id: item for item, push in zip(self.server.items, self.server.queue, strict=True)}
            record = self._store(find(record, found))
        seen = self.server.see(record)
        step = look(self.order, record, seen)
        call()
        if step.ask:
            record = self._store(step.record.model_copy(update={"asking": step.ask}))
            call()
            answers = {worker: self.server.heartbeat(worker) for worker in step.ask}
            call()
            second = obey(self.order, record, answers, seen)
            step = second._replace(fail=(*step.fail, *second.fail))
        record = self._store(step.record.model_copy(update={"pushing": tuple(push.run_id for push in step.push)}))
        items = {}
        for push in step.push:
            call()
            items[push.run_id] = self.server.push(push)
            call()
        record = self._store(find(record, items))
        self.server.stopped |= set(step.stop)
        self.server.failed |= set(step.fail)
        state = state_to_write(record.end, self.server.state) if record.end else None
        if state:
            self.server.written.append(state)
            self.server.state = state

    def steps(self, most: int = 100) -> Iterator[SweepRecord]:
        """Step until the sweep ends, at most so often; yield the record after each step."""
        for _ in range(most):
            self.step()
            yield self.record
            if self.record.end:
                return

    def run(self, most: int = 100) -> SweepRecord:
        """Step until the sweep ends, at most so often; return the record."""
        return list(self.steps(most))[-1]


def runs(number: int) -> list[dict[str, Any]]:
    """Return `run` commands for this many runs, with a learning rate each."""
    return [{"type": "run", "run_id": f"run{n}", "args": {"lr": {"value": n / 10}}} for n in range(1, number + 1)]


def order(**different: Any) -> Order:
    """Return what a scheduler of two workers is asked to do."""
    given = {
        "sweep_id": "sweep1",
        "entity": "team",
        "project": "p",
        "queue": "sm",
        "queue_entity": "team",
        "job": "team/jobs/job:latest",
        "workers": 2,
        "priority": 2,
        "launch": {},
    }
    return Order.model_validate({**given, **different})
