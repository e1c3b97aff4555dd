"""The invariants: each test is named after a promise, and tries to break it.

The promises are those of docs/architecture.md, "What holds whatever happens".
"""

import json
from collections import Counter
from typing import Any

import pytest

from local.wandb.queues import ItemState, RunQueueItem
from tests.handlers import NAMES
from tests.simulation.faults import Fault, FaultsAt, NoFaults, Site, WandbOutage
from tests.simulation.training import Job, Script
from tests.simulation.world import DAY, ENTITY, HOUR, JOB, MINUTE, SECRET_OF_QUEUE, Delivery, World, world


def ended_well(made: World, verdict: str = "finished", *, within: float = DAY) -> None:
    """Let everything end, and check that all runs have this verdict and nothing is left."""
    assert made.run_until_idle(within=within), made.check().everything
    assert made.check().everything == []
    assert set(made.verdicts()) == {verdict}


# --- I1: an item that W&B leased is acknowledged and has one outcome, or is returned. It is never lost.
@pytest.mark.parametrize("fault", [Fault.LOST_ANSWER, Fault.KILLED_DURING, Fault.KILLED_AFTER])
def test_i1_an_acknowledgement_whose_answer_was_not_received_loses_no_item(fault: Fault) -> None:
    faults = FaultsAt(Site("plan_run", "wandb", "AckItem"), fault, times=50)
    with world(1, faults) as made:
        item = made.push()
        assert made.run_until_idle()
        assert made.check().everything == []
        assert item.state in (ItemState.CLAIMED, ItemState.FAILED)
        assert made.outcome(item)


def test_i1_an_item_that_cannot_be_acknowledged_goes_back_and_runs_later() -> None:
    faults = FaultsAt(Site("plan_run", "wandb", "AckItem"), Fault.NO_ANSWER, times=24)
    with world(1, faults) as made:
        item = made.push()
        ended_well(made)
        assert len([each for each in made.stacks["launch"].machine.executions.values()]) > 1
        assert len(made.jobs(item)) == 1


def test_i1_a_table_that_is_throttled_after_the_acknowledgement_loses_no_item() -> None:
    """botocore tries three times, and the state machine for minutes: W&B does not lease an acknowledged item again."""
    with world(1, FaultsAt(Site("plan_run", "dynamodb", "UpdateItem"), Fault.THROTTLED, times=3 * 12)) as made:
        made.push()
        ended_well(made)


@pytest.mark.parametrize("seconds", [MINUTE, 5 * MINUTE])
def test_i1_an_account_that_runs_no_more_functions_for_minutes_loses_no_item(seconds: float) -> None:
    with world(1, FaultsAt(Site("plan_run", "dynamodb", "UpdateItem"), Fault.THROTTLED, times=3)) as made:
        item = made.push()
        while item.state is not ItemState.CLAIMED:
            made.clock.run(0.1)
        made.stacks["launch"].functions.throttled_until = made.clock.now + seconds
        ended_well(made)


# --- I2: an item has at most one training job at a time.
@pytest.mark.parametrize("fault", [Fault.LOST_ANSWER, Fault.KILLED_DURING, Fault.KILLED_AFTER])
@pytest.mark.parametrize("times", [1, 3])
def test_i2_a_training_job_whose_creation_was_not_recorded_is_taken_over(fault: Fault, times: int) -> None:
    faults = FaultsAt(Site("start_training", "sagemaker", "CreateTrainingJob"), fault, times=times)
    with world(2, faults) as made:
        item = made.push()
        ended_well(made)
        assert len(made.jobs(item)) == 1


@pytest.mark.parametrize("quota", [1, 10])
def test_i2_functions_that_run_twice_at_a_time_make_one_training_job(quota: int) -> None:
    with world(2, NoFaults(), duplicated=NAMES, quota=quota, delivery=Delivery(twice=1)) as made:
        items = [made.push() for _ in range(4)]
        ended_well(made)
        assert [len(made.jobs(item)) for item in items] == [1] * 4


