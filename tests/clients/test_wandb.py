"""The W&B client with answers of any shape: one bad queue, item or run does not affect the others."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import pytest

from launch_agent.clients.answers import MAX_BYTES, Answer, read_answer
from launch_agent.clients.graphql import GraphqlClient, Operation
from launch_agent.clients.parallel import new_pool
from launch_agent.clients.wandb import Wandb
from launch_agent.clients.wandb_leases import Leased
from launch_agent.errors import WandbRefused, WandbUnavailable
from launch_agent.run_queue.items import RunPath


class Answering(GraphqlClient):
    """A connection that gets its answers, as bytes, from a test's function."""

    def __init__(self, answer: Callable[[Operation], bytes]) -> None:
        self._answer, self.asked = answer, list[Operation]()

    def execute_in_parts(self, operation: Operation) -> Answer:
        """Read the answer and raise errors like the real connection."""
        self.asked.append(operation)
        answer = read_answer(self._answer(operation)[: MAX_BYTES + 1])
        if answer is None or not (answer.data or answer.unread):
            raise WandbRefused("; ".join(answer.errors) if answer else "no answer")
        return answer


class Queues:
    """Run queues with raw run specs. A popped item is leased, and is not returned again."""

    def __init__(self, **specs: list[bytes]) -> None:
        self.waiting = {name: [(f"{name}{n}", spec) for n, spec in enumerate(queue)] for name, queue in specs.items()}
        self.refuses: set[str] = set()
        """Queues that make W&B refuse every request that includes them."""

    def __call__(self, operation: Operation) -> bytes:
        variables: Mapping[str, Any] = operation.variables
        pops = [line for line in operation.document.splitlines() if "popFromRunQueue" in line]
        names = [variables[line.partition("queueName: $")[2].partition(",")[0]] for line in pops]
        if self.refuses & set(names):
            return b'{"errors": [{"message": "permission denied"}], "data": null}'
        return b'{"data": {' + b", ".join(self._pop(n, name) for n, name in enumerate(names)) + b"}}"

    def _pop(self, number: int, name: str) -> bytes:
        try:
            item, spec = self.waiting[name].pop(0)  # atomic: requests come at the same time
        except IndexError:
            return f'"pop{number}": null'.encode()
        return f'"pop{number}": {{"runQueueItemId": "{item}", "runSpec": '.encode() + spec + b"}"


POOL = new_pool()


def lease(graphql: GraphqlClient, queues: Sequence[str], room: int = 100) -> Iterator[Leased]:
    """Lease at most `room` items, with threads as in Lambda."""
    left = [room]
    for batch in Wandb(graphql).lease("agent", "team", queues, room=lambda: left[0], status="POLLING", pool=POOL):
        left[0] -= len(batch)
        yield from batch


def leased(queues: Queues, room: int = 100) -> tuple[dict[str, str], int]:
    """Lease items; return each item's fault by its id, and the number of requests."""
    graphql = Answering(queues)
    return {each.item.id: each.fault for each in lease(graphql, list(queues.waiting), room)}, len(graphql.asked)


def test_many_items_are_leased_from_each_queue_in_turn_with_few_requests() -> None:
    queues = Queues(a=[b"{}"] * 200, b=[b"{}"] * 200, c=[b"{}"] * 200)
    graphql, left = Answering(queues), [300]
    batches = Wandb(graphql).lease("x", "t", "abc", room=lambda: left[0], status="POLLING", pool=POOL)
    for batch in batches:
        left[0] -= len(batch)
        assert len(batch) <= 50
        waiting = [len(queue) for queue in queues.waiting.values()]
        assert max(waiting) - min(waiting) <= 1
    assert (left[0], sum(len(queue) for queue in queues.waiting.values())) == (0, 300)
    assert len(graphql.asked) < 40
    assert ["status" in operation.variables for operation in graphql.asked].count(True) == 1


def test_items_of_requests_that_are_answered_are_leased_when_another_is_not() -> None:
    queues = Queues(a=[HONEST] * 100)
    calls = itertools.count()

    def answer(operation: Operation) -> bytes:
        if next(calls) == 7:
            raise WandbUnavailable("W&B answered HTTP 429")
        return queues(operation)

    found: list[str] = []
    with pytest.raises(WandbUnavailable):
        found.extend(each.item.id for each in lease(Answering(answer), "a"))
    assert len(found) == 100 - len(queues.waiting["a"])
    assert 30 < len(found) < 100


DEEP, LONG, MANY = b"[" * 3_000 + b"]" * 3_000, b'"' + b"x" * 11_000_000 + b'"', b"[" + b"[]," * 40_000 + b"1]"
HONEST = b'{"entity": "team"}'


@pytest.mark.parametrize("poison", [DEEP, LONG, MANY, b'"never ends'], ids=["deep", "long", "many", "never ends"])
@pytest.mark.parametrize("queue", ["a", "b"])
def test_an_item_that_cannot_be_read_keeps_no_other_from_being_leased(poison: bytes, queue: str) -> None:
    queues = Queues(a=[HONEST] * 4, b=[HONEST] * 4)
    queues.waiting[queue][1] = ("poison", poison)
    all_of_it: dict[str, str] = {}
    for _ in range(
        3
    ):  # items in an answer that was not read completely return to the queue, and a later poll gets them
        before = {name: list(items) for name, items in queues.waiting.items()}
        found, _ = leased(queues)
        all_of_it |= found
        queues.waiting = {name: [item for item in items if item[0] not in found] for name, items in before.items()}
    assert {item for item, fault in all_of_it.items() if fault} == {"poison"}
    assert len(all_of_it) == 8


