"""Names, tags and limits of training jobs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.clients.service_model import create_training_job_shape
from launch_agent.plan.queue_block import camel_case
from launch_agent.plan.request_shape import shape_faults
from launch_agent.plan.training_request import (
    alternative_training_job_name,
    launch_tags,
    legal_training_job_name,
    time_limit,
)
from launch_agent.run_queue.items import RunSpec
from tests.golden.cases import DEPLOYMENT
from tests.make import item_ref

SHAPE = create_training_job_shape()


@given(st.text())
def test_every_run_id_gives_a_legal_name_and_always_the_same(run_id: str) -> None:
    name = legal_training_job_name(run_id)
    assert shape_faults(name, SHAPE.members["TrainingJobName"]) == []
    assert name == legal_training_job_name(run_id)


@given(st.from_regex(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", fullmatch=True).filter(lambda name: "--" not in name))
def test_a_legal_name_is_kept(name: str) -> None:
    assert legal_training_job_name(name) == name


@given(st.text(), st.text(min_size=1), st.integers(min_value=1, max_value=99))
def test_every_alternative_name_is_legal_and_another(run_id: str, item_id: str, attempt: int) -> None:
    name = legal_training_job_name(run_id)
    other = alternative_training_job_name(name, item_id, attempt)
    assert shape_faults(other, SHAPE.members["TrainingJobName"]) == []
    assert other != name
    assert other != alternative_training_job_name(name, item_id, attempt + 1)
    assert other != alternative_training_job_name(name, f"{item_id}x", attempt)


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_the_tags_are_ones_sagemaker_takes_whatever_the_names(entity: str, project: str, queue: str) -> None:
    item = item_ref("UnVuUXVldWVJdGVtOjQy=", queue=queue, entity=entity)
    tags = launch_tags(item, RunSpec(entity=entity, project=project), DEPLOYMENT)
    assert shape_faults([{"Key": key, "Value": value} for key, value in tags.items()], SHAPE.members["Tags"]) == []
    assert tags["WandbRunQueueItemId"] == item.id


@pytest.mark.parametrize(
    ("key", "spelt"), [("role_arn", "RoleArn"), ("RoleArn", "RoleArn"), ("environment", "environment")]
)
def test_only_keys_with_an_underscore_are_respelt(key: str, spelt: str) -> None:
    assert camel_case(key) == spelt


@pytest.mark.parametrize(
    ("condition", "seconds"),
    [
        ({}, 86_400 + 86_400 + 3_600),
        ({"MaxRuntimeInSeconds": 600}, 600 + 86_400 + 3_600),
        ({"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 1_000}, 1_000 + 86_400 + 3_600),
        ({"MaxRuntimeInSeconds": 600, "MaxPendingTimeInSeconds": 1_800}, 600 + 1_800 + 3_600),
    ],
)
def test_the_time_limit_is_longer_than_any_of_the_jobs_own(condition: dict[str, int], seconds: int) -> None:
    assert time_limit({"StoppingCondition": condition}) == seconds
