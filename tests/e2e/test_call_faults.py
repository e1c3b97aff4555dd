"""With real processes, too: if a function dies at a call or gets no answer, the run takes longer and still succeeds.

The calls are those of an undisturbed run of an image in the simulated world, where each of them fails in every way.
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


def test_a_call_that_goes_wrong_costs_time_and_no_more(app: Application) -> None:
    quiet = NoFaults()
    ended("image", quiet)
    # A sweep does nothing in an undisturbed run, and calls to W&B do not go through the embedded AWS.
    for site in sorted(site for site in quiet.seen if site.service != "wandb" and site.function != "sweep_runs"):
        function = "".join(word.title() for word in site.function.split("_"))
        app.deployed.cloud.put_call_faults([{"function": function, "operation": site.operation, "how": next(HOW)}])
        item = app.quick()
        # A poll that dies while it drains holds up the others for a minute.
        assert app.closed(item, within=150)["verdict"] == "finished", site
        (left,) = app.deployed.cloud.get("call-faults")
        assert left.get("times") == 0 or site in SELDOM, site
        assert len(app.training_jobs(item)) == 1, site
        assert item.state == "CLAIMED", site
    app.deployed.cloud.put_call_faults([])
