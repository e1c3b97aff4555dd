"""The values of a run spec that no text may show."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.run_queue.secret_values import secret_values


def of_queue(**block: Any) -> dict[str, Any]:
    return {"resource_args": {"sagemaker": block}}


@pytest.mark.parametrize(
    ("spec", "secrets"),
    [
        ({"_wandb_api_key": "k" * 40}, ["k" * 40]),
        (of_queue(Environment={"DB_PASSWORD": "abc", "DB_PIN": 9021}), ["abc", "9021"]),
        (of_queue(Environment={"DATA": "hunter2", "URL": "s3://b/x"}), ["hunter2", "s3://b/x"]),
        (of_queue(environment={"A": "s3://b/${run_id}/x1?tok=9f"}), ["s3://b/", "/x1?tok=9f"]),
        (of_queue(Environment={"WANDB_API_KEY": ["deadbeef", {"x": "f00d"}]}), ["deadbeef", "f00d"]),
        (of_queue(Environment=[{"Name": "TOKEN", "Value": "ghp_0123456789"}]), ["ghp_0123456789"]),
        (of_queue(Environment="API=ghp_0123456789"), ["API=ghp_0123456789"]),
        (of_queue(Environment={"MODE": "training", "ON": True, "AWS_REGION": "eu-west-1", "LR": "0.01"}), []),
        (of_queue(HyperParameters={"password": 90210123, "lr": "0.001234"}), ["90210123"]),
        (of_queue(hyper_parameters={"auth-token": "abc"}), ["abc"]),
        ({"overrides": {"run_config": {"db": {"api_key": "abc"}, "layers": 12}}}, ["abc"]),
        (
            {"overrides": {"args": ["--token=abc", "--lr", "1", "--password", "xyz", "--auth", "--fast"]}},
            ["abc", "xyz"],
        ),
        ({"overrides": {"args": "--token=ghp_0123456789"}}, ["ghp_0123456789"]),
        ({"overrides": {"entry_point": ["python", "train.py", "--key", "abc"]}}, ["abc"]),
    ],
)
def test_what_is_secret(spec: dict[str, Any], secrets: list[str]) -> None:
    assert list(secret_values(spec)) == secrets


@pytest.mark.parametrize(
    "odd", [None, [], 7, "spec", {"resource_args": None}, of_queue(Environment=None), {"overrides": []}]
)
def test_a_spec_of_another_shape_has_no_secrets(odd: object) -> None:
    assert list(secret_values(odd)) == []


def test_a_value_at_any_depth_is_found() -> None:
    value: Any = "ghp_0123456789"
    for _ in range(5_000):
        value = [value]
    assert list(secret_values(of_queue(Environment=value))) == ["ghp_0123456789"]


@given(st.dictionaries(st.text(), st.from_regex("[0-9a-f]{12,40}", fullmatch=True)))
def test_every_long_value_of_the_environment_is_secret(environment: dict[str, str]) -> None:
    assert set(environment.values()) == set(secret_values(of_queue(Environment=environment))) | set(
        value for value in environment.values() if value.isalpha() and len(value) < 12
    )
