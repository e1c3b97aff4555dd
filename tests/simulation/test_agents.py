"""A launch agent that another follows is shown as killed in W&B, and one whose stack is deleted too."""

import sys
from pathlib import Path

import pytest

from local.wandb.queues import ItemState
from tests.simulation.faults import Fault, FaultsAt, NoFaults, Site
from tests.simulation.world import ENTITY, MINUTE, STACK_ANSWERS, World, world


def statuses(made: World) -> list[str]:
    """The status of each launch agent, the oldest first."""
    return [agent.agent_status for agent in made.server.state.agents.values()]


def reconfigured(made: World) -> None:
    """Deploy another launch-config.yaml."""
    (stack,) = made.stacks.values()
    stack.table.items[f"agent#{ENTITY}"]["config_fingerprint"] = {"S": "that of another configuration"}


def test_an_agent_with_another_configuration_is_killed_when_its_successor_is_registered() -> None:
    with world(6, NoFaults()) as made:
        item = made.push()
        while not made.jobs(item):
            made.clock.run(1)
        reconfigured(made)
        made.clock.run(2 * MINUTE)
        assert statuses(made) == ["KILLED", "RUNNING"]
        assert made.run_until_idle()
        assert (made.verdicts(), item.state) == ({"finished": 1}, ItemState.CLAIMED)
        assert made.check().everything == []


def test_a_former_agent_is_killed_although_the_function_died_before_the_next_was_registered() -> None:
    faults = FaultsAt(Site("poll_queues", "wandb", "CreateLaunchAgent"), Fault.KILLED_BEFORE, skip=1)
    with world(6, faults) as made:
        made.clock.run(2 * MINUTE)
        reconfigured(made)
        made.clock.run(5 * MINUTE)
        assert faults.happened
        assert statuses(made) == ["KILLED", "POLLING"]


@pytest.mark.parametrize("fault", [Fault.BROKEN, Fault.REFUSED, Fault.KEY_REJECTED, Fault.MALFORMED])
def test_an_agent_that_could_not_be_registered_is_registered_by_the_next_poll(fault: Fault) -> None:
    """Otherwise every other poll would say that the agent is being registered, and not why it is not."""
    faults = FaultsAt(Site("poll_queues", "wandb", "CreateLaunchAgent"), fault)
    with world(6, faults) as made:
        (stack,) = made.stacks.values()
        while not faults.happened:
            made.clock.run(1)
        assert stack.table.items[f"agent#{ENTITY}"]["registering_until"] == {"N": "0"}
        made.clock.run(MINUTE)
        assert statuses(made) == ["POLLING"]


def test_a_former_agent_that_w_and_b_refuses_to_change_keeps_no_other_from_polling() -> None:
    faults = FaultsAt(Site("poll_queues", "wandb", "UpdateLaunchAgent"), Fault.REFUSED, times=99)
    with world(6, faults) as made:
        made.clock.run(2 * MINUTE)
        reconfigured(made)
        made.clock.run(2 * MINUTE)
        assert faults.happened
        assert statuses(made) == ["POLLING", "POLLING"]


def test_the_agent_of_a_stack_that_is_deleted_is_killed_and_the_deletion_goes_on() -> None:
    with world(6, NoFaults()) as made:
        made.push()
        assert made.run_until_idle()
        made.delete_stack()
        made.clock.run(2 * MINUTE)
        assert (statuses(made), made.stack_answers) == (["KILLED"], ["SUCCESS"])


@pytest.mark.parametrize("fault", [Fault.BROKEN, Fault.REFUSED, Fault.KEY_REJECTED, Fault.NO_ANSWER, Fault.MALFORMED])
def test_a_stack_is_deleted_whatever_w_and_b_says(fault: Fault) -> None:
    faults = FaultsAt(Site("retire_agent", "wandb", "UpdateLaunchAgent"), fault, times=99)
    with world(6, faults) as made:
        made.clock.run(2 * MINUTE)
        made.delete_stack()
        made.clock.run(MINUTE / 2)
        assert faults.happened
        assert made.stack_answers == ["SUCCESS"]


@pytest.mark.parametrize("config", ["queues: [sagemaker]\nentity: team", "queues: nonsense: ["])
def test_a_stack_is_deleted_that_has_no_agent_and_whatever_is_wrong_with_its_configuration(config: str) -> None:
    with world(6, NoFaults()) as made:
        Path(sys.path[0], "launch-config.yaml").write_text(config)
        made.delete_stack()
        made.clock.run(MINUTE / 2)
        assert (statuses(made), made.stack_answers) == ([], ["SUCCESS"])


@pytest.mark.parametrize("kind", ["Create", "Update"])
def test_a_stack_that_is_made_or_changed_is_answered_and_nothing_is_reported(kind: str) -> None:
    faults = NoFaults()
    with world(6, faults) as made:
        made.change_stack(kind)
        made.clock.run(MINUTE / 2)
        assert made.stack_answers == ["SUCCESS"]
        assert [site.operation for site in faults.seen if site.function == "retire_agent"] == [STACK_ANSWERS.strip("/")]


def test_without_slots_for_jobs_nothing_is_leased() -> None:
    with world(6, NoFaults(), max_jobs=0) as made:
        item = made.push()
        made.clock.run(10 * MINUTE)
        assert (item.state, made.execution(item)) == (ItemState.PENDING, None)
        assert statuses(made) == ["POLLING"]
