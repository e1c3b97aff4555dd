"""Where things are: the map of the package is true, the story has a step for each function, and handlers are doors."""

import importlib
import re
import tomllib

import pytest

import launch_agent
from tests.documents import ROOT
from tests.handlers import NAMES

PACKAGE = ROOT / "layers/launch_agent/launch_agent"
MAP = [
    room
    for names in re.findall(r"^- ((?:`\w+`(?:, )?)+):", launch_agent.__doc__ or "", re.MULTILINE)
    for room in re.findall(r"\w+", names)
]


def layers() -> list[set[str]]:
    """The rooms on each floor, the lowest first, as import-linter holds them to it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (floors,) = (each["layers"] for each in contracts if each.get("containers") == ["launch_agent"])
    return [set(floor.split(" | ")) for floor in reversed(floors)]


def test_the_map_of_the_package_names_what_is_there() -> None:
    there = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if not path.name.startswith("__")}
    assert sorted(MAP) == sorted(there)


def test_the_map_of_the_package_is_in_the_order_of_its_imports() -> None:
    left = list(MAP)
    for floor in layers():
        assert {left.pop(0) for _ in floor} == floor
    assert left == []


@pytest.mark.parametrize("name", NAMES)
def test_every_function_has_a_step_of_its_name(name: str) -> None:
    step = importlib.import_module(f"launch_agent.steps.{name}")
    assert hasattr(step, "".join(word.title() for word in name.split("_")))


def test_the_steps_are_named_in_the_order_of_the_story() -> None:
    steps = importlib.import_module("launch_agent.steps")
    named = re.findall(r"`(\w+)`", steps.__doc__ or "")
    assert tuple(named[: len(NAMES)]) == NAMES
    assert sorted(named) == sorted(path.stem for path in (PACKAGE / "steps").glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("name", NAMES)
def test_a_handler_is_a_door(name: str) -> None:
    text = (ROOT / "functions" / name / "app.py").read_text()
    assert len(text.splitlines()) <= 40
    assert "\n@door\ndef handler(" in text


def test_every_log_line_leaves_through_the_door() -> None:
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "functions").rglob("*.py")]:
        loggers = set(re.findall(r"\bLogger\(.*\)", path.read_text()))
        assert loggers <= (
            {"Logger(json_serializer=_serialized)"} if path.stem == "door" else {"Logger(child=True)"}
        ), path
