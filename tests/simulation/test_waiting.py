"""What queue items say while they wait: one warning, which is renewed."""

import pytest

from local.wandb.queues import ItemState, RunQueueItem
from tests.simulation.faults import Fault, FaultsAt, NoFaults, Site
from tests.simulation.test_endings import ended
from tests.simulation.training import Script
from tests.simulation.world import DAY, HOUR, JOB, World, world

FULL = "waiting for a slot: 1 of 1 slots in use. max_jobs in launch-config.yaml is their number."


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


@pytest.mark.parametrize("operation", ["QueueItems", "WarnItem"])
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
