"""What a scheduler item asks for, in every spelling, and what is wrong with one."""

import re
from typing import Any

import pytest

from launch_agent.errors import InvalidRunSpec
from launch_agent.run_queue.items import parse_run_spec
from launch_agent.sweeps.asked import parse_order
from launch_agent.sweeps.order import Order
from launch_agent.sweeps.push import push_of
from tests.sweeps.server import order

CONFIG = {"method": "grid", "job": "team/jobs/job:latest"}


def spec(*args: str, **run_config: Any) -> dict[str, Any]:
    """Return a scheduler's run spec."""
    overrides = {
        "entry_point": ["wandb", "scheduler", "sweep1"],
        "args": list(args) or ["--queue", "'sm'"],
        "run_config": run_config,
    }
    return {"uri": "placeholder-uri-scheduler", "entity": "team", "project": "p", "overrides": overrides}


def parsed(raw: dict[str, Any], config: Any = CONFIG, **earlier: Any) -> Order:
    return parse_order(parse_run_spec(raw), config, earlier=earlier)


@pytest.mark.parametrize(
    ("text", "queue"),
    [
        ("'sm'", "sm"),
        ('"sm"', "sm"),
        ("sm", "sm"),
        ('"the team\'s"', "the team's"),
        (r"'a\'b\"c'", "a'b\"c"),
        ("'größe'", "größe"),
        ("'1234'", "1234"),
        ("1234", "1234"),
        ("'unfinished", "'unfinished"),
        ("'a' + 'b'", "a' + 'b"),
        ("'", "'"),
    ],
)
def test_an_argument_is_read_with_its_quotes_and_without(text: str, queue: str) -> None:
    """`wandb launch-sweep` writes `repr(queue)`; `wandb scheduler` reads 1234 as a number."""
    assert parsed(spec("--queue", text)).queue == queue


@pytest.mark.parametrize(
    ("asked", "workers"), [(None, 8), (3, 3), ("4", 4), ("many", 8), (2.5, 8), (-1, 8), ("²", 8), (True, 8)]
)
def test_the_number_of_workers_is_a_number_or_digits_else_eight(asked: Any, workers: int) -> None:
    assert parsed(spec(scheduler={"num_workers": asked})).workers == workers


@pytest.mark.parametrize(
    ("raw", "config", "says"),
    [
        (spec("--project", "'p'"), CONFIG, "overrides.args has no --queue"),
        (spec(), {}, "the sweep names no job and no image_uri"),
        (spec("--queue", "q", "--image_uri", "i"), CONFIG, "both a job and an image_uri"),
        (spec(scheduler={"num_workers": 0}), CONFIG, "num_workers is 0: no run would start"),
        (spec(scheduler={"num_workers": 5000}), CONFIG, "num_workers is 5000"),
        (spec(scheduler=[1]), CONFIG, "overrides.run_config.scheduler is a list: expected an object"),
        (spec(launch={"priority": "high"}), CONFIG, 'overrides.run_config.launch.priority is "high"'),
        (spec(launch={"overrides": 1}), CONFIG, "overrides.run_config.launch.overrides is"),
        (spec(launch={"docker": "image"}), CONFIG, "overrides.run_config.launch.docker is"),
        (spec(), {**CONFIG, "command": "python train.py"}, "the sweep's configuration.command is"),
        (spec(), {**CONFIG, "run_cap": "few"}, "the sweep's configuration.run_cap is"),
        (spec(), {**CONFIG, "run_cap": -2}, "the sweep's configuration.run_cap is -2"),
        (spec(), {**CONFIG, "command": ["python", "${program}"]}, "the sweep has no program"),
        (spec(), None, "the sweep's configuration is null"),
        (spec(), "text", "the sweep's configuration is a string"),
    ],
)
def test_a_fault_is_said_with_its_place(raw: dict[str, Any], config: Any, says: str) -> None:
    with pytest.raises(InvalidRunSpec, match=re.escape(says)):
        parsed(raw, config)


def test_all_faults_are_said_at_once() -> None:
    with pytest.raises(InvalidRunSpec) as raised:
        parsed(spec("--author", "'me'", launch={"priority": "high"}, scheduler={"num_workers": 0}), {})
    assert len(raised.value.faults) == 4


