"""AWS's limits in the simulated world, and its error messages."""

from typing import Any

import pytest

from local.wandb.queues import ItemState
from tests.simulation.clock import Clock
from tests.simulation.dynamodb import Refused
from tests.simulation.faults import NoFaults
from tests.simulation.machine import StateMachine, TaskFailed
from tests.simulation.service_limits import check_limits
from tests.simulation.world import MINUTE, world

ARN = "arn:aws:states:us-east-1:123456789012:stateMachine:m"


@pytest.mark.parametrize(
    ("service", "operation", "asked", "words"),
    [
        (
            "sfn",
            "StartExecution",
            {"input": "x" * 262_145},
            "Value at 'input' failed to satisfy constraint: Member must",
        ),
        ("sfn", "StartExecution", {"name": "x" * 81}, "Value 'xxx"),
        ("sfn", "SendTaskFailure", {"cause": "x" * 32_769}, "length less than or equal to 32768"),
        ("sfn", "SendTaskSuccess", {"output": "é" * 131_073}, "length less than or equal to 262144"),
        (
            "sagemaker",
            "CreateTrainingJob",
            {"Environment": {"KEY": "sekret", "LONG": "x" * 513}},
            "Value '{KEY=sekret, LONG=xxx",
        ),
        ("sagemaker", "CreateTrainingJob", {"HyperParameters": {"a": "x" * 2_501}}, "at 'hyperParameters' failed"),
        (
            "sagemaker",
            "CreateTrainingJob",
            {"Tags": [{"Key": "a", "Value": "!"}]},
            "Value '!' at 'tags.1.member.value'",
        ),
        ("sagemaker", "CreateTrainingJob", {"TrainingJobName": "a_b"}, "regular expression pattern: "),
        (
            "sagemaker",
            "CreateTrainingJob",
            {"Environment": {f"a{n}": "" for n in range(101)}},
            "less than or equal to 100",
        ),
        ("cloudwatch-logs", "DescribeLogStreams", {"limit": 51}, "value less than or equal to 50"),
    ],
)
def test_what_breaks_a_limit_is_refused_in_awss_words(service: str, operation: str, asked: Any, words: str) -> None:
    with pytest.raises(Refused) as raised:
        check_limits(service, operation, asked)
    assert raised.value.code == "ValidationException"
    assert words in str(raised.value)


def test_what_keeps_the_limits_is_not_refused() -> None:
    check_limits(
        "sagemaker", "CreateTrainingJob", {"Environment": {"A": "x" * 512}, "Tags": [{"Key": "é", "Value": ""}]}
    )
    check_limits("sfn", "StartExecution", {"name": "x" * 80, "input": "x" * 262_144})


class Answering:
    """Tasks that all return one value, or all fail."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def invoke(self, function: str, payload: dict[str, Any], done: Any) -> None:
        """Answer immediately."""
        is_failure = isinstance(self._result, TaskFailed)
        done(None if is_failure else self._result, self._result if is_failure else None)

    def start_build(self, arguments: dict[str, Any], done: Any) -> str:
        """Fail: no build is expected."""
        raise AssertionError

    def stop_build(self, build_id: str) -> None:
        """Do nothing: there is no build."""


def ended(result: Any, *, seconds: int = 10, **state: Any) -> tuple[str, str]:
    """Run an execution with one task that catches all errors; return its status and its error."""
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "TimeoutSeconds": seconds,
        "Arguments": {"FunctionName": "${F}", "Payload": {}},
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}],
        "Next": "Done",
        **state,
    }
    done = {"Type": "Succeed"}
    definition = {"StartAt": "T", "States": {"T": task, "Done": done, "Caught": done}}
    with Clock(1, 1_800_000_000) as clock:
        ends: list[Any] = []
        written: Any = lambda _: None  # noqa: E731 - it ignores everything
        machine = StateMachine(
            ARN, definition, clock=clock, tasks=Answering(result), written=written, ended=ends.append
        )
        machine.answer("StartExecution", {"name": "x", "input": "{}"})
        clock.run(1)
    (execution,) = ends
    return execution.state if execution.status == "SUCCEEDED" else execution.status, execution.error


def test_a_payload_that_is_too_large_ends_an_execution_whatever_it_catches() -> None:
    assert ended("x" * 262_000) == ("Done", "")
    assert ended("x" * 263_000) == ("FAILED", "States.DataLimitExceeded")
    assert ended({"a": "é" * 131_100}) == ("FAILED", "States.DataLimitExceeded")


def test_a_timeout_that_is_out_of_range_fails_the_state() -> None:
    assert ended("", seconds=99_999_999) == ("Done", "")
    assert ended("", seconds=100_000_000) == ("Caught", "")
    assert ended("", seconds=0) == ("Caught", "")


def test_an_error_is_caught_and_its_cause_cut() -> None:
    assert ended(TaskFailed("Odd", "x" * 40_000)) == ("Caught", "")


@pytest.mark.parametrize("name", ["a b", "a/b", "a:b", "a\n", 'a"b', "a\x7f"])
def test_a_name_of_an_execution_has_no_special_characters(name: str) -> None:
    with world(1, NoFaults()) as made, pytest.raises(Refused) as raised:
        made.stacks["launch"].machine.answer("StartExecution", {"name": name, "input": "{}"})
    assert raised.value.code == "InvalidName"


def test_no_item_is_leased_while_no_job_may_be_open() -> None:
    with world(1, NoFaults(), max_jobs=0) as made:
        item = made.push()
        made.clock.run(5 * MINUTE)
        assert item.state is ItemState.PENDING
        assert made.execution(item) is None
