"""What queue items say while they wait: one warning, which is renewed."""

from collections import Counter
from typing import Any

import pytest

from local.wandb.queues import ItemState, RunQueueItem
from tests.simulation.faults import Fault, FaultsAt, NoFaults, Site
from tests.simulation.test_agents import reconfigured
from tests.simulation.test_endings import ended
from tests.simulation.training import Script
from tests.simulation.world import DAY, HOUR, JOB, MINUTE, QUEUE, World, queue_config, world

FULL = "waiting for a slot: 1 of 1 slots in use. max_jobs in launch-config.yaml is their number."
QUEUE_FULL = (
    'waiting for a slot: 1 of 1 slots of the queue "gpu" in use. max_jobs_per_queue in launch-config.yaml is their '
    "number."
)
LONG: dict[str, Any] = {"script": lambda _: Script(training=HOUR)}


def said(item: RunQueueItem) -> list[str]:
    return [str(warning["message"]) for warning in item.warnings]


def has_instances(made: World, item: RunQueueItem) -> str:
    return f"The training job {made.jobs(item)[-1].name} has its instances."


def test_items_in_the_queue_say_that_all_slots_are_in_use_and_then_that_they_train() -> None:
    with world(3, NoFaults(), max_jobs=1, script=lambda _: Script(training=HOUR)) as made:
        items = [made.push() for _ in range(3)]
        made.clock.run(20 * 60)
        running = [item for item in items if item.state is ItemState.CLAIMED]
        waiting = [item for item in items if item.state is ItemState.PENDING]
        assert [len(running), len(waiting)] == [1, 2]
        assert [said(item) for item in waiting] == [[FULL], [FULL]]
        for item in items:
            assert ended(made, item)["verdict"] == "finished"
            assert said(item) == ([] if item in running else [FULL, has_instances(made, item)])


def with_limited_queue(made: World, count: int) -> list[RunQueueItem]:
    """Create a second queue, and queue runs in it."""
    made.server.create_queue("gpu", config=queue_config())
    return [made.push(queue="gpu") for _ in range(count)]


def test_items_of_a_queue_that_is_full_say_that_it_is_and_other_queues_go_on() -> None:
    config = {"queues": [QUEUE, "gpu"], "max_jobs_per_queue": {"gpu": 1}}
    with world(3, NoFaults(), max_jobs=8, config=config, **LONG) as made:
        items, other = with_limited_queue(made, 3), made.push()
        made.clock.run(20 * MINUTE)
        waiting = [item for item in items if item.state is ItemState.PENDING]
        assert [said(item) for item in waiting] == [[QUEUE_FULL], [QUEUE_FULL]]
        made.clock.run(4 * HOUR)
        for item in (*items, other):
            assert ended(made, item)["verdict"] == "finished"
            assert said(item) == ([QUEUE_FULL, has_instances(made, item)] if item in waiting else [])


def test_items_of_a_queue_that_may_run_nothing_say_so() -> None:
    config = {"queues": [QUEUE, "gpu"], "max_jobs_per_queue": {"gpu": 0}}
    with world(3, NoFaults(), config=config) as made:
        (item,) = with_limited_queue(made, 1)
        made.clock.run(2 * HOUR)
        assert said(item) == [QUEUE_FULL.replace("1 of 1", "0 of 0")]


def test_an_item_that_meets_a_second_limit_says_both_and_each_once() -> None:
    """All slots are in use while its queue has none in use, and then its queue is full while others are free."""
    config = {"queues": [QUEUE, "gpu"], "max_jobs_per_queue": {"gpu": 1}}
    with world(3, NoFaults(), max_jobs=1, config=config, **LONG) as made:
        made.server.create_queue("gpu", config=queue_config())
        made.push()
        made.clock.run(5 * MINUTE)
        items = [made.push(queue="gpu") for _ in range(4)]
        made.clock.run(8 * HOUR)
        lines = [[line for warning in said(item) for line in warning.splitlines()] for item in items]
        assert sorted(len(each) for each in lines) == [2, 4, 4, 4]
        last = max(items, key=lambda item: made.jobs(item)[0].shown["CreationTime"])
        assert said(last) == [FULL, f"{FULL}\n{QUEUE_FULL}", has_instances(made, last)]


def test_items_say_it_again_when_the_configuration_has_changed_as_limits_may_be_others() -> None:
    with world(3, NoFaults(), max_jobs=1, **LONG) as made:
        items = [made.push() for _ in range(4)]
        made.clock.run(5 * MINUTE)
        reconfigured(made)
        made.clock.run(5 * MINUTE)
        waiting = [item for item in items if item.state is ItemState.PENDING]
        assert [said(item) for item in waiting] == [[FULL, FULL]] * 3


def test_waiting_items_cost_w_and_b_two_requests_a_minute_at_most_however_many_there_are() -> None:
    faults = NoFaults()
    config = {"queues": [QUEUE, "gpu"], "max_jobs_per_queue": {"gpu": 1}}
    with world(3, faults, max_jobs=8, poll_interval=15, config=config, **LONG) as made:
        with_limited_queue(made, 150)
        made.clock.run(2 * MINUTE)
        faults.seen.clear()
        made.clock.run(30 * MINUTE)
        asked = Counter(site.operation for site in faults.seen.elements() if site.function == "poll_queues")
        assert 29 <= asked["QueueItems"] <= 31
        assert asked["WarnItems"] <= 2
        assert asked["WarnItem"] == 0


