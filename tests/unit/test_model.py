"""Rules for all models of others' data."""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import launch_agent
from launch_agent.model import Wire, faults_of


def wire_models() -> Iterator[type[Wire]]:
    for module in pkgutil.walk_packages(launch_agent.__path__, "launch_agent."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    yield from _below(Wire)


def _below(model: type[Wire]) -> Iterator[type[Wire]]:
    for each in model.__subclasses__():
        yield each
        yield from _below(each)


MODELS = sorted(wire_models(), key=lambda model: f"{model.__module__}.{model.__name__}")


def least(schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """The smallest JSON value of a schema: an object has only its required keys."""
    if "$ref" in schema:
        return least(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "contentSchema" in schema:
        return json.dumps(least(schema["contentSchema"], definitions))
    kinds: dict[str, Any] = {"array": [], "boolean": False, "integer": 0, "number": 0.0, "string": "x"}
    if schema.get("format") == "date-time":
        return "2026-11-24T12:00:00Z"
    if schema.get("type") == "object":
        return {key: least(schema["properties"][key], definitions) for key in schema.get("required", [])}
    return kinds[schema["type"]]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.__module__}.{model.__name__}")
@given(data=st.data())
def test_null_is_absent(model: type[Wire], data: st.DataObject) -> None:
    schema = model.model_json_schema()
    sent = least(schema, schema.get("$defs", {}))
    optional = [key for key in schema["properties"] if key not in sent]
    nulls = data.draw(st.lists(st.sampled_from([*optional, "an unknown key"]), unique=True))
    assert model.model_validate({**sent, **dict.fromkeys(nulls)}) == model.model_validate(sent)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.__module__}.{model.__name__}")
def test_a_flag_that_is_absent_is_not_set(model: type[Wire]) -> None:
    assert [name for name, field in model.model_fields.items() if field.default is True] == []


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.__module__}.{model.__name__}")
def test_a_key_that_has_to_be_there_is_missing_where_it_is_null(model: type[Wire]) -> None:
    schema = model.model_json_schema()
    sent = least(schema, schema.get("$defs", {}))
    for key in sent:
        with pytest.raises(ValidationError) as refused:
            model.model_validate({**sent, key: None})
        assert list(faults_of(refused.value)) == [f"{key} is missing."]
