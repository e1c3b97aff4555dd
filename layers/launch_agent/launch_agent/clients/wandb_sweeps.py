"""W&B: sweeps, their agents and their runs. Each method handles many of them with few requests."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from launch_agent.clients import sweep_operations as operations
from launch_agent.clients.graphql import GraphqlClient, Operation
from launch_agent.clients.wandb_answers import at, parsed
from launch_agent.clients.wandb_operations import LAUNCH_PROJECT
from launch_agent.clients.wandb_sweep_answers import (
    AgentEdge,
    FoundSweep,
    ItemPage,
    QueuedItem,
    Run,
    Sweep,
    command_of,
    commands_in,
    shown_sweeps,
    values_in,
    waits,
)
from launch_agent.errors import WandbRefused
from launch_agent.safe_text import safe
from launch_agent.sweeps.order import Order
from launch_agent.sweeps.push import Push
from launch_agent.sweeps.record import SweepRecord
from launch_agent.sweeps.scheduler import Command, Seen

Each = TypeVar("Each")
_RUNS_ASKED, _AGENTS_ASKED, _RUNS_PUSHED, _RUNS_CHANGED = 100, 50, 10, 50
_MOST_PAGES = 50
_LONGEST_NOTES = 10_000
_CLOCKS_DIFFER_BY = timedelta(minutes=2)
_READ_BACK = timedelta(hours=1)
"""An item that is older by so much than the step that queued runs is none of theirs, whatever the clocks show."""
_EVER = datetime.min.replace(tzinfo=UTC)


class WandbSweeps:
    """The sweeps of one W&B server. Every method may raise WandbUnavailable, WandbKeyRejected and WandbRefused."""

    def __init__(self, graphql: GraphqlClient) -> None:
        """Nothing is sent yet."""
        self._graphql = graphql

    def find(self, entity: str, project: str, sweep_id: str) -> FoundSweep | None:
        """Return a sweep, or None if it does not exist."""
        found = self._graphql.execute(operations.sweep(entity, project, sweep_id))
        if not at(found, "project", "sweep"):
            return None
        sweep = parsed(Sweep, at(found, "project", "sweep"))
        run = parsed(Run, at(found, "project", "run") or {})
        counted = sum(edge.node.counts for edge in sweep.runs.edges)
        return FoundSweep(sweep.state, sweep.config, counted, values_in(run.config or {}))

    def see(self, sweeps: Sequence[tuple[Order, SweepRecord]]) -> list[Seen | None]:
        """Return each sweep as W&B shows it; None if W&B does not show it.

        One request asks for about a hundred runs. If W&B refuses a part of it, each of its sweeps is asked for alone.
        """
        seen: list[Seen | None] = []
        for group in _groups(sweeps):
            seen += self._see_group(group)
        return seen

    def _see_group(self, group: Sequence[tuple[Order, SweepRecord]]) -> list[Seen | None]:
        try:
            answer = self._graphql.execute_in_parts(_asking(group))
        except WandbRefused:
            if len(group) == 1:
                return [None]
            answer = None
        if len(group) > 1 and (answer is None or answer.errors or answer.unread):
            return [seen for each in group for seen in self._see_group([each])]
        return list(shown_sweeps(group, answer)) if answer else [None]

    def register(self, order: Order, workers: Sequence[int]) -> dict[int, str]:
        """Register a sweep agent for each of these workers; return their ids."""
        hosts = [f"launch-sagemaker-{worker}" for worker in workers]
        agents = dict[int, str]()
        for numbers, names in zip(_chunks(workers, _AGENTS_ASKED), _chunks(hosts, _AGENTS_ASKED), strict=True):
            create = operations.create_sweep_agents(order.entity, order.project, order.sweep_id, names)
            answer = self._graphql.execute(create)
            agents |= {worker: str(at(answer, f"agent{n}", "agent", "id")) for n, worker in enumerate(numbers)}
        return agents

    def ask(self, agents: Sequence[str]) -> Iterator[tuple[str, list[Command]]]:
        """Yield the commands for each agent. An agent whose answer was refused, or cannot be read, is left out.

        If W&B forgets an agent, it answers 404 for the whole request.
        """
        for chunk in _chunks(agents, _AGENTS_ASKED):
            for n, commands in self._each(operations.sweep_heartbeats(chunk), "agent", "commands"):
                yield chunk[n], commands_in(commands)

    def given(self, order: Order) -> dict[str, list[Command]]:
        """Return the agents of a sweep, each with a `run` command for each of its last runs that has not begun."""
        operation = operations.runs_of_sweep_agents(order.entity, order.project, order.sweep_id)
        found = at(self._graphql.execute(operation), "project", "sweep", "agents", "edges")
        agents = [edge.node for edge in parsed(list[AgentEdge], found or [])]
        return {agent.id: [command_of(edge.node) for edge in agent.runs.edges if waits(edge.node)] for agent in agents}

    def items_of(self, order: Order, record: SweepRecord) -> dict[str, str]:
        """Return the run queue items of the runs that a step was queueing, by run. Raises WandbRefused if unsure."""
        resumed = {run.run_id for run in record.runs if run.resumes}
        since = record.pushing_since or _EVER
        found: dict[str, str] = {}
        for item in self._items(order, since):
            run_id = item.run_spec.get("run_id") if isinstance(item.run_spec, Mapping) else None
            is_old = since - item.created_at > (_CLOCKS_DIFFER_BY if run_id in resumed else _READ_BACK)
            if run_id in record.pushing and not is_old:
                found[str(run_id)] = item.id
        return found

    def _items(self, order: Order, since: datetime) -> Iterator[QueuedItem]:
        """Yield the items that were queued since a time, and others.

        A queue has all its items, of years. W&B does not say whether the first are the newest or the oldest, so they
        are read from both ends, until one is old.
        """
        for items in (operations.last_items, operations.first_items):
            cursor = None
            for _ in range(_MOST_PAGES):
                answer = self._graphql.execute(items(order.queue_entity, order.queue, cursor))
                page = parsed(ItemPage, at(answer, "project", "runQueue", "runQueueItems") or {})
                yield from (edge.node for edge in page.edges)
                is_old = any(since - edge.node.created_at > _READ_BACK for edge in page.edges)
                if is_old or not page.info.goes_on:
                    break
                cursor = page.info.cursor
            else:
                raise WandbRefused(f"the queue {order.queue} has too many new items to find those of {order.sweep_id}")

    def push(self, pushes: Sequence[Push]) -> Iterator[tuple[str, str]]:
        """Queue runs; yield the run and its item for each that W&B accepted."""
        for chunk in _chunks(pushes, _RUNS_PUSHED):
            for n, item in self._each(operations.push_runs([*map(_input, chunk)]), "push", "runQueueItemId"):
                yield chunk[n].run_id, str(item)

    def push_one(self, push: Push) -> str:
        """Queue one run and return its item. Raises WandbRefused with W&B's reason."""
        answer = self._graphql.execute(operations.push_runs([_input(push)]))
        return str(at(answer, "push0", "runQueueItemId"))

    def stop(self, order: Order, runs: Sequence[str]) -> None:
        """Stop runs. It is fine if one has ended or does not exist."""
        for chunk in _chunks(runs, _RUNS_CHANGED):
            ids = [_storage_id(order, run_id) for run_id in chunk]
            dict(self._each(operations.stop_runs(ids), "run", "success"))

    def write_runs(self, order: Order, runs: Sequence[str], state: str) -> None:
        """Write the state of runs that no process will write."""
        for chunk in _chunks(runs, _RUNS_CHANGED):
            inputs = [
                {"name": run_id, "entityName": order.entity, "modelName": order.project, "state": state}
                for run_id in chunk
            ]
            dict(self._each(operations.upsert_runs(inputs), "run", "bucket"))

    def show(self, sweeps: Sequence[tuple[Order, SweepRecord]]) -> None:
        """Show on the runs of schedulers what they have queued and wait for; their logs are the runs' notes."""
        inputs = [
            {
                "name": order.sweep_id,
                "entityName": order.entity,
                "modelName": order.project,
                "summaryMetrics": json.dumps({"runs_queued": len(record.queued), "runs_live": len(record.runs)}),
                "notes": safe("\n".join(record.log), limit=_LONGEST_NOTES),
            }
            for order, record in sweeps
        ]
        for chunk in _chunks(inputs, _RUNS_CHANGED):
            dict(self._each(operations.upsert_runs(chunk), "run", "bucket"))

    def state(self, order: Order) -> tuple[str, str | None]:
        """Return the storage id and the state of a sweep; an empty id and None if it does not exist."""
        path = (order.entity, order.project, order.sweep_id)
        found = at(self._graphql.execute(operations.sweep_states([path], [], [])), "sweep0", "sweep")
        return (str(found["id"]), str(found["state"]).upper()) if found else ("", None)

    def write_state(self, order: Order, storage_id: str, state: str) -> None:
        """Write the state of a sweep."""
        self._graphql.execute(operations.set_sweep_state(storage_id, order.entity, order.project, state))

    def _each(self, operation: Operation, name: str, field: str) -> Iterator[tuple[int, Any]]:
        """Send a document of many mutations; yield the number and the field of each that W&B accepted."""
        try:
            answer = self._graphql.execute_in_parts(operation)
        except WandbRefused:
            return
        for n in range(len(operation.variables)):
            value = at(answer.data, f"{name}{n}", field)
            if value is not None:
                yield n, value


