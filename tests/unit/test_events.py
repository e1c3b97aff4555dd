"""Events from AWS, in expected and unexpected forms."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.errors import UnreadableEvent
from launch_agent.operations.repair import item_to_repair
from launch_agent.training.status_event import parse_status_event
from launch_agent.training.training_job import ITEM_TAG, STACK_TAG, TrainingJob, Verdict
from tests.documents import sample_event as sample

ITEM = "UnVuUXVldWVJdGVtOnYyOjEyMzQ1Njc4OQ=="
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_an_event_with_nulls_and_tags_as_a_map_is_read_whole() -> None:
    seen = parse_status_event(sample("training_in_progress"))
    assert (seen.tags[ITEM_TAG], seen.tags[STACK_TAG]) == (ITEM, "launch")
    assert seen.job
    assert (seen.job.verdict, seen.job.failure_reason, seen.job.ended_at) == (None, "", None)
    assert seen.job.started_at == datetime(2025, 11, 24, 12, 0, 4, 229000, tzinfo=UTC)


def test_an_event_with_times_as_text_and_tags_as_a_list_is_read_whole() -> None:
    seen = parse_status_event(sample("training_failed"))
    assert (seen.tags[ITEM_TAG], seen.tags[STACK_TAG]) == (ITEM, "launch")
    assert seen.job
    assert seen.job.verdict is Verdict.FAILED
    assert seen.job.failure_kind == "AlgorithmError"
    assert seen.job.ended_at == datetime(2025, 11, 24, 12, 2, 5, 435000, tzinfo=UTC)


def test_an_event_without_tags_says_so() -> None:
    seen = parse_status_event(sample("training_completed"))
    assert seen.tags == {}
    assert seen.job
    assert seen.job.verdict is Verdict.FINISHED


@pytest.mark.parametrize("tags", [None, {}, [], "Tags", 7, [None, {"Key": "LaunchStack"}], {"LaunchStack": None}])
def test_tags_of_any_other_shape_are_no_tags(tags: object) -> None:
    event = sample("training_completed")
    event["detail"]["Tags"] = tags
    assert parse_status_event(event).tags == {}


@pytest.mark.parametrize("name", ["training_in_progress", "training_failed", "training_completed"])
@pytest.mark.parametrize("key", ["TrainingJobArn", "TrainingJobStatus", "LastModifiedTime"])
@pytest.mark.parametrize("value", [None, [], "", 10**30, "9" * 5000, float("inf")])
def test_an_event_that_cannot_be_read_still_names_its_training_job(name: str, key: str, value: object) -> None:
    event = sample(name)
    event["detail"][key] = value
    assert parse_status_event(event).name == "w8gq2x1c"


@given(JSON, st.sampled_from([field.alias for field in TrainingJob.model_fields.values()]))
def test_an_event_names_its_training_job_whatever_else_is_in_it(value: Any, key: str) -> None:
    event = sample("training_failed")
    event["detail"] |= {key: value, "TrainingJobName": "w8gq2x1c"}
    assert parse_status_event(event).name == "w8gq2x1c"


@given(JSON)
def test_an_event_that_names_no_training_job_is_refused(value: Any) -> None:
    for event in (value, {"detail": value}):  # no random key is TrainingJobName
        with pytest.raises(UnreadableEvent):
            parse_status_event(event)


@pytest.mark.parametrize("status", ["aborted", "failed", "timed_out"])
def test_an_execution_that_ended_badly_names_its_item(status: str) -> None:
    assert item_to_repair(sample(f"execution_{status}")) == ITEM


@pytest.mark.parametrize("event", [sample("scheduler"), sample("execution_without_input"), {}, None, [], "{}"])
def test_everything_else_asks_for_a_whole_sweep(event: object) -> None:
    assert item_to_repair(event) is None


@pytest.mark.parametrize(
    "cut", ["", "{", "null", "[]", '{"run_queue_item_id": null}', '{"run_queue_item_id": 7}', "[" * 100_000]
)
def test_an_input_that_cannot_be_read_asks_for_a_whole_sweep(cut: str) -> None:
    event = sample("execution_failed")
    event["detail"]["input"] = cut
    assert item_to_repair(event) is None


@given(JSON)
def test_an_event_of_any_shape_is_a_sweep(value: Any) -> None:
    for event in (value, {"detail": value}, {"detail": {"input": value}}, {"detail": {"input": json.dumps(value)}}):
        item = item_to_repair(event)
        assert item is None or isinstance(item, str)
