"""The application's own events, in the simulated world: each is sent, and none affects its run."""

import json
import math

import pytest

from tests.simulation.attack import scenarios
from tests.simulation.faults import Fault, FaultsAt, NoFaults, Site
from tests.simulation.world import World, world


def sent(made: World) -> list[tuple[str, str]]:
    """The type of each event, and its verdict or its job."""
    details = [(each["DetailType"], json.loads(each["Detail"])) for each in made.events]
    return [(kind, detail.get("verdict") or detail["training_job_name"]) for kind, detail in details]


@pytest.mark.parametrize("scenario", ["image", "user code that fails", "code that cannot be built", "SageMaker fails"])
def test_a_run_is_launched_with_each_job_and_ends_once(scenario: str) -> None:
    act, verdict, different, _ = scenarios()[scenario]
    with world(7, NoFaults(), **different) as made:
        item = act(made)
        assert made.run_until_idle()
        launched = [("Run Launched", job.name) for job in made.jobs(item)]
        assert sent(made) == [*launched, ("Run Ended", verdict)]


def test_a_run_whose_execution_was_stopped_ends_by_a_sweep() -> None:
    act, verdict, different, _ = scenarios()["stopped in the console while it trains"]
    with world(7, NoFaults(), **different) as made:
        act(made)
        assert made.run_until_idle()
        assert sent(made)[-1] == ("Run Ended", verdict)


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.THROTTLED, Fault.BROKEN, Fault.NO_ANSWER])
@pytest.mark.parametrize("function", ["start_training", "report_outcome"])
def test_an_event_that_is_not_taken_is_counted_and_changes_nothing(function: str, fault: Fault) -> None:
    faults = FaultsAt(Site(function, "eventbridge", "PutEvents"), fault, times=math.inf)
    with world(7, faults) as made:
        item = made.push()
        assert made.run_until_idle()
        assert made.check().everything == []
        assert (made.outcome(item) or {})["verdict"] == "finished"
        assert faults.happened == 1  # it is not tried again
        assert made.stacks["launch"].functions.failed[function] == 0
        assert [line["EventsNotSent"] for line in made.metrics if "EventsNotSent" in line] == [[1.0]]
