"""A container's environment, within SageMaker's limits."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from launch_agent.plan.run_environment import MAX_VALUE, run_environment
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
