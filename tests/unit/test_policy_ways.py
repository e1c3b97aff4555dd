"""`policy`: what a rule refuses is refused whichever way it comes into the request."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from launch_agent.errors import InvalidRunSpec
from launch_agent.plan.queue_block import camel_case
from launch_agent.run_queue.policy import Rules
from local.wandb.queues import ResourceConfig
from tests.unit.test_policy import CASES, plan

WITH_BLOCK = [name for name, (_, _, refused, _) in CASES.items() if refused.get("block")]
"""The cases in which the queue's configuration, or a run's change of it, breaks the rule."""
BY_THE_RUN = {
    "projects": "the run spec's own entity and project",
    "jobs": "the run spec's own job",
    "allow_dockerfile_override": "overrides.dockerfile",
}
"""Rules about what is no part of the configuration."""
Path = tuple[str | int, ...]


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the path and the value of each text and number in a JSON value."""
    if isinstance(value, (dict, list)):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(each, (*path, key))
    elif value is not None and not isinstance(value, bool):
        yield path, value


def put(value: Any, path: Path, leaf: Any) -> Any:
    """Return a JSON value with another leaf at a path."""
    if not path:
        return leaf
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    changed = {key: put(each, path[1:], leaf) if key == path[0] else each for key, each in pairs}
    return changed if isinstance(value, dict) else [*changed.values()]


def snake_case(value: Any, *, nested: bool = False) -> Any:
    """Return a block with its keys in snake case; with `nested`, those of all levels."""
    if isinstance(value, list):
        return [snake_case(each, nested=nested) for each in value] if nested else value
    if not isinstance(value, dict):
        return value
    return {
        re.sub(r"(?<=[a-z0-9])[A-Z]", lambda big: f"_{big[0]}", key).lower(): snake_case(each, nested=True)
        if nested
        else each
        for key, each in value.items()
    }


def refusal(policy: dict[str, Any], refused: dict[str, Any]) -> str:
    """Return the words with which a run is refused."""
    with pytest.raises(InvalidRunSpec) as said:
        plan(policy, **refused)
    return str(said.value)


def names_rule(policy: dict[str, Any], words: str) -> bool:
    """Whether a refusal names one of the rules."""
    rules = {*policy, *(rule for own in policy.get("queues", {}).values() for rule in own)}
    return any(re.search(rf"policy(\.queues\.sm)?\.{rule}\b", words) for rule in rules)


@pytest.mark.parametrize("name", WITH_BLOCK)
def test_it_is_refused_in_snake_case(name: str) -> None:
    """Keys of one word, such as Tags, have no such spelling: SageMaker has no `tags`."""
    policy, _, refused, _ = CASES[name]
    block = snake_case(refused["block"])
    same = {camel_case(key) for key in block} == {camel_case(key) for key in refused["block"]}
    assert same or block.keys() <= {"environment", "tags"}
    assert names_rule(policy, refusal(policy, {**refused, "block": block})) or not same


@pytest.mark.parametrize("name", WITH_BLOCK)
def test_it_is_refused_in_snake_case_at_every_level(name: str) -> None:
    policy, _, refused, _ = CASES[name]
    assert refusal(policy, {**refused, "block": snake_case(refused["block"], nested=True)})


@pytest.mark.parametrize("name", WITH_BLOCK)
def test_it_is_refused_through_a_macro(name: str) -> None:
    """Each text comes from a macro, and each number, which then is a text."""
    policy, _, refused, _ = CASES[name]
    for path, leaf in leaves(refused["block"]):
        if "${run_name}" in str(leaf):
            continue  # it is one already
        words = refusal(policy, {**refused, "block": put(refused["block"], path, "${author}"), "author": str(leaf)})
        assert names_rule(policy, words) or not isinstance(leaf, str) or path[0] in ("builder", "TrainingJobName")


@pytest.mark.parametrize("name", WITH_BLOCK)
def test_it_is_refused_through_template_variables(name: str) -> None:
    policy, _, refused, _ = CASES[name]
    block, values = refused["block"], {}
    for number, (path, leaf) in enumerate(leaves(block)):
        block, values[f"v{number}"] = put(block, path, f"{{{{v{number}}}}}"), leaf
    variables = {name: {"schema": {"type": kind_of(value)}} for name, value in values.items()}
    queue = ResourceConfig("id", "sagemaker", {"resource_args": {"sagemaker": block}}, variables)
    filled = queue.substituted(values)["sagemaker"]
    assert names_rule(policy, refusal(policy, {**refused, "block": filled}))


def kind_of(value: Any) -> str:
    """The type of a value in a template variable's schema."""
    return "string" if isinstance(value, str) else "integer"


@pytest.mark.parametrize("name", WITH_BLOCK)
def test_overrides_do_not_bring_it_in(name: str) -> None:
    policy, allowed, refused, _ = CASES[name]
    block = refused["block"]
    brought = {**block, "resource_args": {"sagemaker": block}, "sagemaker": block, **allowed.get("overrides", {})}
    without = plan(policy, **allowed)
    assert plan(policy, **{**allowed, "overrides": brought}) == without


def test_every_rule_is_tried_in_every_way() -> None:
    tried = {rule for name in WITH_BLOCK for rule in rules_of(name)}
    assert tried | BY_THE_RUN.keys() == Rules.model_fields.keys()
    assert {rule for name in CASES for rule in rules_of(name)} == Rules.model_fields.keys()


def rules_of(name: str) -> set[str]:
    policy, _, _, _ = CASES[name]
    return {*(policy.keys() - {"queues"}), *(rule for own in policy.get("queues", {}).values() for rule in own)}