def test_i2_a_job_follows_another_only_when_that_has_ended() -> None:
    """Late events of the first jobs do not end the last."""
    made_for: Counter[str] = Counter()

    def script(asked: dict[str, Any]) -> Script:
        made_for[asked["Environment"]["WANDB_RUN_ID"]] += 1
        is_last = made_for[asked["Environment"]["WANDB_RUN_ID"]] > 3
        return Script(training=3 * HOUR) if is_last else Script(failure="InternalServerError: sorry")

    with world(2, NoFaults(), script=script, delivery=Delivery(twice=1, late=0.5), max_jobs=8) as made:
        items = [made.push() for _ in range(8)]
        ended_well(made)
        for item in items:
            environments = [job.request["Environment"] for job in made.jobs(item)]
            assert [each.get("WANDB_RESUME") for each in environments] == [None, "allow", "allow", "allow"]
            assert len({each["WANDB_RUN_ID"] for each in environments}) == 1


# --- I3: open runs never exceed max_jobs, and the slots in use are the open runs.
@pytest.mark.parametrize("max_jobs", [1, 3])
def test_i3_pollers_that_overlap_open_no_more_runs_than_there_are_slots(max_jobs: int) -> None:
    with world(3, NoFaults(), max_jobs=max_jobs, duplicated=("poll_queues", "report_outcome")) as made:
        for _ in range(9):
            made.push()
        most = 0
        while not made.is_idle:
            made.clock.run(1)
            most = max(most, len(made.stacks["launch"].open))
        assert most == max_jobs
        ended_well(made)
        assert made.stacks["launch"].table.items[f"agent#{ENTITY}"]["jobs_open"] == {"N": "0"}


def test_i3_a_count_that_is_wrong_is_corrected() -> None:
    with world(3, NoFaults()) as made:
        made.push()
        ended_well(made)
        agent = made.stacks["launch"].table.items[f"agent#{ENTITY}"]
        for wrong in ("3", "-2"):
            agent["jobs_open"] = {"N": wrong}
            made.stacks["launch"].table.items[f"agent#{ENTITY}"] = agent
            made.clock.run(11 * MINUTE)
            agent = made.stacks["launch"].table.items[f"agent#{ENTITY}"]
            assert agent["jobs_open"] == {"N": "0"}


def test_i3_sweeps_among_runs_that_come_and_go_count_nothing_wrong() -> None:
    """The list of open runs is older than the count: they may differ, even twice by the same number."""
    with world(3, NoFaults(), max_jobs=3, poll_every=1, script=lambda _: Script(1, 1, 1)) as made:
        for _ in range(60):
            made.push()
        ended_well(made)


# --- I4: the end of an execution ends its build and its training job, is reported, and frees the slot.
@pytest.mark.parametrize("state", ["Plan run", "Build image", "Train", "Report outcome"])
@pytest.mark.parametrize("status", ["ABORTED", "TIMED_OUT", "FAILED"])
@pytest.mark.parametrize("event", ["told", "not told"])
def test_i4_an_execution_that_ends_in_any_state_leaves_nothing_behind(state: str, status: str, event: str) -> None:
    delivery = Delivery(dropped=0.0 if event == "told" else 1.0)
    with world(4, NoFaults(), delivery=delivery) as made:
        item = made.push(job=JOB)
        machine = made.stacks["launch"].machine
        for _ in range(100_000):
            made.clock.run(0.01 if state in ("Plan run", "Report outcome") else 5)
            execution = made.execution(item)
            if execution and execution.state == state:
                break
        else:
            raise AssertionError("the state was never reached")
        machine.end(execution, status, error="" if status == "ABORTED" else "States.Runtime", cause="")
        assert made.run_until_idle(within=DAY)
        assert made.check().everything == []
        outcome = made.outcome(item)
        assert outcome
        expected = {"ABORTED": {"stopped", "finished"}}.get(status, {"not launched", "finished"})
        assert outcome["verdict"] in expected


