"""Names, tags and limits of training jobs."""

import re

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
from launch_agent.runs.record import execution_name
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


ITEM_IDS = st.text(min_size=1) | st.from_regex(r"[A-Za-z0-9]{2,120}={0,2}", fullmatch=True)


@given(ITEM_IDS, st.integers(min_value=1, max_value=9999), st.sampled_from(["/", "=", "==", "====", "-2", "-", "é"]))
def test_every_item_has_an_execution_name_of_its_own_that_cloudwatch_logs_takes(
    item_id: str, attempt: int, more: str
) -> None:
    name = execution_name(item_id, attempt)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name)
    assert name not in {execution_name(f"{item_id}{more}", number) for number in (1, 2, attempt)}
    assert name != execution_name(item_id, attempt + 1)


@pytest.mark.parametrize(
    ("item_id", "attempt", "name"),
    [
        ("UnVuUXVldWVJdGVtOjQy", 1, "UnVuUXVldWVJdGVtOjQy"),
        ("UnVuUXVldWVJdGVtOjQy", 2, "UnVuUXVldWVJdGVtOjQy-2"),
        ("UnVuUXVldWVJdGVtOjE=", 1, "UnVuUXVldWVJdGVtOjE"),
        ("UnVuUXVldWVJdGVtOjEyMw==", 3, "UnVuUXVldWVJdGVtOjEyMw-3"),
    ],
)
def test_the_name_of_an_execution_is_the_items_id(item_id: str, attempt: int, name: str) -> None:
    assert execution_name(item_id, attempt) == name


@pytest.mark.parametrize("item_id", ["UnVu+UXVldWV/dGVt", "item.7@queue", "UnVuUXVldWVJdGVtOjQy" * 5])
def test_an_item_whose_id_is_no_name_is_found_by_how_its_id_begins(item_id: str) -> None:
    assert execution_name(item_id, 1).startswith(re.split("[^A-Za-z0-9]", item_id)[0][:50])


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
