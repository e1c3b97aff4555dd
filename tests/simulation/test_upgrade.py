"""An execution keeps the state machine with which it began, and calls the functions that are there now."""

import copy
from typing import Any

from local.wandb.queues import ItemState
from tests.documents import MACHINE
from tests.simulation.faults import NoFaults
from tests.simulation.world import JOB, world

STAGE = "{% $states.errorOutput.Error = 'ImageBuildFailed' ? 'build' : 'agent' %}"


def older() -> dict[str, Any]:
    """The state machine before it had a function of its own for "Launch failed", when it chose the stages itself."""
    machine: dict[str, Any] = copy.deepcopy(MACHINE)
    machine["States"]["Launch failed"]["Arguments"]["FunctionName"] = "${ReportOutcomeFunction}"
    for name, state in machine["States"].items():
        for rule in state.get("Catch", []):
            if "Assign" in rule:
                del rule["Assign"]["failure"]["state"]
                rule["Assign"]["failure"]["stage"] = "build" if name == "Build image" else STAGE
    return machine


def test_an_execution_of_the_older_state_machine_fails_and_is_redriven() -> None:
    with world(12, NoFaults(), definition=older()) as made:
        made.training.refuses = "ValidationException"
        item = made.push()
        assert made.run_until_idle()
        execution = made.execution(item)
        assert execution
        assert (execution.status, execution.error) == ("FAILED", "LaunchFailed")
        assert "TrainingJobRejected" in execution.cause
        assert (made.verdicts(), item.state) == ({"not launched": 1}, ItemState.FAILED)
        assert item.error
        assert item.error["stage"] == "agent"
        made.training.refuses = ""
        made.redrive(item)
        made.clock.run(1)
        assert made.run_until_idle()
        assert (made.verdicts(), execution.status) == ({"finished": 1}, "SUCCEEDED")
        assert made.check().everything == []


def test_a_build_of_the_older_state_machine_that_failed_is_reported_as_one() -> None:
    with world(12, NoFaults(), definition=older(), builds_fail=lambda: True) as made:
        item = made.push(job=JOB)
        assert made.run_until_idle()
        assert item.error
        assert item.error["stage"] == "build"
        assert made.check().everything == []
