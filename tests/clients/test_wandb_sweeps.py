"""The sweeps of W&B with answers of any shape: one sweep, agent or run does not affect the others."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from launch_agent.clients.graphql import Operation
from launch_agent.clients.wandb_sweeps import WandbSweeps
from launch_agent.errors import WandbRefused
from launch_agent.sweeps.push import push_of
from launch_agent.sweeps.record import SweepRecord, SweepRun
from launch_agent.sweeps.scheduler import Seen
from tests.clients.test_wandb import Answering
from tests.sweeps.server import order

NO_ANSWER = {"errors": [{"message": "permission denied"}], "data": None}


def sweeps(answer: Callable[[Operation], Any]) -> tuple[WandbSweeps, list[Operation]]:
    """Return the client with a test's answers, and the list of its requests."""
    graphql = Answering(lambda operation: json.dumps(answer(operation)).encode())
    return WandbSweeps(graphql), graphql.asked


def record(*runs: str) -> SweepRecord:
    return SweepRecord(runs=tuple(SweepRun(run_id=run, worker=n, item_id=f"i-{run}") for n, run in enumerate(runs)))


def states(operation: Operation, hidden: str = "") -> Any:
    """Answer for every sweep, run and item that is asked for; refuse the whole request if it is about `hidden`."""
    ids = {name.removeprefix("id_"): value for name, value in operation.variables.items() if name.startswith("id_")}
    if hidden in ids.values():
        return NO_ANSWER
    answers = {
        "sweep": {"sweep": {"id": "1", "state": "RUNNING", "runCount": 1, "runCountExpected": 1}, "run": None},
        "run": {"run": {"state": "running"}},
        "item": {"runQueue": {"runQueueItem": {"state": "CLAIMED"}}},
    }
    return {"data": {name: answers[name.rstrip("0123456789")] for name in ids}}


def test_one_request_asks_for_the_sweeps_of_about_a_hundred_runs() -> None:
    wandb, asked = sweeps(states)
    many = [(order(sweep_id=f"s{n}"), record(*(f"r{n}-{m}" for m in range(50)))) for n in range(20)]
    seen = wandb.see(many)
    assert len(asked) == 10
    assert seen[7] == Seen(
        "RUNNING",
        {f"r7-{m}": "running" for m in range(50)},
        {f"i-r7-{m}": "CLAIMED" for m in range(50)},
        has_all_runs=True,
    )


def test_a_sweep_that_is_refused_hides_no_other() -> None:
    wandb, _ = sweeps(lambda operation: states(operation, hidden="s1"))
    seen = wandb.see([(order(sweep_id=f"s{n}"), record(f"r{n}")) for n in range(3)])
    assert [each and each.state for each in seen] == ["RUNNING", None, "RUNNING"]


def test_what_is_missing_next_to_an_error_may_exist() -> None:
    answer = states(Operation("", {"id_sweep0": "s", "id_run0": "r", "id_item0": "i"}, repeatable=True))
    answer["data"]["run0"] = None
    wandb, _ = sweeps(lambda _: {**answer, "errors": [{"message": "denied"}]})
    assert wandb.see([(order(), record("run1"))]) == [Seen("RUNNING", {}, {"i-run1": "CLAIMED"}, has_all_runs=True)]
    wandb, _ = sweeps(lambda _: answer)
    assert wandb.see([(order(), record("run1"))])[0] == Seen(
        "RUNNING", {"run1": None}, {"i-run1": "CLAIMED"}, has_all_runs=True
    )


def test_a_sweep_that_is_gone_is_seen_as_gone_only_without_an_error() -> None:
    gone = {"data": {"sweep0": {"sweep": None, "run": None}}}
    assert sweeps(lambda _: gone)[0].see([(order(), record())]) == [Seen(None)]
    assert sweeps(lambda _: {**gone, "errors": [{"message": "denied"}]})[0].see([(order(), record())]) == [None]


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ('[{"type": "exit"}]', [{"type": "exit"}]),
        ("[]", []),
        ("not json", [{}]),
        ('{"type": "run"}', [{}]),
        ("[1, null]", [{}, {}]),
    ],
)
def test_commands_that_cannot_be_read_are_unknown_ones(text: str, commands: list[Any]) -> None:
    wandb, _ = sweeps(lambda _: {"data": {"agent0": {"commands": text}}})
    assert dict(wandb.ask(["a"])) == {"a": commands}


def test_agents_without_an_answer_are_left_out() -> None:
    wandb, _ = sweeps(lambda _: {"data": {"agent0": None, "agent1": {"commands": "[]"}}, "errors": [{"message": "x"}]})
    assert dict(wandb.ask(["a", "b"])) == {"b": []}
    assert dict(sweeps(lambda _: NO_ANSWER)[0].ask(["a", "b"])) == {}


def test_runs_are_queued_ten_in_a_request() -> None:
    def accepted(operation: Operation) -> Any:
        return {"data": {f"push{n}": {"runQueueItemId": f"item{n}"} for n in range(len(operation.variables))}}

    wandb, asked = sweeps(accepted)
    pushes = [push_of(order(), f"run{n}", {"lr": n}) for n in range(25)]
    assert len(dict(wandb.push(pushes))) == 25
    assert [len(operation.variables) for operation in asked] == [10, 10, 5]
    assert json.loads(asked[0].variables["input3"]["runSpec"])["run_id"] == "run3"


def test_a_refused_run_says_why() -> None:
    wandb, _ = sweeps(lambda _: NO_ANSWER)
    assert dict(wandb.push([push_of(order(), "run1", {})])) == {}
    with pytest.raises(WandbRefused, match="permission denied"):
        wandb.push_one(push_of(order(), "run1", {}))


def test_items_are_looked_for_on_all_pages_and_those_of_an_earlier_time_are_not_taken_for_a_resumed_run() -> None:
    def page(operation: Operation) -> Any:
        first = operation.variables["after"] is None
        item = {"id": "old" if first else "new", "createdAt": f"2026-01-0{1 if first else 3}T00:00:00Z"}
        node = {**item, "runSpec": {"run_id": "run1"}}
        info = {"endCursor": "x", "hasNextPage": first}
        edges = [{"node": node}] if first else [{"node": {**node, "runSpec": 7}}, {"node": node}]
        return {"data": {"project": {"runQueue": {"runQueueItems": {"pageInfo": info, "edges": edges}}}}}

    wandb, _ = sweeps(page)
    run = SweepRun(run_id="run1", worker=0, parameters={}, resumes=True)
    pushing = SweepRecord(runs=(run,), pushing=("run1",), pushing_since=datetime(2026, 1, 2, tzinfo=UTC))
    assert wandb.items_of(order(), pushing) == {"run1": "new"}
    later = pushing.model_copy(update={"pushing_since": datetime(2026, 1, 5, tzinfo=UTC)})
    assert wandb.items_of(order(), later) == {}
