"""I11: no item, whatever it contains, changes another's outcome, and no run prevents the repair of another."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from local.wandb.queues import ItemState, RunQueueItem
from tests.simulation.dynamodb import Refused
from tests.simulation.faults import NoFaults
from tests.simulation.hostile import KINDS
from tests.simulation.training import Script
from tests.simulation.world import DAY, HOUR, MINUTE, Delivery, World, world


def ended_alike(made: World, honest: RunQueueItem, *, within: float = DAY) -> None:
    """Let everything end; check that the honest run finished, nothing is left, and no poll and no sweep failed."""
    assert made.run_until_idle(within=within), made.check().everything
    assert made.check().everything == []
    assert (made.outcome(honest) or {}).get("verdict") == "finished"
    (stack,) = made.stacks.values()
    assert not stack.unreported
    assert [stack.functions.failed[name] for name in ("poll_queues", "sweep_runs")] == [0, 0]


@pytest.mark.parametrize("name", KINDS)
def test_i11_three_hostile_items_change_nothing_for_an_honest_one(name: str) -> None:
    with world(11, NoFaults()) as made:
        made.clock.run(2 * MINUTE)
        hostile = [KINDS[name](made) for _ in range(3)]
        honest = made.push()
        ended_alike(made, honest)
        for item in hostile:
            assert item.state in (ItemState.CLAIMED, ItemState.FAILED)
            assert item.state is ItemState.CLAIMED or (item.error or {}).get("message")


def test_i11_an_honest_item_behind_all_hostile_ones_finishes() -> None:
    with world(11, NoFaults(), max_jobs=20) as made:
        made.clock.run(2 * MINUTE)
        for _ in range(3):
            for kind in KINDS.values():
                kind(made)
        honest = made.push()
        ended_alike(made, honest)


def _denied(_: Any) -> Any:
    raise Refused("AccessDeniedException", "is not authorized")


def _odd(found: Mapping[str, Any]) -> Any:
    """Return an answer with an invalid record and an invalid execution."""
    return {"Item": {"pk": found.get("Item", {}).get("pk", {"S": ""}), "state": {"S": "odd"}}}


@pytest.mark.parametrize("operation", ["DescribeExecution", "GetItem"])
@pytest.mark.parametrize("answer", [_denied, _odd], ids=["denied", "odd"])
def test_i11_a_run_that_cannot_be_repaired_keeps_no_other_from_being_repaired(
    operation: str, answer: Callable[[Mapping[str, Any]], Any]
) -> None:
    """The events of the stopped executions are lost: only the sweep can close the runs."""
    with world(11, NoFaults(), delivery=Delivery(dropped=1), script=lambda _: Script(training=DAY)) as made:
        items = sorted((made.push() for _ in range(3)), key=lambda item: item.id)
        while not all(made.jobs(item) for item in items):
            made.clock.run(MINUTE)
        (stack,) = made.stacks.values()
        first = made.execution(items[0])
        assert first
        part: Any = stack.machine if operation == "DescribeExecution" else stack.table
        answered = part.answer

        def instead(asked_for: str, asked: Any) -> Any:
            found = answered(asked_for, asked)
            is_of_first = items[0].id in str(asked) or first.arn in str(asked)
            return answer(found) if asked_for == operation and is_of_first else found

        part.answer = instead
        for item in items:
            made.stop_in_console(item)
        made.clock.run(HOUR)
        assert [(made.outcome(item) or {}).get("verdict") for item in items] == [None, "stopped", "stopped"]
        assert stack.functions.failed["sweep_runs"] == 0
        del part.answer
        made.clock.run(HOUR)
        assert (made.outcome(items[0]) or {}).get("verdict") == "stopped"