@pytest.mark.parametrize("stop", ["stop_in_wandb", "stop_in_console", "stop_job"])
@pytest.mark.parametrize("after", [0.2, 30, 3 * MINUTE, 6 * MINUTE])
def test_i4_a_stop_is_a_stop(stop: str, after: float) -> None:
    with world(4, NoFaults(), script=lambda _: Script(training=DAY)) as made:
        item = made.push(job=JOB)
        while item.state is not ItemState.CLAIMED:
            made.clock.run(0.1)
        made.clock.run(after)
        getattr(made, stop)(item)
        if stop == "stop_job" and not made.jobs(item):
            return  # there is nothing to stop in SageMaker yet
        assert made.run_until_idle(within=HOUR), made.check().everything
        assert made.check().everything == []
        assert made.verdicts() == {"stopped": 1}


@pytest.mark.parametrize("seed", range(8))
def test_i4_a_run_that_was_stopped_is_not_tried_again(seed: int) -> None:
    """SageMaker fails the job just after a user stops the run in W&B, before the stop reaches the job."""
    with world(seed, NoFaults(), script=lambda _: Script(pending=HOUR)) as made:
        item = made.push()
        while not made.jobs(item):
            made.clock.run(1)
        made.stop_in_wandb(item)
        while "stop_requested_at" not in made.records(item.id)[0]:
            made.clock.run(1)
        (job,) = made.jobs(item)
        job.shown["FailureReason"] = "InternalServerError: sorry"
        made.training.end(job, "Failed", "Failed")
        assert made.run_until_idle(within=HOUR)
        assert made.check().everything == []
        assert len(made.jobs(item)) == 1


@pytest.mark.parametrize(("dropped", "within"), [(0.0, 40), (1.0, 6 * MINUTE)], ids=["told", "not told"])
def test_i4_a_training_job_of_a_closed_run_is_stopped(dropped: float, within: float) -> None:
    with world(4, NoFaults(), delivery=Delivery(dropped=dropped)) as made:
        item = made.push()
        ended_well(made)
        (job,) = made.jobs(item)
        tags = [{"Key": key, "Value": value} for key, value in job.tags.items()]
        stray = made.training.made(
            {**job.request, "TrainingJobName": "stray", "Tags": tags, "InputDataConfig": []},
            Script(pending=30, training=DAY),
        )
        made.clock.run(within)
        assert stray.shown["TrainingJobStatus"] in ("Stopping", "Stopped")


def test_i4_a_training_job_that_outlives_its_own_limits_is_stopped() -> None:
    """SageMaker stops a job at its limits; if it does not, the state machine's timeout is the last resort."""
    with world(4, NoFaults(), script=lambda _: Script(training=10 * DAY), poll_every=HOUR) as made:
        item = made.push()
        ended_well(made, "not launched", within=2 * DAY)
        assert item.error
        assert "States.Timeout" in item.error["message"]
        assert [job.shown["TrainingJobStatus"] for job in made.jobs(item)] == ["Stopped"]


# --- I5: secrets are only where they are allowed. Every world checks this; these tests check it for errors.
def test_i5_no_secret_is_in_what_a_failing_launch_leaves_behind() -> None:
    with world(5, NoFaults()) as made:
        made.training.refuses = "ValidationException"
        item = made.push()
        ended_well(made, "not launched")
        assert item.error
        assert "hunter2" not in json.dumps(item.error)


# --- I6: W&B may be unavailable for any length of time.
@pytest.mark.parametrize(
    "away", [Fault.BROKEN, Fault.THROTTLED, Fault.NO_ANSWER, Fault.MALFORMED, Fault.KEY_REJECTED, Fault.SLOW]
)
def test_i6_an_outage_loses_nothing(away: Fault) -> None:
    outage(away, lasts=5 * HOUR, poll_every=5 * MINUTE)


def test_i6_an_outage_of_a_week_loses_nothing() -> None:
    outage(Fault.BROKEN, lasts=7 * DAY, poll_every=6 * HOUR)