def _groups(sweeps: Iterable[tuple[Order, SweepRecord]]) -> Iterator[list[tuple[Order, SweepRecord]]]:
    """Yield groups of sweeps with about a hundred runs together."""
    group, size = list[tuple[Order, SweepRecord]](), 0
    for each in sweeps:
        runs = len(each[1].runs) + 1
        if group and size + runs > _RUNS_ASKED + 2:
            yield group
            group, size = [], 0
        group.append(each)
        size += runs
    if group:
        yield group


def _asking(group: Sequence[tuple[Order, SweepRecord]]) -> Operation:
    live = [(order, run) for order, record in group for run in record.runs if run.item_id]
    return operations.sweep_states(
        [(order.entity, order.project, order.sweep_id) for order, _ in group],
        [(order.entity, order.project, run.run_id) for order, run in live],
        [(order.queue_entity, order.queue, str(run.item_id)) for order, run in live],
    )


def _input(push: Push) -> dict[str, Any]:
    given = {
        "entityName": push.queue_entity,
        "projectName": LAUNCH_PROJECT,
        "queueName": push.queue,
        "runSpec": json.dumps(push.run_spec),
        "priority": push.priority,
    }
    variables = push.template_variables
    return given if variables is None else {**given, "templateVariableValues": json.dumps(variables)}


def _storage_id(order: Order, run_id: str) -> str:
    """Return W&B's id of a run, as `wandb scheduler` makes it (wandb/sdk/launch/sweeps/scheduler.py, _stop_run)."""
    return base64.b64encode(f"Run:v1:{run_id}:{order.project}:{order.entity}".encode()).decode()


def _chunks(values: Sequence[Each], size: int) -> Iterator[Sequence[Each]]:
    return (values[start : start + size] for start in range(0, len(values), size))