def test_only_poison_in_a_queue_is_leased_in_as_many_requests() -> None:
    found, requests = leased(Queues(a=[LONG] * 5))
    assert all("more than 1000000 bytes" in fault for fault in found.values())
    # One for each item, one that is cut off, and one that finds the queue empty while another gets the last item.
    assert (len(found), requests) <= (5, 7)
    assert found


@pytest.mark.parametrize("queue", ["a", "b", "c"])
def test_a_queue_for_which_all_is_refused_keeps_no_other_from_being_served(queue: str) -> None:
    queues = Queues(a=[HONEST] * 2, b=[HONEST] * 2, c=[HONEST] * 2)
    queues.refuses = {queue}
    found: list[str] = []
    with pytest.raises(WandbRefused, match="permission denied"):
        found.extend(each.item.id for each in lease(Answering(queues), "abc"))
    assert len(found) == 4


@pytest.mark.parametrize("popped", [b'{"runQueueItemId": 5}', b'"text"', b"[1]", b'{"runQueueItemId": ["x"]}'])
def test_a_pop_that_is_no_item_is_no_item(popped: bytes) -> None:
    answers = iter([b'{"data": {"pop0": ' + popped + b"}}", b'{"data": {"pop0": null}}'])
    graphql = Answering(lambda _: next(answers))
    with pytest.raises(WandbRefused, match="does not match its schema") if popped[:1] == b"{" else nullcontext():
        assert list(lease(graphql, ["a"])) == []


def runs_of(*projects: str) -> dict[str, RunPath]:
    """Return a run of each of these projects, by their items."""
    return {f"item{n}": RunPath("team", project, f"run{n}") for n, project in enumerate(projects)}


class Runs:
    """Runs that are all stopped; some of them make W&B refuse the whole query."""

    def __init__(self, *forbidden: str) -> None:
        self._forbidden = set(forbidden)

    def __call__(self, operation: Operation) -> bytes:
        projects = {name: value for name, value in operation.variables.items() if name.startswith("project")}
        if self._forbidden & set(projects.values()):
            return b'{"errors": [{"message": "permission denied"}]}'
        runs = {name.replace("project", "run"): {"run": {"stopped": True}} for name in projects}
        return json.dumps({"data": {"launchAgent": {"id": "a", "name": "n", "stopPolling": False}, **runs}}).encode()


@pytest.mark.parametrize("count", [1, 2, 50, 250])
@pytest.mark.parametrize("forbidden", [0, 1, 2])
def test_runs_that_wandb_does_not_show_keep_no_other_from_being_stopped(count: int, forbidden: int) -> None:
    runs = runs_of(*("secret" if n < forbidden else "p" for n in range(count)))
    graphql = Answering(Runs("secret"))
    agent, stopped = Wandb(graphql).query_agent("a", runs, POOL)
    assert agent
    assert stopped == {f"item{n}" for n in range(forbidden, count)}
    assert len(graphql.asked) <= 3 + 30


def test_if_many_runs_are_hidden_the_others_are_read_in_a_few_polls() -> None:
    runs = runs_of(*("secret" if n % 2 else "p" for n in range(100)))
    stopped: set[str] = set()
    polls = 0
    while len(stopped) < 50:
        graphql = Answering(Runs("secret"))
        stopped |= Wandb(graphql).query_agent("a", runs, POOL)[1]
        assert len(graphql.asked) <= 1 + 30 + 1
        polls += 1
        assert polls < 100


def test_a_wandb_that_refuses_the_agent_too_says_so() -> None:
    with pytest.raises(WandbRefused):
        Wandb(Answering(lambda _: b'{"errors": ["no"]}')).query_agent("a", runs_of("p"), POOL)


@pytest.mark.parametrize(
    ("run", "may"),
    [
        (None, True),
        ({"state": None}, True),
        ({"state": "pending"}, True),
        ({"state": "finished"}, False),
        ({"state": "running", "wandbConfig": "{}"}, False),
        ({"state": "finished", "wandbConfig": '{"launch_trace_id": "item"}'}, True),
        ({"state": "finished", "wandbConfig": '{"launch_trace_id": "other"}'}, False),
        ({"state": "finished", "wandbConfig": '{"launch_trace_id": ["item"]}'}, False),
        ({"state": "finished", "wandbConfig": '"launch_trace_id"'}, False),
        ({"state": "finished", "wandbConfig": "no JSON"}, False),
        ({"state": "finished", "wandbConfig": "[" * 100_000}, False),
        ({"state": "pending", "wandbConfig": "no JSON"}, False),
        ({"state": "pending", "sweepName": "sweep"}, True),
        ({"state": "pending", "sweepName": "other"}, False),
        ({"state": "pending", "sweepName": None}, True),
        ({"state": "finished", "sweepName": "other", "wandbConfig": '{"launch_trace_id": "item"}'}, True),
    ],
)
def test_a_run_may_be_written_if_it_has_not_begun_or_is_the_items(run: dict[str, Any] | None, may: bool) -> None:
    wandb = Wandb(Answering(lambda _: json.dumps({"data": {"project": {"run": run}}}).encode()))
    assert wandb.seen_run("team", "p", "run").may_be_written("item", "sweep") is may