def test_the_launch_agent_reports_its_status_while_every_queue_is_full() -> None:
    faults = NoFaults()
    with world(3, faults, max_jobs=8, config={"max_jobs_per_queue": {QUEUE: 1}}, **LONG) as made:
        made.push()
        made.clock.run(5 * MINUTE)
        faults.seen.clear()
        made.clock.run(10 * MINUTE)
        assert 9 <= faults.seen[Site("poll_queues", "wandb", "UpdateLaunchAgent")] <= 11


def test_runs_above_the_limit_of_their_instance_type_say_which_it_is() -> None:
    with world(3, NoFaults(), config={"max_jobs_per_instance_type": {"ml.m4.*": 1}}, **LONG) as made:
        items = [made.push() for _ in range(2)]
        made.clock.run(20 * MINUTE)
        (waiting,) = (item for item in items if said(item))
        assert said(waiting) == [
            "waiting for a slot: 1 of 1 slots for ml.m4.* in use. max_jobs_per_instance_type in launch-config.yaml is "
            "their number."
        ]


def test_a_sweep_that_waits_for_the_end_of_another_says_so_once_and_then_that_it_has_begun() -> None:
    with world(3, NoFaults(), max_schedulers=1, poll_interval=15, **LONG) as made:
        first = made.sweep()
        made.clock.run(5 * MINUTE)
        second = made.scheduler_of(made.sweep())
        made.clock.run(5 * MINUTE)
        full = (
            "waiting for a slot: 1 of 1 slots of sweep schedulers in use. max_schedulers in launch-config.yaml is "
            "their number."
        )
        assert said(made.scheduler_of(first)) == []
        assert said(second) == [full]
        assert made.run_until_idle(within=DAY)
        assert said(second) == [full, "The sweep has its slot."]


def test_a_scheduler_says_it_again_when_max_schedulers_may_be_another() -> None:
    with world(3, NoFaults(), max_schedulers=1, poll_interval=15, **LONG) as made:
        made.sweep()
        made.clock.run(5 * MINUTE)
        second = made.scheduler_of(made.sweep())
        made.clock.run(5 * MINUTE)
        reconfigured(made)
        made.clock.run(5 * MINUTE)
        assert [text.partition(":")[0] for text in said(second)][:2] == ["waiting for a slot"] * 2


def test_a_run_says_that_its_image_is_built_here_or_for_another_run() -> None:
    with world(3, NoFaults()) as made:
        items = [made.push(job=JOB), made.push(job=JOB)]
        for item in items:
            assert ended(made, item)["verdict"] == "finished"
        first = {said(item)[0].partition(".")[0] for item in items}
        assert first == {
            "building the image of the job",
            "waiting for the image of the job, which another run is building",
        }
        for item in items:
            assert said(item)[1:] == [has_instances(made, item)]


def test_what_changes_while_a_run_waits_is_renewed_and_what_does_not_is_not() -> None:
    """It waits for its build, then for quota, then for capacity, which it is refused again and again."""
    left = [30]

    def script(_: object) -> Script:
        left[0] -= 1
        return Script(0, failure="CapacityError: Unable to provision 2 instances." if left[0] >= 0 else "")

    with world(3, NoFaults(), quota=0, script=script) as made:
        item = made.push(job=JOB)
        made.clock.run(2 * HOUR)
        made.training.quota = 10
        assert made.run_until_idle(within=3 * DAY)
        assert [message.partition(":")[0].partition(".")[0] for message in said(item)] == [
            "building the image of the job",
            "waiting for quota",
            "waiting for capacity",
            f"The training job {made.jobs(item)[-1].name} has its instances",
        ]


def test_a_run_that_waits_for_nothing_says_nothing() -> None:
    with world(3, NoFaults()) as made:
        item = made.push()
        assert ended(made, item)["verdict"] == "finished"
        assert said(item) == []


@pytest.mark.parametrize("operation", ["QueueItems", "WarnItems"])
@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.BROKEN, Fault.LOST_ANSWER])
def test_a_poll_does_not_depend_on_what_items_say(operation: str, fault: Fault) -> None:
    faults = FaultsAt(Site("poll_queues", "wandb", operation), fault, times=1000)
    with world(3, faults, max_jobs=1) as made:
        items = [made.push() for _ in range(3)]
        for item in items:
            assert ended(made, item)["verdict"] == "finished"
        assert made.stacks["launch"].functions.failed["poll_queues"] == 0


def test_a_wait_that_w_and_b_does_not_take_is_told_again() -> None:
    faults = FaultsAt(Site("start_training", "wandb", "WarnItem"), Fault.REFUSED, times=2)
    with world(3, faults, quota=0) as made:
        item = made.push()
        made.clock.run(2 * HOUR)
        made.training.quota = 1
        assert ended(made, item)["verdict"] == "finished"
        assert len(said(item)) == 2
