"""The sweeps of W&B with answers of any shape: one sweep, agent or run does not affect the others."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
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


MINUTE = timedelta(minutes=1)
BEGUN = datetime(2026, 1, 2, tzinfo=UTC)
"""When a step began to queue runs."""
QUEUEING = SweepRecord(
    runs=(SweepRun(run_id="run1", worker=0, parameters={}), SweepRun(run_id="run2", worker=1, resumes=True)),
    pushing=("run1", "run2"),
    pushing_since=BEGUN,
)


def queue(ages: Sequence[tuple[str, timedelta]], *, newest_first: bool) -> tuple[WandbSweeps, list[Operation]]:
    """Return the client of a queue of items, oldest first: the run of each, and how much older it is than the step."""
    nodes = [
        {"id": f"item{n}", "createdAt": (BEGUN - age).isoformat(), "runSpec": {"run_id": run} if run else 7}
        for n, (run, age) in enumerate(ages)
    ]
    nodes = nodes[::-1] if newest_first else nodes

    def page(operation: Operation) -> Any:
        size, cursor = 100, operation.variables["cursor"]
        if "first: 100" in operation.document:
            start = int(cursor or 0)
            end = min(start + size, len(nodes))
            info = {"cursor": str(end), "goesOn": end < len(nodes)}
        else:
            end = int(cursor or len(nodes))
            start = max(end - size, 0)
            info = {"cursor": str(start), "goesOn": start > 0}
        edges = [{"node": node} for node in nodes[start:end]]
        return {"data": {"project": {"runQueue": {"runQueueItems": {"pageInfo": info, "edges": edges}}}}}

    return sweeps(page)


NEW_ITEMS = [("", -MINUTE)] * 250
ITEMS = [*[("run1", timedelta(days=3))] * 6_000, ("run2", 5 * MINUTE), ("run1", -MINUTE), ("run2", -MINUTE), *NEW_ITEMS]


@pytest.mark.parametrize("newest_first", [False, True])
def test_items_are_looked_for_as_far_as_the_time_of_the_step_in_a_queue_of_years(newest_first: bool) -> None:
    wandb, asked = queue(ITEMS, newest_first=newest_first)
    assert wandb.items_of(order(), QUEUEING) == {"run1": "item6001", "run2": "item6002"}
    assert len(asked) == 4


@pytest.mark.parametrize("newest_first", [False, True])
def test_an_item_of_an_earlier_time_is_not_taken_for_a_resumed_run(newest_first: bool) -> None:
    wandb, _ = queue([("run1", 5 * MINUTE), ("run2", 5 * MINUTE)], newest_first=newest_first)
    assert wandb.items_of(order(), QUEUEING) == {"run1": "item0"}  # clocks differ


@pytest.mark.parametrize("newest_first", [False, True])
def test_too_many_new_items_are_refused(newest_first: bool) -> None:
    wandb, _ = queue([("", -MINUTE)] * 5_001, newest_first=newest_first)
    with pytest.raises(WandbRefused, match="too many new items"):
        wandb.items_of(order(), QUEUEING)
