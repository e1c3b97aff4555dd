"""Polls lease whatever the queues have, as far as there is room and time, and one at a time does so."""

from collections import Counter
from itertools import groupby
from typing import Any

import pytest

from local.wandb.queues import ItemState
from tests.documents import template
from tests.simulation.faults import Fault, FaultsAt, NoFaults, Site
from tests.simulation.functions import Latency
from tests.simulation.machine import Done, TaskFailed
from tests.simulation.training import Script
from tests.simulation.world import DAY, HOUR, MINUTE, QUEUE, Delivery, World, queue_config, world

MANY = {"max_jobs": 100_000, "quota": 100_000}
INTERVALS = template()["Parameters"]["PollIntervalSeconds"]["AllowedValues"]


def seconds_to_lease(made: World, count: int, *, within: float = 10 * MINUTE) -> float:
    """Queue items; return the seconds from the first lease to the last."""
    items = [made.push() for _ in range(count)]
    first, end = 0.0, made.clock.now + within
    while any(item.state is ItemState.PENDING for item in items):
        made.clock.run(0.5)
        first = first or made.clock.now * (not all(item.state is ItemState.PENDING for item in items))
        assert made.clock.now < end
    return made.clock.now - first


def test_one_poll_leases_and_opens_a_hundred_items_in_seconds() -> None:
    """`make bench` does so with a thousand."""
    faults = NoFaults()
    with world(5, faults, **MANY, script=lambda _: Script(training=HOUR)) as made:
        assert seconds_to_lease(made, 100) < 3
        made.clock.run(MINUTE)
        assert len(made.training.jobs) == 100
        of_poll = Counter(
            {site.operation: seen for site, seen in faults.seen.items() if site.function == "poll_queues"}
        )
        assert of_poll["StartExecution"] == 100
        # Ten items for each request, and for each transaction.
        assert of_poll["UpdateAndPop"] < 20
        assert of_poll["TransactWriteItems"] < 20
        assert of_poll["GetItem"] < 10


def test_a_poll_that_runs_out_of_time_leaves_the_others_to_the_next() -> None:
    """Each call takes two seconds on average."""
    with world(5, NoFaults(), **MANY, latency=Latency(wandb=2, aws=2)) as made:
        items = [made.push() for _ in range(60)]
        assert made.run_until_idle(within=DAY)
        assert made.check().everything == []
        assert all(len(made.jobs(item)) == 1 for item in items)
        assert made.stacks["launch"].functions.failed["poll_queues"] == 0


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.REFUSED, Fault.LOST_ANSWER, Fault.KILLED_AFTER])
def test_a_poll_that_cannot_start_executions_leases_no_more(fault: Fault) -> None:
    faults = FaultsAt(Site("poll_queues", "sfn", "StartExecution"), fault, skip=10, times=20)
    with world(5, faults, **MANY) as made:
        items = [made.push() for _ in range(60)]
        before = -1
        while made.stacks["launch"].functions.failed["poll_queues"] == 0:
            made.clock.run(1)
            before = sum(item.state is ItemState.PENDING for item in items)
            if faults.happened == faults.times:
                break
        assert before > 20
        assert made.run_until_idle(within=DAY)
        assert made.check().everything == []
        assert all(len(made.jobs(item)) == 1 for item in items)


def test_a_w_and_b_that_asks_for_patience_is_left_alone_until_the_next_poll() -> None:
    faults = FaultsAt(Site("poll_queues", "wandb", "UpdateAndPop"), Fault.THROTTLED, skip=4, times=40)
    with world(5, faults, **MANY) as made:
        items = [made.push() for _ in range(60)]
        made.clock.run(3 * MINUTE)
        # The requests that were sent at the same time, then one for each poll.
        assert faults.happened <= 5 + 2
        assert made.run_until_idle(within=DAY)
        assert made.check().everything == []
        assert all(len(made.jobs(item)) == 1 for item in items)


