"""On real processes, too: a function that dies at a call, or does not hear what became of it, costs time and no more.

The calls are those of the simulated world's quiet run of an image. There each of them goes wrong in every way.
"""

import itertools

from tests.e2e.conftest import Application
from tests.handlers import NAMES
from tests.simulation.attack import ended
from tests.simulation.faults import NoFaults, Site

SELDOM = {
    # The key is read every five minutes by each process, an agent is registered once, and a poll asks for open runs
    # only where there are some. SageMaker is asked for what a status event lacks, which depends on its shape.
    *(Site(name, "secrets-manager", "GetSecretValue") for name in NAMES),
    Site("poll_queues", "dynamodb", "UpdateItem"),
    Site("poll_queues", "dynamodb", "Query"),
    Site("resume_run", "sagemaker", "DescribeTrainingJob"),
    Site("resume_run", "sagemaker", "ListTags"),
}
HOW = itertools.cycle(["killed after", "answer lost", "killed before"])


def test_a_call_that_goes_wrong_costs_time_and_no_more(app: Application) -> None:
    quiet = NoFaults()
    ended("image", quiet)
    # A sweep finds nothing to do in a quiet run, and W&B is not reached through the embedded AWS.
    for site in sorted(site for site in quiet.seen if site.service != "wandb" and site.function != "sweep_runs"):
        function = "".join(word.title() for word in site.function.split("_"))
        app.deployed.cloud.put_call_faults([{"function": function, "operation": site.operation, "how": next(HOW)}])
        item = app.quick()
        assert app.closed(item)["verdict"] == "finished", site
        (left,) = app.deployed.cloud.get("call-faults")
        assert left.get("times") == 0 or site in SELDOM, site
        assert len(app.training_jobs(item)) == 1, site
        assert item.state == "CLAIMED", site
    app.deployed.cloud.put_call_faults([])
