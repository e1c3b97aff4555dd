"""With real processes, too: if functions die at a call or get no answer, the run takes longer and still succeeds.

The calls are those of an undisturbed run of an image in the simulated world, where each of them fails in every way, one
at a time. Here a call of each function fails in one run, because no function's retries depend on those of another.
"""

import itertools

from tests.e2e.conftest import Application
from tests.handlers import NAMES
from tests.simulation.attack import ended
from tests.simulation.faults import NoFaults, Site

SELDOM = {
    # Each process reads the key every five minutes, an agent is registered once, and a poll reads open runs only if
    # there are some. Which calls to SageMaker follow a status event depends on the event's form.
    *(Site(name, "secrets-manager", "GetSecretValue") for name in NAMES),
    Site("poll_queues", "dynamodb", "UpdateItem"),
    Site("poll_queues", "dynamodb", "Query"),
    Site("resume_run", "sagemaker", "DescribeTrainingJob"),
    Site("resume_run", "sagemaker", "ListTags"),
    # A price is asked for once a week, and kept.
    Site("report_outcome", "pricing", "GetProducts"),
    Site("report_outcome", "dynamodb", "UpdateItem"),
}
HOW = itertools.cycle(["killed after", "answer lost", "killed before"])


def rounds() -> list[list[Site]]:
    """Return the calls of an undisturbed run, in as few lists as possible with at most one call of each function."""
    quiet = NoFaults()
    ended("image", quiet)
    # A sweep does nothing in an undisturbed run, and calls to W&B do not go through the embedded AWS.
    sites = sorted(site for site in quiet.seen if site.service != "wandb" and site.function != "sweep_runs")
    of_functions = [list(group) for _, group in itertools.groupby(sites, lambda site: site.function)]
    return [[site for site in each if site] for each in itertools.zip_longest(*of_functions)]


def test_a_call_that_goes_wrong_costs_time_and_no_more(app: Application) -> None:
    for sites in rounds():
        names = ["".join(word.title() for word in site.function.split("_")) for site in sites]
        faults = [
            {"function": name, "operation": site.operation, "how": next(HOW)}
            for name, site in zip(names, sites, strict=True)
        ]
        app.deployed.cloud.put_call_faults(faults)
        item = app.quick()
        # A poll that dies while it drains holds up the others for a minute.
        assert app.closed(item, within=150)["verdict"] == "finished", faults
        for site, left in zip(sites, app.deployed.cloud.get("call-faults"), strict=True):
            assert left.get("times") == 0 or site in SELDOM, site
        assert len(app.training_jobs(item)) == 1, faults
        assert item.state == "CLAIMED", faults
    app.deployed.cloud.put_call_faults([])