def outage(away: Fault, *, lasts: float, poll_every: float) -> None:
    """Make W&B unavailable while runs train, and while others wait in its queue."""
    faults = WandbOutage(NoFaults(), away)
    with world(6, faults, script=lambda _: Script(training=HOUR), poll_every=poll_every) as made:
        before = [made.push() for _ in range(3)]
        while not all(made.jobs(item) for item in before):
            made.clock.run(MINUTE)
        faults.is_active = True
        during = [made.push() for _ in range(3)]
        made.clock.run(lasts)
        assert made.undelivered > 0  # polls fail, which raises the alarm
        assert [made.outcome(item) for item in before + during] == [None] * 6
        assert not any(job.is_live for job in made.training.jobs.values())
        faults.is_active = False
        ended_well(made)
        assert all(len(made.jobs(item)) == 1 for item in before + during)


def test_i6_an_outage_is_no_storm() -> None:
    quiet = NoFaults()
    faults = WandbOutage(quiet, Fault.BROKEN)
    with world(6, faults, script=lambda _: Script(training=HOUR), poll_every=5 * MINUTE) as made:
        for _ in range(4):
            made.push()
        made.clock.run(30 * MINUTE)
        faults.is_active = True
        made.clock.run(DAY)
        # A poll asks once, and a sweep once for the items that wait.
        asked = {
            site: count
            for site, count in faults.asked.items()
            if site.function != "poll_queues" and site.operation != "QueueItems"
        }
        # Four reports, each retried after growing delays of up to an hour, with one immediate retry.
        assert sum(asked.values()) < 4 * 2 * 60


# --- I7: events make it fast; without them, a run takes one sweep longer.
@pytest.mark.parametrize(
    "delivery", [Delivery(dropped=1), Delivery(twice=1), Delivery(late=1)], ids=["dropped", "twice", "late"]
)
@pytest.mark.parametrize("failure", ["", "AlgorithmError: exit code 1"])
def test_i7_what_becomes_of_events_changes_nothing_but_latency(delivery: Delivery, failure: str) -> None:
    with world(7, NoFaults(), delivery=delivery, script=lambda _: Script(failure=failure)) as made:
        item = made.push()
        while not (made.jobs(item) and not made.jobs(item)[0].is_live):
            made.clock.run(1)
        made.clock.run(6 * MINUTE + 30)
        outcome = made.outcome(item)
        assert outcome
        assert outcome["verdict"] == ("failed" if failure else "finished")
        assert made.check().everything == []


# --- I8: unknown values never crash anything, and never count as success.
@pytest.mark.parametrize(("status", "secondary"), [("Rewound", "Rewound"), ("InProgress", "Pondering")])
def test_i8_an_unknown_status_is_waited_on(status: str, secondary: str) -> None:
    with world(8, NoFaults()) as made:
        item = made.push()
        while not made.jobs(item):
            made.clock.run(1)
        (job,) = made.jobs(item)
        made.training.move(job, status, secondary)
        made.clock.run(1)
        assert made.outcome(item) is None
        ended_well(made)
        assert made.undelivered == 0


@pytest.mark.parametrize(
    "spec",
    [
        {"docker": None},
        {"docker": {"docker_image": 7}},
        {"job": "no/such/job:v9", "docker": {}},
        {"resource": "kubernetes"},
        {"overrides": {"args": {"a": 1}}},
        {"resource_args": {"sagemaker": {"ResourceConfig": "big"}}},
        {"resource_args": {"sagemaker": None}, "entity": None},
        {"run_id": "../../etc"},
    ],
    ids=lambda spec: json.dumps(spec),
)
def test_i8_an_unexpected_run_spec_ends_with_words_or_runs(spec: dict[str, Any]) -> None:
    with world(8, NoFaults()) as made:
        item = made.push(**spec)
        made.push()
        assert made.run_until_idle(within=DAY)
        assert made.check().everything == []
        outcome = made.outcome(item)
        assert outcome
        if outcome["verdict"] == "not launched":
            assert outcome["reason"].split(":")[0] in ("InvalidRunSpec", "UnsupportedJobSource", "JobArtifactNotFound")


