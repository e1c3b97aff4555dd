"""A launch agent that another follows is shown as killed in W&B, and one whose stack is deleted too."""

from local.wandb.queues import ItemState
from tests.simulation.faults import Fault, FaultsAt, NoFaults, Site
from tests.simulation.world import ENTITY, MINUTE, World, world


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


def test_a_former_agent_that_w_and_b_refuses_to_change_keeps_no_other_from_polling() -> None:
    faults = FaultsAt(Site("poll_queues", "wandb", "UpdateLaunchAgent"), Fault.REFUSED, times=99)
    with world(6, faults) as made:
        made.clock.run(2 * MINUTE)
        reconfigured(made)
        made.clock.run(2 * MINUTE)
        assert faults.happened
        assert statuses(made) == ["POLLING", "POLLING"]
