"""All operations that this launch agent sends, and their variables, match W&B's schema."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from graphql import GraphQLSchema, OperationDefinitionNode, build_schema, parse, validate
from graphql.execution.values import get_variable_values

from launch_agent.clients import sweep_operations, wandb_operations
from launch_agent.clients.graphql import Operation
from launch_agent.run_queue.items import RunPath

SAMPLES: dict[Any, list[Any]] = {
    str: ["text", ""],
    str | None: ["text", None],
    Sequence[str]: [["a", "b", "a"], []],
    Sequence[RunPath]: [[RunPath("entity", "project", "run"), RunPath("entity", "project", "other")], []],
    Sequence[tuple[str, str, str]]: [[("entity", "project", "run"), ("entity", "project", "other")], []],
    dict[str, Any]: [{"name": "run"}],
    Mapping[str, str]: [{"item": "why", "other": "why"}, {"item": "why"}],
    Sequence[dict[str, Any]]: [[{"name": "run"}, {"name": "other"}]],
}


ARTIFACT = {
    **{"entityName": "team", "projectName": "train", "runName": "run", "artifactTypeName": "model"},
    **{"artifactCollectionName": "run-model", "digest": "0" * 32, "digestAlgorithm": "MANIFEST_MD5"},
}
"""A CreateArtifactInput."""


@cache
def schema() -> GraphQLSchema:
    return build_schema((Path(__file__).parent.parent.parent / "local/wandb/schema.graphql").read_text())


def operations() -> list[Callable[..., Operation]]:
    """All functions that return an operation, so that a new one is tested automatically."""
    made = [pair for module in (wandb_operations, sweep_operations) for pair in inspect.getmembers(module)]
    functions = [value for name, value in made if inspect.isfunction(value) and not name.startswith("_")]
    return [function for function in functions if get_type_hints(function).get("return") is Operation]


def variants(function: Callable[..., Operation]) -> list[Operation]:
    """Call the function with full and with empty arguments."""
    hints = [hint for name, hint in get_type_hints(function).items() if name != "return"]
    full = [SAMPLES[hint][0] for hint in hints]
    empty = [SAMPLES[hint][-1] for hint in hints]
    if function is wandb_operations.create_artifact:
        full = empty = [ARTIFACT]
    if function in (wandb_operations.update_and_pop, wandb_operations.queue_items):
        empty[-1] = ["a"]  # without a queue, this document is not sent
    if function is sweep_operations.push_runs:
        full = [[{"entityName": "team", "projectName": "p", "queueName": "q", "runSpec": "{}", "priority": 2}]]
    pages = (sweep_operations.first_items, sweep_operations.last_items)
    if inspect.getmodule(function) is sweep_operations and function not in pages:
        return [function(*full)]  # nothing is sent for no sweep, run or agent
    return [function(*full), function(*empty)]


@pytest.mark.parametrize("function", operations(), ids=lambda function: function.__name__)
def test_an_operation_fits_the_schema(function: Callable[..., Operation]) -> None:
    for operation in variants(function):
        document = parse(operation.document)
        assert validate(schema(), document) == []
        definition = document.definitions[0]
        assert isinstance(definition, OperationDefinitionNode)
        coerced = get_variable_values(schema(), definition.variable_definitions or (), dict(operation.variables))
        assert not isinstance(coerced, list), coerced
        assert len(document.definitions) == 1


def test_there_are_operations() -> None:
    assert len(operations()) > 10
