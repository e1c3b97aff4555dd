"""A container's environment, within SageMaker's limits."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.plan.run_environment import MAX_VALUE, run_environment, with_run_config
from launch_agent.run_queue.items import RunSpec
from tests.golden.cases import DEPLOYMENT, item_of

CONFIG = st.dictionaries(st.text(), st.text(max_size=300) | st.floats(allow_nan=False) | st.none(), max_size=20)


def environment(**overrides: Any) -> dict[str, str]:
    spec = RunSpec.model_validate({"entity": "team", "project": "train", "overrides": overrides})
    return run_environment(spec, item_of({}), None, DEPLOYMENT)


def joined(variables: dict[str, str], name: str) -> str:
    """Read a variable like the wandb SDK: the variable itself, or its pieces from 0 until one is missing."""
    if name in variables:
        return variables[name]
    text, index = "", 0
    while f"{name}_{index}" in variables:
        text, index = text + variables[f"{name}_{index}"], index + 1
    return text


@given(CONFIG)
def test_a_config_of_any_size_arrives_whole_in_pieces_that_fit(config: dict[str, Any]) -> None:
    variables = environment(run_config=config)
    assert json.loads(joined(variables, "WANDB_CONFIG")) == config
    assert all(len(value) <= MAX_VALUE for name, value in variables.items() if name != "WANDB_ARTIFACTS")


@given(CONFIG)
def test_file_overrides_arrive_the_same_way(files: dict[str, Any]) -> None:
    assert json.loads(joined(environment(files=files), "WANDB_LAUNCH_FILE_OVERRIDES")) == files


def test_a_run_without_overrides_has_empty_ones() -> None:
    variables = environment()
    assert (variables["WANDB_CONFIG"], variables["WANDB_ARTIFACTS"]) == ("{}", "{}")


LINKS = {f"sagemaker/{name}": "https://console.aws.amazon.com/" + "x" * 250 for name in ("job_url", "log_url")}


@given(CONFIG)
def test_keys_that_are_added_to_a_config_of_any_size_change_no_other(config: dict[str, Any]) -> None:
    variables = with_run_config(environment(run_config=config), LINKS)
    assert json.loads(joined(variables, "WANDB_CONFIG")) == {**LINKS, **config}
    assert {name: len(value) for name, value in variables.items() if len(value) > MAX_VALUE} == {}
    rest = {name: value for name, value in environment().items() if name != "WANDB_CONFIG"}
    assert rest.items() <= variables.items()


def test_a_key_that_the_config_has_is_not_changed() -> None:
    variables = with_run_config(environment(run_config={"sagemaker/job_url": "mine"}), LINKS)
    assert json.loads(joined(variables, "WANDB_CONFIG"))["sagemaker/job_url"] == "mine"


@pytest.mark.parametrize("config", ["[1]", "not JSON", "1"])
def test_a_config_of_the_queues_own_that_is_no_object_stays_as_it_is(config: str) -> None:
    assert with_run_config({"WANDB_CONFIG": config, "A": "b"}, LINKS) == {"WANDB_CONFIG": config, "A": "b"}


def test_where_there_is_no_room_for_more_variables_none_is_added() -> None:
    full = {"WANDB_CONFIG": "{}", **{f"A{number}": "" for number in range(99)}}
    assert with_run_config(full, LINKS) == full
    assert with_run_config(full, {"sagemaker/spot": False})["WANDB_CONFIG"] == '{"sagemaker/spot": false}'
