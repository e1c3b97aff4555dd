"""How long a training job took, and what it cost."""

from datetime import timedelta
from typing import Any

import pytest

from launch_agent.training.instances import Instances, Resources
from launch_agent.training.training_job import TrainingJob
from launch_agent.training.usage import Seconds, cost, seconds_of, spot_saving
from tests.make import NOW, training_job

PRICES = {"ml.m5.large": 0.115, "ml.g5.xlarge": 1.408}


def job(resources: dict[str, Any] | None = None, **more: Any) -> TrainingJob:
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 1} if resources is None else resources
    return training_job("Completed", ResourceConfig=resources, **more)


def at(seconds: float) -> Any:
    return NOW + timedelta(seconds=seconds)


def test_the_seconds_of_a_run_are_those_of_its_parts() -> None:
    ended = job(
        CreationTime=at(90),
        TrainingStartTime=at(150.4),
        TrainingEndTime=at(750),
        TrainingTimeInSeconds=600,
        BillableTimeInSeconds=210,
    )
    assert seconds_of(ended, opened_at=NOW) == Seconds(queued=90, starting=60, training=600, billable=210)


def test_a_part_that_has_not_happened_has_no_seconds() -> None:
    assert seconds_of(job(), opened_at=NOW) == Seconds()
    assert seconds_of(job(CreationTime=at(9)), opened_at=NOW) == Seconds(queued=9)


def test_the_training_seconds_that_sagemaker_leaves_out_are_those_between_its_times() -> None:
    assert seconds_of(job(TrainingStartTime=at(10), TrainingEndTime=at(70)), opened_at=NOW).training == 60


def test_clocks_that_differ_make_no_negative_seconds() -> None:
    assert seconds_of(job(CreationTime=at(-2)), opened_at=NOW).queued == 0


@pytest.mark.parametrize(
    ("training", "billable", "saving"), [(500, 100, 80), (500, 500, 0), (100, 101, 0), (0, 0, None), (None, 1, None)]
)
def test_the_saving_is_what_aws_calls_so(training: int | None, billable: int, saving: int | None) -> None:
    assert spot_saving(Seconds(training=training, billable=billable)) == saving


@pytest.mark.parametrize(
    ("resources", "instances"),
    [
        ({"InstanceType": "ml.m5.large", "InstanceCount": 2}, (("ml.m5.large", 2),)),
        (
            {"InstanceGroups": [{"InstanceType": kind, "InstanceCount": 3} for kind in PRICES]},
            (("ml.m5.large", 3), ("ml.g5.xlarge", 3)),
        ),
        ({"InstancePreferences": [{"InstanceType": "ml.m5.large"}], "InstanceCount": 1}, ()),
        (
            {"InstanceCount": 1, "SelectedInstanceType": "ml.g5.xlarge", "SelectedInstanceCount": 2},
            (("ml.g5.xlarge", 2),),
        ),
        ({"InstanceType": None, "InstanceGroups": None}, ()),
    ],
)
def test_the_instances_are_those_of_the_request_or_those_that_sagemaker_chose(
    resources: dict[str, Any], instances: tuple[tuple[str, int], ...]
) -> None:
    assert Resources.model_validate(resources).instances == tuple(Instances(*each) for each in instances)


@pytest.mark.parametrize(
    ("more", "dollars"),
    [
        ({"BillableTimeInSeconds": 3600}, 0.115),
        ({"BillableTimeInSeconds": 0}, 0),
        ({}, None),
        (
            {"BillableTimeInSeconds": 1800, "resources": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 4}},
            2.816,
        ),
        ({"BillableTimeInSeconds": 1800, "resources": {"InstanceType": "ml.new.large", "InstanceCount": 1}}, None),
        ({"BillableTimeInSeconds": 1800, "resources": {}}, None),
    ],
)
def test_the_cost_is_the_billable_seconds_of_all_instances(more: dict[str, Any], dollars: float | None) -> None:
    assert cost(job(**more), PRICES) == dollars
