"""The functions: their names, their properties in the template, and their handlers, loaded as in Lambda."""

import importlib.util
import os
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any
from unittest.mock import patch

from tests.documents import ROOT, resources, template

NAMES = (
    "poll_queues",
    "plan_run",
    "start_training",
    "resume_run",
    "advance_sweeps",
    "report_outcome",
    "relaunch_run",
    "sweep_runs",
    "check_setup",
    "retire_agent",
)


def logical_id(name: str) -> str:
    """Return a function's logical id in the template."""
    return "".join(word.title() for word in name.split("_")) + "Function"


@cache
def properties_of(name: str) -> dict[str, Any]:
    """Return a function's properties, including the template's globals."""
    return {**template()["Globals"]["Function"], **resources("AWS::Serverless::Function")[logical_id(name)]}


@cache
def variables_of(name: str) -> set[str]:
    """Return the names of a function's environment variables in the template."""
    own = resources("AWS::Serverless::Function")[logical_id(name)].get("Environment", {}).get("Variables", {})
    return {*template()["Globals"]["Function"]["Environment"]["Variables"], *own}


def loaded(name: str, environment: Mapping[str, str]) -> ModuleType:
    """Load a new copy of a handler's module, like a cold start in Lambda, with its own variables of `environment`."""
    spec = importlib.util.spec_from_file_location(f"started_{name}", ROOT / "functions" / name / "app.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    with patch.dict(os.environ, {key: value for key, value in environment.items() if key in variables_of(name)}):
        spec.loader.exec_module(module)
    return module