def test_polls_that_overlap_drain_the_queue_one_at_a_time() -> None:
    with world(5, NoFaults(), **MANY, duplicated=("poll_queues",), latency=Latency(wandb=1, aws=1)) as made:
        items = [made.push() for _ in range(50)]
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
    faults = FaultsAt(Site("poll_queues", "sfn", "StartExecution"), Fault.KILLED_BEFORE, skip=10)
    with world(5, faults, **MANY) as made:
        for _ in range(40):
            made.push()
        while not faults.happened:
            made.clock.run(1)
        made.clock.run(3 * MINUTE)
        assert not made.queue.waiting
        assert made.run_until_idle(within=DAY)
        assert made.check().everything == []


def opened_after(made: World) -> float:
    """Queue an item; return the seconds until its execution starts."""
    item, begun = made.push(), made.clock.now
    while not made.execution(item):
        made.clock.run(0.1)
    return made.clock.now - begun


@pytest.mark.parametrize("seconds", INTERVALS)
def test_an_item_is_opened_within_the_interval(seconds: int) -> None:
    with world(5, NoFaults(), **MANY, poll_interval=seconds) as made:
        made.clock.run(2 * MINUTE)
        waits = []
        for _ in range(10):
            made.clock.run(made.clock.random.uniform(0, MINUTE))
            waits.append(opened_after(made))
        assert max(waits) < seconds + 3
        assert max(waits) > seconds / 2


def test_a_tick_that_finds_nothing_sends_w_and_b_one_request() -> None:
    faults = NoFaults()
    with world(5, faults, poll_interval=5) as made:
        made.clock.run(2 * MINUTE)
        faults.seen.clear()
        made.clock.run(10 * MINUTE)
        of_poll = {site.operation: seen for site, seen in faults.seen.items() if site.function == "poll_queues"}
        assert set(of_poll) <= {
            *("GetItem", "GetSecretValue", "SendMessageBatch", "LaunchAgentAndStops", "UpdateAndPop")
        }
        assert 118 <= of_poll["UpdateAndPop"] == of_poll["GetItem"] <= 122
        assert of_poll["LaunchAgentAndStops"] in (10, 11)
        assert of_poll["SendMessageBatch"] in (20, 22)


def test_ticks_ask_w_and_b_nothing_while_no_slot_is_free() -> None:
    faults = NoFaults()
    with world(5, faults, max_jobs=1, poll_interval=5, script=lambda _: Script(training=DAY)) as made:
        made.push()
        made.push()
        made.clock.run(5 * MINUTE)
        faults.seen.clear()
        made.clock.run(10 * MINUTE)
        asked = [site for site in faults.seen.elements() if (site.function, site.service) == ("poll_queues", "wandb")]
        assert len(asked) <= 3 * 11


@pytest.mark.parametrize(
    "delivery", [Delivery(dropped=1), Delivery(twice=1), Delivery(late=1)], ids=["lost", "twice", "late"]
)
def test_what_becomes_of_ticks_changes_nothing_but_latency(delivery: Delivery) -> None:
    with world(5, NoFaults(), **MANY, poll_interval=5, delivery=delivery) as made:
        items = [made.push() for _ in range(30)]
        made.clock.run(MINUTE + 5)
        assert not made.queue.waiting
        assert made.run_until_idle(within=DAY)
        assert made.check().everything == []
        assert all(len(made.jobs(item)) == 1 for item in items)


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.THROTTLED, Fault.NO_ANSWER, Fault.LOST_ANSWER])
def test_a_poll_that_cannot_send_its_ticks_polls_and_then_says_so(fault: Fault) -> None:
    faults = FaultsAt(Site("poll_queues", "sqs", "SendMessageBatch"), fault, times=10_000)
    with world(5, faults, poll_interval=15) as made:
        item = made.push()
        made.clock.run(2 * MINUTE)
        assert made.execution(item)
        assert made.stacks["launch"].functions.failed["poll_queues"]


def test_polling_that_was_stopped_in_w_and_b_is_stopped_for_ticks_too() -> None:
    with world(5, NoFaults(), poll_interval=5) as made:
        made.clock.run(2 * MINUTE)
        (agent,) = made.server.state.agents.values()
        agent.stop_polling = True
        made.clock.run(MINUTE + 5)
        item = made.push()
        made.clock.run(5 * MINUTE)
        assert (item.state, agent.agent_status) == (ItemState.PENDING, "KILLED")
        agent.stop_polling = False
        made.clock.run(MINUTE + 5)
        assert made.execution(item)


