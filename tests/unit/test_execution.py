"""An execution in the Step Functions console: its name, its input and its output."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.run_queue.items import is_run_id
from launch_agent.runs.execution import execution_input, execution_name, execution_output
from launch_agent.runs.record import RunRecord
from tests.golden.cases import DEPLOYMENT
from tests.make import item_ref, run_record

ITEM_IDS = st.text(min_size=1) | st.from_regex(r"[A-Za-z0-9]{2,120}={0,2}", fullmatch=True)
RUN_IDS = st.text(min_size=1, max_size=128).filter(is_run_id)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["name", "entity", "project", "job"]), inner),
)


@given(ITEM_IDS, RUN_IDS, st.integers(min_value=1, max_value=9999), st.sampled_from(["/", "=", "-2", "-", "é"]))
def test_every_item_has_an_execution_name_of_its_own_that_cloudwatch_logs_takes(
    item_id: str, run_id: str, attempt: int, more: str
) -> None:
    name = execution_name(item_id, run_id, attempt)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name)
    assert name == execution_name(item_id, run_id, attempt)
    assert name not in {execution_name(f"{item_id}{more}", run_id, number) for number in (1, 2, attempt)}
    assert name != execution_name(item_id, run_id, attempt + 1)


@pytest.mark.parametrize(
    ("run_id", "attempt", "name"),
    [
        ("k3x9", 1, "k3x9-84984f199e68"),
        ("k3x9", 2, "k3x9-84984f199e68-2"),
        ("my run é", 1, "my-run---84984f199e68"),
        ("r" * 128, 12, f"{'r' * 55}-84984f199e68-12"),
    ],
)
def test_the_name_of_an_execution_begins_with_the_run_id(run_id: str, attempt: int, name: str) -> None:
    assert execution_name("UnVuUXVldWVJdGVtOjQy", run_id, attempt) == name


SPEC = {
    "entity": "team",
    "project": "my project",
    "name": "swift-owl-7",
    "job": "team/jobs/train:v3",
    "author": "maria",
    "_wandb_api_key": "a" * 40,
    "resource_args": {"sagemaker": {"Environment": {"TOKEN": "hunter2-of-the-queue"}}},
}


def test_the_input_shows_whose_run_it_is() -> None:
    assert execution_input(item_ref("item", queue="gpus", run_id="k3x9"), SPEC, DEPLOYMENT) == {
        "run_queue_item_id": "item",
        "run_id": "k3x9",
        "run_queue": "gpus",
        "run_name": "swift-owl-7",
        "entity": "team",
        "project": "my project",
        "job": "team/jobs/train:v3",
        "author": "maria",
        "run_url": "https://wandb.ai/team/my%20project/runs/k3x9",
    }


def test_the_input_has_no_secret_of_the_spec_and_nothing_long() -> None:
    spec = {**SPEC, "name": "with hunter2-of-the-queue", "author": "a" * 40, "job": "j" * 100_000}
    shown = execution_input(item_ref("item"), spec, DEPLOYMENT)
    assert (shown["run_name"], shown["author"], len(shown["job"])) == ("with ***", "***", 256)


@given(JSON)
def test_any_run_spec_gives_an_input_that_is_json_and_short(spec: Any) -> None:
    shown = execution_input(item_ref("item"), spec, DEPLOYMENT)
    assert shown["run_queue_item_id"] == "item"
    assert len(json.dumps(shown)) < 20_000
    json.dumps(shown, ensure_ascii=False).encode()


def _record(**more: Any) -> RunRecord:
    return run_record("item", entity="team", project="p", **more)


def test_the_output_has_the_outcome_and_links() -> None:
    numbers = {"billable_seconds": "240", "estimated_cost_usd": "0.0077"}
    outcome = {"verdict": "finished", "reason": ".", "training_job_name": "job", **numbers}
    output = execution_output(_record(), outcome, DEPLOYMENT)
    assert output | {"links": None} == outcome | {
        "run_id": "run",
        "billable_seconds": 240,
        "estimated_cost_usd": 0.0077,
        "links": None,
    }
    assert list(output["links"]) == ["run", "training_job", "training_log"]


def test_the_output_of_a_run_without_a_job_has_no_link_to_one() -> None:
    output = execution_output(_record(), {"verdict": "stopped", "reason": "."}, DEPLOYMENT)
    assert list(output["links"]) == ["run"]
