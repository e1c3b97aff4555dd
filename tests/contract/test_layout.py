"""The layout: the package's map is correct, the story has a step for each function, and handlers contain no logic."""

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
DOCUMENTS = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
FOLDERS = {"docs", "functions", "layers", "local", "operate", "requirements", "statemachine", "tests"}


def layers() -> list[set[str]]:
    """The modules of each layer, lowest first, as in import-linter's contract."""
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


def is_there(path: str) -> bool:
    """Return whether a path, possibly with a pattern, exists in the repository or the package."""
    return any(any(folder.glob(path.strip("/"))) for folder in (ROOT, PACKAGE))


def paths_in(text: str) -> set[str]:
    """Return the names in backticks in a document that must be paths in this repository."""
    named = {name.partition("::")[0] for name in re.findall(r"`([\w./*-]+(?:::\w+)?)`", text)}
    ours = FOLDERS | {room for room in MAP if (PACKAGE / room).is_dir()}
    return {name for name in named if (name.split("/")[0] in ours and "/" in name) or re.fullmatch(r"\w+\.py", name)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_that_a_document_names_exists(document: str) -> None:
    assert [path for path in sorted(paths_in((ROOT / document).read_text())) if not is_there(path)] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_of_a_document_leads_to_a_file(document: str) -> None:
    text = (ROOT / document).read_text()
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / document).parent.joinpath(link).exists()] == []


def test_the_table_of_changes_names_files_that_exist() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    (table,) = re.findall(r"^\| I want to\.\.\. \|.*?(?=\n\n)", text, re.MULTILINE | re.DOTALL)
    rows = [row.split("|")[2] for row in table.splitlines()[2:]]
    assert len(rows) > 15
    for row in rows:
        named = [name for name in re.findall(r"`([^` ]+)`", row) if "/" in name or "." in name]
        assert named or "`make " in row, row
        assert [name for name in named if not is_there(name)] == []


def test_each_group_of_tests_runs_in_one_process(request: pytest.FixtureRequest) -> None:
    """The groups of tests/conftest.py: pytest-xdist tells them by the end of a test's name."""
    has_groups = bool(request.config.getoption("loadgroup", default=False))
    assert request.node.nodeid.endswith("@contract/test_layout") == has_groups