def test_no_tick_polls_for_a_stack_that_is_deleted() -> None:
    with world(5, NoFaults(), poll_interval=5) as made:
        made.clock.run(2 * MINUTE)
        made.delete_stack()
        made.clock.run(5 * MINUTE)
        assert made.check().everything == []


class Polls:
    """Counts the polls of a world, and how many run at the same time."""

    def __init__(self, made: World) -> None:
        self.begun = self.running = self.most = self.failed = 0
        functions = made.stacks["launch"].functions
        self._invoke, functions.invoke = functions.invoke, self._counted  # type: ignore[method-assign]  # the point

    def _counted(self, name: str, event: Any, done: Done) -> None:
        is_poll = name == "poll_queues"

        def ended(result: Any, failure: TaskFailed | None) -> None:
            self.running -= is_poll
            self.failed += is_poll and failure is not None
            done(result, failure)

        self.begun, self.running = self.begun + is_poll, self.running + is_poll
        self.most = max(self.most, self.running)
        self._invoke(name, event, ended)


@pytest.mark.parametrize("seconds", INTERVALS)
def test_a_minute_has_as_many_polls_as_intervals(seconds: int) -> None:
    with world(5, NoFaults(), poll_interval=seconds) as made:
        made.clock.run(2 * MINUTE)
        polls = Polls(made)
        made.clock.run(10 * MINUTE)
        assert abs(polls.begun - 10 * MINUTE / seconds) <= MINUTE / seconds
        assert (polls.most, polls.failed) == (1, 0)


def test_ticks_do_not_pile_up_while_w_and_b_is_slow() -> None:
    """A new account runs ten functions at a time, and runs need them too."""
    faults = FaultsAt(Site("poll_queues", "wandb", "UpdateAndPop"), Fault.SLOW, times=10_000)
    with world(5, faults, poll_interval=5) as made:
        polls = Polls(made)
        made.clock.run(10 * MINUTE)
        # Two ticks, and the call of the schedule, which may begin shortly before the last one ends.
        assert 2 <= polls.most <= 4
        faults.times = 0
        made.clock.run(3 * MINUTE)
        assert opened_after(made) < 10


@pytest.mark.parametrize("body", ["", "tock", "{}", "\x00", '{"Records": []}'])
def test_a_message_that_is_no_tick_is_a_poll_like_any_other(body: str) -> None:
    with world(5, NoFaults(), poll_interval=60) as made:
        made.clock.run(2 * MINUTE)
        polls = Polls(made)
        made.stacks["launch"].ticks.take({"Entries": [{"Id": "1", "MessageBody": body, "DelaySeconds": 0}]})
        made.clock.run(10 * MINUTE)
        assert (polls.begun - 10, polls.failed) == (1, 0)


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.KEY_REJECTED, Fault.KILLED_AFTER])
def test_a_tick_that_fails_does_not_come_again(fault: Fault) -> None:
    faults = FaultsAt(Site("poll_queues", "wandb", "UpdateAndPop"), fault, times=10_000)
    with world(5, faults, poll_interval=15) as made:
        made.clock.run(2 * MINUTE)
        polls = Polls(made)
        made.clock.run(10 * MINUTE)
        assert polls.begun == polls.failed == 40


def test_queues_take_turns_by_poll() -> None:
    """There is one slot, and the first queue of a poll gets it."""
    short = Script(pending=1, training=1, uploading=1)
    config = {"queues": [QUEUE, "other"]}
    with world(5, NoFaults(), max_jobs=1, poll_interval=15, config=config, script=lambda _: short) as made:
        made.server.create_queue("other", config=queue_config())
        for _ in range(20):
            made.push()
            made.push(queue="other")
        made.clock.run(10 * MINUTE)
        served = [job.tags["WandbQueue"] for job in made.training.jobs.values()]
        turns = len(list(groupby(served)))
        assert turns > 11  # more than there are minutes
        assert min(Counter(served).values()) >= 5