def test_i8_an_event_that_says_nothing_is_no_success() -> None:
    with world(8, NoFaults()) as made:
        item = made.push()
        while not made.jobs(item):
            made.clock.run(1)
        (job,) = made.jobs(item)
        bare = Job(job.request, {**job.shown, "TrainingJobStatus": "", "SecondaryStatus": ""}, job.script, job.tags)
        made.job_changed(bare)
        made.clock.run(10)
        assert made.outcome(item) is None
        ended_well(made)


# --- I10: an item runs once, even if others serve the queue too.
def test_i10_two_stacks_on_one_queue_run_every_item_once() -> None:
    with world(10, NoFaults(), stacks=2, duplicated=("poll_queues",), delivery=Delivery(twice=0.5)) as made:
        items = [made.push() for _ in range(20)]
        ended_well(made)
        assert [len(made.jobs(item)) for item in items] == [1] * 20
        assert len({job.tags["LaunchStack"] for job in made.training.jobs.values()}) == 2


def test_i10_an_acknowledgement_that_is_late_is_not_believed() -> None:
    """W&B accepts it from any agent, and both stacks would have a run with the same id."""
    with world(10, FaultsAt(Site("plan_run", "wandb", "AckItem"), Fault.SLOW), stacks=2) as made:
        item = made.push()
        while item.state is not ItemState.LEASED:
            made.clock.run(0.1)
        made.clock.run(1)
        item.leased_until = 0
        (other,) = [stack for stack in made.stacks.values() if f"run#{item.id}" not in stack.table.items]
        made.invoke(other, "poll_queues", {})
        ended_well(made)
        assert [job.tags["LaunchStack"] for job in made.jobs(item)] == [other.name]


@pytest.mark.parametrize("spec", [{}, {"docker": {"docker_image": "not/in-ecr"}}], ids=["valid", "not valid"])
def test_i10_an_item_whose_lease_another_agent_got_is_left_to_it(spec: dict[str, Any]) -> None:
    """Acknowledging takes longer than the lease: by then, another agent has the item."""
    with world(10, FaultsAt(Site("plan_run", "wandb", "AckItem"), Fault.NO_ANSWER, times=8), max_jobs=1) as made:
        item = made.push(**spec)
        while item.state is not ItemState.LEASED:
            made.clock.run(0.1)
        item.leased_until = 0
        rival = _rival_takes(made, item)
        assert made.run_until_idle(within=HOUR)
        assert (item.associated_run_id, item.launch_agent_id) == ("of-the-rival", rival)
        assert made.jobs(item) == []
        assert item.error is None
        assert [record["state"]["S"] for record in made.records(item.id)] == ["returned"]
        assert not made.stacks["launch"].unreported


def _rival_takes(made: World, item: RunQueueItem) -> str:
    """Let another launch agent lease and acknowledge an item, as the reference does."""
    create = "mutation C($input: CreateLaunchAgentInput!) { createLaunchAgent(input: $input) { launchAgentId } }"
    given = {
        "entityName": ENTITY,
        "projectName": "model-registry",
        "runQueues": [made.queue.id],
        "hostname": "elsewhere",
    }
    answer, _ = made.server.execute(create, {"input": given})
    agent = str(answer["data"]["createLaunchAgent"]["launchAgentId"])
    assert made.queue.pop(agent) is item
    assert item.ack("of-the-rival")
    return agent


# --- and the quota's error message is understood
def test_a_quota_that_is_used_up_is_named_on_the_queue_item_once() -> None:
    with world(11, NoFaults(), quota=0) as made:
        item = made.push()
        made.clock.run(5 * HOUR)
        made.training.quota = 1
        ended_well(made)
        assert [warning["message"] for warning in item.warnings] == [
            "waiting for quota: ml.m5.large for training job usage. Request a higher quota in the Service "
            "Quotas console.",
            f"The training job {made.jobs(item)[0].name} has its instances.",
        ]


