"""The JSON schemas of the events, in docs/events. `make golden` writes them."""

import json
from typing import Any

from launch_agent.outcome.events import Event, RunEnded, RunLaunched
from tests.documents import ROOT

FILES: dict[str, type[Event]] = {"run-launched.json": RunLaunched, "run-ended.json": RunEnded}


def schema_of(kind: type[Event]) -> dict[str, Any]:
    """Return the schema of an event's detail. Fields may be added, so it allows others."""
    schema = _open(kind.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _open(value: Any) -> Any:
    """Return a schema without the limit to known fields, and without null: absent fields are left out."""
    if isinstance(value, list):
        return [_open(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "anyOf" in value:
        (kind,) = (each for each in value["anyOf"] if each != {"type": "null"})
        return {"type": kind["type"], "title": value["title"]}
    return {name: _open(each) for name, each in value.items() if name != "additionalProperties"}


if __name__ == "__main__":
    for name, kind in FILES.items():
        (ROOT / "docs/events" / name).write_text(json.dumps(schema_of(kind), indent=2) + "\n")
