"""The template and the state machine, parsed for tests."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
MACHINE = json.loads((ROOT / "statemachine/launch_run.asl.json").read_text())


@cache
def template() -> dict[str, Any]:
    """The template, with CloudFormation's short tags as {"Ref": ...} and {"Fn::Sub": ...}."""

    class Loader(yaml.CSafeLoader):
        """Reads CloudFormation's short tags."""

    def tagged(loader: Any, suffix: str, node: yaml.Node) -> dict[str, Any]:
        kinds = {yaml.ScalarNode: loader.construct_scalar, yaml.SequenceNode: loader.construct_sequence}
        construct = kinds.get(type(node), loader.construct_mapping)
        return {suffix if suffix == "Ref" else f"Fn::{suffix}": construct(node, **_deep(node))}

    Loader.add_multi_constructor("!", tagged)
    loaded: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), Loader)  # noqa: S506 - a SafeLoader
    return loaded


def _deep(node: yaml.Node) -> dict[str, bool]:
    return {} if isinstance(node, yaml.ScalarNode) else {"deep": True}


def resources(kind: str) -> dict[str, Any]:
    """The properties of all resources of a kind, by logical id."""
    return {name: each["Properties"] for name, each in template()["Resources"].items() if each["Type"] == kind}


def runs_table() -> dict[str, Any]:
    """CreateTable's parameters for the table of runs."""
    return _table("Runs")


def details_table() -> dict[str, Any]:
    """CreateTable's parameters for the table of run specs and plans."""
    return _table("RunDetails")


def _table(name: str) -> dict[str, Any]:
    taken = ("AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes", "KeySchema")
    return {key: value for key, value in resources("AWS::DynamoDB::Table")[name].items() if key in taken}


def sample_event(name: str) -> dict[str, Any]:
    """An AWS event from tests/events."""
    event: dict[str, Any] = json.loads((ROOT / f"tests/events/{name}.json").read_text())
    return event