# --- and runs continue after an operator fixes their cause
def test_an_execution_that_is_redriven_launches_its_run_again() -> None:
    with world(12, NoFaults()) as made:
        made.training.refuses = "ValidationException"
        item = made.push()
        assert made.run_until_idle()
        assert (made.verdicts(), item.state) == ({"not launched": 1}, ItemState.FAILED)
        execution = made.execution(item)
        assert execution
        assert (execution.status, execution.error) == ("FAILED", "LaunchFailed")
        assert execution.cause == (made.outcome(item) or {})["reason"]  # a sentence: no JSON, no stack trace
        redrive(made, item)
        assert made.run_until_idle()
        assert made.verdicts() == {"not launched": 1}  # the mistake was not fixed
        made.training.refuses = ""
        redrive(made, item)
        assert made.run_until_idle()
        assert (made.verdicts(), execution.status) == ({"finished": 1}, "SUCCEEDED")
        (job,) = made.jobs(item)
        assert job.request["Environment"]["WANDB_RESUME"] == "allow"
        assert made.check().everything == []


@pytest.mark.parametrize("max_jobs", [1, 2])
def test_a_redriven_run_waits_for_a_slot(max_jobs: int) -> None:
    with world(12, NoFaults(), max_jobs=max_jobs, script=lambda _: Script(training=HOUR)) as made:
        made.training.refuses = "ValidationException"
        item = made.push()
        assert made.run_until_idle()
        made.training.refuses = ""
        other = made.push()
        made.clock.run(2 * MINUTE)
        redrive(made, item)
        made.clock.run(5 * MINUTE)
        assert len(made.jobs(item)) == max_jobs - 1
        assert made.run_until_idle(until=lambda: len(made.jobs(item)) == 1)
        assert made.verdicts() == {"finished": 2}
        assert len(made.jobs(other)) == 1
        assert made.check().everything == []


@pytest.mark.parametrize(
    ("after", "jobs"), [(1, ["Completed"]), (6 * MINUTE, ["Stopped", "Completed"])], ids=["at once", "later"]
)
def test_a_stopped_execution_that_is_redriven_continues_or_starts_over(after: float, jobs: list[str]) -> None:
    no_events = Delivery(dropped=1)
    with world(12, NoFaults(), script=lambda _: Script(training=HOUR), delivery=no_events) as made:
        item = made.push()
        made.clock.run(10 * MINUTE)
        made.stop_in_console(item)
        made.clock.run(after)
        redrive(made, item)
        assert made.run_until_idle(until=lambda: len(made.jobs(item)) == len(jobs))
        assert made.verdicts() == {"finished": 1}
        assert [job.shown["TrainingJobStatus"] for job in made.jobs(item)] == jobs
        assert made.check().everything == []


def redrive(made: World, item: RunQueueItem) -> None:
    """Redrive an item's execution, and check that it runs."""
    made.redrive(item)
    made.clock.run(1)


# --- and the queue item reports the current state
@pytest.mark.parametrize(
    ("dropped", "created"),
    [(0, None), (1, None), (1, Fault.KILLED_AFTER)],
    ids=["a status event", "a sweep", "a call that adopts"],
)
def test_what_hears_that_sagemaker_failed_warns_the_queue_item_once(dropped: float, created: Fault | None) -> None:
    scripts = iter([Script(0, failure="InternalServerError: sorry")])
    create = Site("start_training", "sagemaker", "CreateTrainingJob")
    faults = FaultsAt(create, created) if created else NoFaults()
    delivery = Delivery(dropped=dropped)
    with world(14, faults, script=lambda _: next(scripts, Script()), delivery=delivery) as made:
        item = made.push()
        ended_well(made)
        assert [job.shown["TrainingJobStatus"] for job in made.jobs(item)] == ["Failed", "Completed"]
        assert [warning["message"].partition(".")[0] for warning in item.warnings] == [
            f"SageMaker itself failed while it ran the training job {made.jobs(item)[0].name}"
        ]


def test_what_the_steps_log_is_searched_for_secrets() -> None:
    """A step that has not read the run spec cannot know that the run's id is a secret, and logs it."""
    with world(15, NoFaults()) as made:
        made.push(run_id=SECRET_OF_QUEUE)
        assert made.run_until_idle()
        assert "status seen" in "".join(words for words in made.check().secrets if words.startswith("a log has"))
