"""How `make verify` reads an execution's history, overrides a queue's configuration, and hides ids in kept events."""

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from operate.verify import history
from operate.verify.history import Step, cost
from operate.verify.queueing import overrides
from operate.verify.raw_events import without_ids

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
JOB = {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2}, "BillableTimeInSeconds": 90}


def events(*given: tuple[str, Any]) -> list[dict[str, Any]]:
    """A history with a second between events; each event is a type, and the state's name or the details."""
    found = []
    for number, (kind, what) in enumerate(given):
        details = {"stateEnteredEventDetails": {"name": what}} if kind.endswith("StateEntered") else what
        details = {"stateExitedEventDetails": {"name": what}} if kind.endswith("StateExited") else details
        found.append({"type": kind, "timestamp": BEGIN + timedelta(seconds=number), **details})
    return found


def ended(kind: str, **details: Any) -> list[dict[str, Any]]:
    return events(("ExecutionStarted", {}), ("TaskStateEntered", "Train"), (kind, details))


def test_each_step_lasts_until_it_is_left_and_the_last_one_until_now() -> None:
    train = [("TaskStateEntered", "Train"), ("TaskSubmitted", {}), ("TaskFailed", {})]
    seen = events(("TaskStateEntered", "Plan run"), ("TaskStateExited", "Plan run"), *train)
    assert history.steps(seen) == [Step("Plan run", 1.0), Step("Train", 2.0)]


def test_a_failure_counts_until_the_next_state_is_entered() -> None:
    quota = {"error": "CapacityUnavailable", "cause": json.dumps({"errorMessage": "none left"})}
    seen = events(("TaskStateEntered", "Train"), ("TaskFailed", {"taskFailedEventDetails": quota}))
    found = history.failure(seen)
    assert found
    assert (found.error, found.reason) == ("CapacityUnavailable", "none left")
    assert history.failure([*seen, *events(("TaskStateEntered", "Report failure"))]) is None


def test_an_execution_that_continues_has_not_ended() -> None:
    assert not any(history.has_ended(seen) for seen in ([], events(("ExecutionStarted", {})), ended("TaskStarted")))
    assert history.has_ended(ended("ExecutionAborted"))


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (
            ended("ExecutionFailed", executionFailedEventDetails={"error": "LaunchFailed", "cause": "no such role"}),
            "Train failed: no such role",
        ),
        (
            ended("ExecutionAborted", executionAbortedEventDetails={}),
            "Train failed: ExecutionAborted, without a message.",
        ),
        (ended("ExecutionTimedOut"), "Train failed: ExecutionTimedOut, without a message."),
        (
            [*events(("SucceedStateEntered", "Item is not ours")), *ended("ExecutionSucceeded")[2:]],
            "Another launch agent took the item from the run queue. Stop it, or give this stack a queue of its own.",
        ),
    ],
)
def test_a_bad_end_is_said_in_words(seen: list[dict[str, Any]], words: str) -> None:
    assert history.fault(seen) == words


def test_what_a_step_cost_is_said_by_what_is_billed() -> None:
    assert cost(Step("Build image", 61.0), "BUILD_GENERAL1_LARGE", JOB) == (0.04, "2 min of BUILD_GENERAL1_LARGE")
    dollars, what = cost(Step("Train", 500.0), "BUILD_GENERAL1_SMALL", JOB)
    assert (round(dollars, 5), what) == (0.00575, "90 billable s of ml.m5.large")
    assert cost(Step("Plan run", 500.0), "BUILD_GENERAL1_SMALL", JOB) == (0.0, "")


@pytest.mark.parametrize(
    "instances", [{"InstanceType": "ml.p9.large", "InstanceCount": 1}, {"InstanceGroups": [{"InstanceCount": 1}]}]
)
def test_a_price_that_is_not_known_is_not_made_up(instances: dict[str, Any]) -> None:
    assert math.isnan(cost(Step("Train", 5.0), "", {"ResourceConfig": instances, "BillableTimeInSeconds": 90})[0])


def test_a_small_instance_takes_the_place_of_the_queues_where_that_fits() -> None:
    large = {"InstanceType": "ml.p4d.24xlarge", "VolumeSizeInGB": 30, "KeepAlivePeriodInSeconds": 600}
    assert overrides({"ResourceConfig": large})["ResourceConfig"] == {
        "InstanceType": "ml.m5.large",
        "InstanceCount": 1,
        "VolumeSizeInGB": 30,
        "KeepAlivePeriodInSeconds": 0,
    }
    assert "ResourceConfig" not in overrides({"ResourceConfig": {"InstanceGroups": []}})
    assert "ResourceConfig" not in overrides({"ResourceConfig": {"InstanceType": "x", "TrainingPlanArn": "arn"}})


def test_the_job_has_little_time_and_a_spot_queue_keeps_its_wait() -> None:
    spot = {"StoppingCondition": {"MaxRuntimeInSeconds": 86400, "MaxWaitTimeInSeconds": 90000}}
    assert overrides(spot)["StoppingCondition"] == {"MaxRuntimeInSeconds": 900, "MaxWaitTimeInSeconds": 90000}


def test_a_failed_step_is_named() -> None:
    seen = events(("TaskStateEntered", "Plan run"), ("TaskStateEntered", "Build image"))
    more = events(("TaskStateEntered", "Report failure"), ("TaskStateEntered", "Launch failed"))
    details = {"executionFailedEventDetails": {"error": "LaunchFailed", "cause": "no Dockerfile"}}
    assert history.fault([*seen, *more, *events(("ExecutionFailed", details))]) == "Build image failed: no Dockerfile"


def test_ids_are_replaced_by_the_same_all_over_and_the_rest_stays() -> None:
    one, other = "123456789012", "210987654321"
    uuid = "ac2b3f7e-b2a1-4c3d-9e8f-0a1b2c3d4e5f"
    text = (
        f"arn:aws:iam::{one}:role/a {one} {other}.dkr.ecr {uuid} subnet-0a1b2c3d4e5f60718 1763985600847 {'ab' * 32} key"
    )
    assert without_ids(text, {"key": "hidden"}) == (
        "arn:aws:iam::000000000001:role/a 000000000001 000000000002.dkr.ecr 00000000-0000-0000-0000-000000000003 "
        f"subnet-00000000000000004 1763985600847 {'ab' * 32} hidden"
    )