def test_the_launch_block_of_the_earlier_scheduler_is_used_if_the_item_has_none() -> None:
    earlier = {"launch": {"priority": 1}, "scheduler": {"num_workers": 3}}
    assert parsed(spec(), **earlier).launch == {"priority": 1}
    assert parsed(spec(launch={"priority": 3}), **earlier).priority == 3
    assert parsed(spec(scheduler={"num_workers": 2}), **earlier).workers == 2


def test_the_job_of_the_arguments_is_used_before_that_of_the_sweep() -> None:
    assert parsed(spec("--queue", "'q'", "--job", "'team/jobs/other:v1'")).job == "team/jobs/other:v1"
    assert parsed(spec()).job == "team/jobs/job:latest"


def test_a_run_cap_of_zero_is_none() -> None:
    assert parsed(spec(), {**CONFIG, "run_cap": 0}).run_cap is None


def test_runs_can_go_to_a_queue_of_another_entity() -> None:
    asked = parsed(spec(launch={"queue_entity": "others", "queue": "kept"}))
    push = push_of(asked, "run1", {})
    assert (push.queue_entity, push.queue) == ("others", "sm")
    assert push.run_spec["queue"] == "kept"


# --- what is queued
def test_a_launch_block_is_not_shared_between_runs() -> None:
    asked = order(launch={"overrides": {"run_config": {"seed": 1}, "args": ["--fixed"]}, "docker": {"user_id": 5}})
    first, second = push_of(asked, "run1", {"lr": 1}), push_of(asked, "run2", {"width": 2})
    assert first.run_spec["overrides"] == {"run_config": {"seed": 1, "lr": 1}, "args": ["--fixed"]}
    assert second.run_spec["overrides"] == {"run_config": {"seed": 1, "width": 2}, "args": ["--fixed"]}
    assert first.run_spec["docker"] == {"user_id": 5}


def test_template_variables_replace_the_resource_arguments() -> None:
    push = push_of(order(launch={"template_variables": {"a": 1}, "resource_args": {"sagemaker": {}, "x": 1}}), "r", {})
    assert push.template_variables == {"a": 1}
    assert "resource_args" not in push.run_spec
    assert "template_variables" not in push.run_spec


@pytest.mark.parametrize(
    ("macro", "args"),
    [
        ("${args}", ["--lr=1e-05", "--flag=True", "--off=False", "--none=None"]),
        ("${args_no_equals}", ["--lr", "1e-05", "--flag", "True", "--off", "False", "--none", "None"]),
        ("${args_no_hyphens}", ["lr=1e-05", "flag=True", "off=False", "none=None"]),
        ("${args_no_boolean_flags}", ["--lr=1e-05", "--flag", "--none=None"]),
        ("${args_json}", ['{"lr": 1e-05, "flag": true, "off": false, "none": null}']),
        ("${args_append_hydra}", ["+lr=1e-05", "+flag=True", "+off=False", "+none=None"]),
        ("${args_override_hydra}", ["++lr=1e-05", "++flag=True", "++off=False", "++none=None"]),
    ],
)
def test_a_macro_of_the_command_becomes_the_arguments(macro: str, args: list[str]) -> None:
    asked = order(command=("python", macro, "train.py", macro))
    overrides = push_of(asked, "r", {"lr": 1e-5, "flag": True, "off": False, "none": None}).run_spec["overrides"]
    assert (overrides["args"], overrides["entry_point"]) == (args, ["python", "train.py", macro])


def test_the_last_kind_of_macro_gives_the_arguments() -> None:
    overrides = push_of(order(command=("${args_json}", "${args}")), "r", {"lr": 1}).run_spec["overrides"]
    assert overrides == {"run_config": {"lr": 1}, "args": ['{"lr": 1}']}


@pytest.mark.parametrize("macro", ["${envvar:WANDB_API_KEY}", "${env}", "${interpreter}", "${args_json_file}"])
def test_no_environment_variable_can_be_read_with_a_macro(macro: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    asked = order(command=("python", f"--key={macro}", macro, 1))
    assert push_of(asked, "r", {}).run_spec["overrides"]["entry_point"] == ["python", f"--key={macro}", macro, 1]
