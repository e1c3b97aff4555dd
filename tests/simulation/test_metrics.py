"""Every metric is written when what it counts happens, and every alarm goes on when it should."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from launch_agent.operations.metrics import Metric
from tests.documents import resources
from tests.simulation.alarms import CloudWatch
from tests.simulation.attack import scenarios
from tests.simulation.faults import Fault, Faults, FaultsAt, NoFaults, Site
from tests.simulation.test_endings import instead
from tests.simulation.test_results import until_training
from tests.simulation.training import Script
from tests.simulation.world import HOUR, JOB, MINUTE, Delivery, World, world


def written(name: str) -> dict[str, float]:
    """Run a scenario; return the sum of each metric."""
    scenario = scenarios()[name]
    with world(7, NoFaults(), **scenario.different) as made:
        scenario.act(made)
        assert made.run_until_idle(until=lambda: bool(scenario.until(made)))
        assert made.check().everything == []
        return {name: number for name, number in totals(made).items() if name not in _OF_SWEEPS}


def totals(made: World) -> dict[str, float]:
    """Return the sum of each metric that was written."""
    found = dict[str, float]()
    for line in made.metrics:
        for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]:
            found[metric["Name"]] = found.get(metric["Name"], 0) + sum(line[metric["Name"]])
    return found


_OF_SWEEPS = {Metric.OPEN_RUNS, Metric.ITEMS_WAITING, Metric.OLDEST_ITEM_MINUTES, Metric.SECONDS_TO_LAUNCH}


@pytest.mark.parametrize(
    ("scenario", "metrics"),
    [
        ("image", {"RunsLaunched": 1, "RunsFinished": 1, "BillableSeconds": 130, "EstimatedCost": 0.010111}),
        ("code whose image is there", {"BuildsStarted": 1, "ImagesReused": 1, "RunsLaunched": 2, "RunsFinished": 2}),
        ("code that cannot be built", {"BuildsStarted": 1, "BuildsFailed": 1, "LaunchesFailed": 1}),
        ("user code that fails", {"RunsLaunched": 1, "RunsFailed": 1}),
        ("stopped in the console while it trains", {"RunsLaunched": 1, "RunsStopped": 1}),
        ("SageMaker fails", {"RunsLaunched": 2, "RunsFinished": 1}),
        ("no event arrives", {"RunsLaunched": 1, "RunsFinished": 1, "SweepRepairs": 1}),
    ],
)
def test_what_happens_to_a_run_is_counted_once(scenario: str, metrics: dict[str, float]) -> None:
    found = written(scenario)
    assert {name: found.get(name, 0) for name in metrics} == metrics


@pytest.mark.parametrize("is_in_wandb", [True, False])
def test_a_job_that_ends_after_its_run_was_stopped_in_the_console_is_counted_once(is_in_wandb: bool) -> None:
    script: dict[str, Any] = {"training": 3 * HOUR, "calls_init": is_in_wandb}
    with world(7, NoFaults(), delivery=Delivery(twice=1), script=lambda _: Script(**script)) as made:
        item = made.push()
        until_training(made, item)
        made.clock.run(5 * MINUTE)
        made.stop_in_console(item)
        made.clock.run(20 * MINUTE)
        (job,) = made.jobs(item)
        billed = job.shown["BillableTimeInSeconds"]
        assert totals(made)["RunsStopped"] == 1
        assert totals(made)["BillableSeconds"] == billed > 0
        assert totals(made)["EstimatedCost"] == pytest.approx(0.28 * billed / 3600, abs=1e-6)


def test_a_job_that_ends_while_its_stopped_run_is_reported_is_counted() -> None:
    """Its last status event finds a run that is not closed yet, and changes nothing."""
    with world(7, NoFaults(), delivery=Delivery(dropped=1), script=lambda _: Script(training=3 * HOUR)) as made:
        item = made.push()
        until_training(made, item)

        def end_at_once(*_: Any) -> None:
            for job in made.jobs(item):
                if job.shown["TrainingJobStatus"] == "Stopping":
                    made.training.end(job, "Stopped", "Stopped")

        instead(made, end_at_once)
        made.stop_in_console(item)
        made.clock.run(20 * MINUTE)
        assert totals(made)["RunsStopped"] == 1
        assert totals(made)["BillableSeconds"] > 0


def test_tries_without_capacity_are_counted() -> None:
    assert written("quota used up for too long")["CapacityRefusals"] > 1


def test_open_runs_and_waiting_items_are_counted_by_sweeps() -> None:
    with world(7, NoFaults(), max_jobs=1, script=lambda _: Script(training=HOUR)) as made:
        made.push()
        made.push()
        made.clock.run(30 * MINUTE)
        last: dict[str, Any] = {}
        for line in made.metrics:
            last |= line
        assert (last["OpenRuns"], last["queue"], last["state"]) == ([1.0], "sagemaker", "training")
        assert last["ItemsWaiting"] == [1.0]
        assert 25 <= last["OldestItemMinutes"][0] <= 30
        assert 0 < last["SecondsToLaunch"][0] < 2 * MINUTE


def test_a_quiet_world_writes_no_metric_and_no_alarm_goes_on() -> None:
    with world(7, NoFaults()) as made:
        watch = CloudWatch(made)
        made.clock.run(3 * HOUR)
        assert made.metrics == []
        assert watch.alarms() == set()


# --- each alarm
def always(function: str, service: str, operation: str, fault: Fault) -> Callable[[], Faults]:
    return lambda: FaultsAt(Site(function, service, operation), fault, times=math.inf)


def _sweep(made: World) -> None:
    made.sweep()


def _run(made: World) -> None:
    made.push()


def _nothing(made: World) -> None:
    pass


def _polls_do_not_happen(made: World) -> None:
    for stack in made.stacks.values():
        stack.is_deleted = True  # its schedules are


def _long_queue(made: World) -> None:
    for _ in range(2):
        made.push()


def _many(made: World) -> None:
    for _ in range(24):
        made.push()


def _one_by_one(made: World) -> None:
    def push() -> None:
        made.push(job=JOB)

    for number in range(30):
        made.clock.after(number * 4 * MINUTE, push)


def _refused_role(made: World) -> None:
    made.training.refuses = "ValidationException"
    for _ in range(3):
        made.push()


def _redriven(made: World) -> None:
    """Redrive an execution while other runs have the only slot."""
    made.training.refuses = "ValidationException"
    item = made.push()
    made.clock.run(10 * MINUTE)
    made.training.refuses = ""
    made.push()
    made.clock.run(5 * MINUTE)
    made.redrive(item)


LONG: dict[str, Any] = {"script": lambda _: Script(training=4 * HOUR)}
FIRES: dict[str, tuple[Callable[[World], None], Callable[[], Faults], dict[str, Any]]] = {
    "PollsStop": (_polls_do_not_happen, NoFaults, {}),
    "PollsFail": (_nothing, always("poll_queues", "wandb", "LaunchAgentAndStops", Fault.BROKEN), {}),
    "KeyIsRefused": (_nothing, always("poll_queues", "wandb", "LaunchAgentAndStops", Fault.KEY_REJECTED), {}),
    "ItemsWait": (_long_queue, NoFaults, {**LONG, "max_jobs": 1}),
    "ExecutionsFail": (_refused_role, NoFaults, {}),
    "EventsFail": (_run, always("resume_run", "dynamodb", "UpdateItem", Fault.BROKEN), {}),
    "RepairsPileUp": (_many, NoFaults, {"max_jobs": 24, "delivery": Delivery(dropped=1)}),
    "PlansFail": (_one_by_one, always("plan_run", "dynamodb", "UpdateItem", Fault.THROTTLED), {}),
    "StartsFail": (_many, NoFaults, {"quota": 0, "max_jobs": 24}),
    "StatusEventsFail": (_one_by_one, always("resume_run", "dynamodb", "UpdateItem", Fault.BROKEN), {}),
    "ReportsFail": (_many, always("report_outcome", "wandb", "RunState", Fault.BROKEN), {"max_jobs": 24}),
    "RelaunchesFail": (_redriven, NoFaults, {**LONG, "max_jobs": 1}),
    "SweepStepsFail": (_sweep, always("advance_sweeps", "dynamodb", "Query", Fault.BROKEN), {}),
    "SweepsFail": (_run, always("sweep_runs", "dynamodb", "Query", Fault.BROKEN), {}),
}


@pytest.mark.parametrize("seconds", [5, 15, 60])
def test_a_minute_without_w_and_b_is_no_alarm_and_ten_are_one_however_often_queues_are_polled(seconds: int) -> None:
    """The minute is in two of CloudWatch's periods of five minutes."""
    faults = FaultsAt(Site("poll_queues", "wandb", "UpdateAndPop"), Fault.BROKEN, times=0)
    with world(7, faults, poll_interval=seconds) as made:
        watch = CloudWatch(made)
        made.clock.run(15 * MINUTE - 30)
        faults.times = math.inf
        made.clock.run(MINUTE)
        faults.times = 0
        made.clock.run(15 * MINUTE)
        assert faults.happened >= 1
        assert watch.alarms() == set()
        faults.times = math.inf
        made.clock.run(12 * MINUTE)
        assert watch.alarms() == {"PollsFail"}


def test_every_alarm_is_tried() -> None:
    assert set(FIRES) == set(resources("AWS::CloudWatch::Alarm"))


@pytest.mark.parametrize("alarm", FIRES)
def test_an_alarm_goes_on_when_it_should(alarm: str) -> None:
    act, faults, different = FIRES[alarm]
    with world(7, faults(), **different) as made:
        watch = CloudWatch(made)
        act(made)
        end = made.clock.now + 4 * HOUR
        while made.clock.now < end and alarm not in watch.alarms():
            made.clock.run(5 * MINUTE)
        assert alarm in watch.alarms()
