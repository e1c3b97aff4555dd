"""Polls lease whatever the queues have, as far as there is room and time, and one at a time does so."""

from collections import Counter

import pytest

from local.wandb.queues import ItemState
from tests.simulation.faults import Fault, FaultsAt, NoFaults, Site
from tests.simulation.training import Script
from tests.simulation.world import DAY, HOUR, MINUTE, World, world

MANY = {"max_jobs": 100_000, "quota": 100_000}


def seconds_to_lease(made: World, count: int, *, within: float = 10 * MINUTE) -> float:
    """Queue items; return the seconds from the first lease to the last."""
    items = [made.push() for _ in range(count)]
    first, end = 0.0, made.clock.now + within
    while any(item.state is ItemState.PENDING for item in items):
        made.clock.run(0.5)
        first = first or made.clock.now * (not all(item.state is ItemState.PENDING for item in items))
        assert made.clock.now < end
    return made.clock.now - first


def test_one_poll_leases_and_opens_a_thousand_items_in_seconds() -> None:
    faults = NoFaults()
    with world(5, faults, **MANY, script=lambda _: Script(training=HOUR)) as made:
        assert seconds_to_lease(made, 1000) < 10
        made.clock.run(MINUTE)
        assert len(made.training.jobs) == 1000
        of_poll = Counter(
            {site.operation: seen for site, seen in faults.seen.items() if site.function == "poll_queues"}
        )
        assert of_poll["StartExecution"] == 1000
        # Ten items for each request, and for each transaction.
        assert of_poll["UpdateAndPop"] < 130
        assert of_poll["TransactWriteItems"] < 130
        assert of_poll["GetItem"] < 10


def test_a_poll_that_runs_out_of_time_leaves_the_others_to_the_next() -> None:
    """Each call takes a second on average."""
    with world(5, NoFaults(), **MANY, latency=0.5) as made:
        items = [made.push() for _ in range(300)]
        assert made.run_until_idle(within=DAY)
        assert made.check().everything == []
        assert all(len(made.jobs(item)) == 1 for item in items)
        assert made.stacks["launch"].functions.failed["poll_queues"] == 0


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.REFUSED, Fault.LOST_ANSWER, Fault.KILLED_AFTER])
def test_a_poll_that_cannot_start_executions_leases_no_more(fault: Fault) -> None:
    faults = FaultsAt(Site("poll_queues", "sfn", "StartExecution"), fault, skip=20, times=200)
    with world(5, faults, **MANY) as made:
        items = [made.push() for _ in range(500)]
        before = -1
        while made.stacks["launch"].functions.failed["poll_queues"] == 0:
            made.clock.run(1)
            before = sum(item.state is ItemState.PENDING for item in items)
            if faults.happened == faults.times:
                break
        assert before > 300 or fault in (Fault.LOST_ANSWER,)
        assert made.run_until_idle(within=DAY)
        assert made.check().everything == []
        assert all(len(made.jobs(item)) == 1 for item in items)


def test_a_w_and_b_that_asks_for_patience_is_left_alone_until_the_next_poll() -> None:
    faults = FaultsAt(Site("poll_queues", "wandb", "UpdateAndPop"), Fault.THROTTLED, skip=8, times=40)
    with world(5, faults, **MANY) as made:
        items = [made.push() for _ in range(200)]
        made.clock.run(3 * MINUTE)
        # The requests that were sent at the same time, then one for each poll.
        assert faults.happened <= 5 + 2
        assert made.run_until_idle(within=DAY)
        assert made.check().everything == []
        assert all(len(made.jobs(item)) == 1 for item in items)


def test_polls_that_overlap_drain_the_queue_one_at_a_time() -> None:
    with world(5, NoFaults(), **MANY, duplicated=("poll_queues",), latency=0.5) as made:
        items = [made.push() for _ in range(100)]
        most = 0
        answer = made.answer

        def counted(*asked: object) -> object:
            nonlocal most
            if len(asked) == 4 and b"UpdateAndPop" in bytes(asked[3]):  # type: ignore[call-overload]  # a body
                most = max(most, bytes(asked[3]).count(b"popFromRunQueue"))  # type: ignore[call-overload]  # a body
            return answer(*asked)

        made.answer = counted  # type: ignore[method-assign]  # this is the point
        assert made.run_until_idle(within=DAY)
        assert most == 10
        assert made.check().everything == []
        assert all(len(made.jobs(item)) == 1 for item in items)
        agent = made.stacks["launch"].table.items["agent#team"]
        assert agent["draining_until"] == {"N": "0"}


def test_a_poll_that_dies_while_it_drains_holds_up_the_next_for_a_minute_at_most() -> None:
    faults = FaultsAt(Site("poll_queues", "sfn", "StartExecution"), Fault.KILLED_BEFORE, skip=30)
    with world(5, faults, **MANY) as made:
        for _ in range(200):
            made.push()
        while not faults.happened:
            made.clock.run(1)
        made.clock.run(3 * MINUTE)
        assert not made.queue.waiting
        assert made.run_until_idle(within=DAY)
        assert made.check().everything == []
