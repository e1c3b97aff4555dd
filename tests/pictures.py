"""Draws the pictures in the documents from the code: the state machine, and the life of a run."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launch_agent.runs.life import LIFE
from tests.documents import MACHINE, ROOT

_SHAPES = {"Task": '["{}"]', "Choice": '{{"{}"}}', "Succeed": '(["{}"])'}


def state_machine() -> str:
    """Draw the state machine: the call and the next states of each state."""
    lines = ["flowchart TD", f'    item(["run queue item"]) --> {_id(MACHINE["StartAt"])}']
    for name, state in MACHINE["States"].items():
        lines.append(f"    {_id(name)}{_SHAPES[state['Type']].format(_label(name, state))}")
        lines += [f"    {_id(name)} {arrow} {_id(target)}" for arrow, target in _ways_on(state)]
    return "\n".join(lines)


def life_of_a_run() -> str:
    """Draw the states of a run's record, and the events that change them."""
    lines = ["stateDiagram-v2"]
    for event, change in LIFE.items():
        said = f"{event}, {'next attempt' if change.next_attempt else 'same attempt'}"
        said += f", slots {change.slots:+d}" if change.slots else ""
        for state in change.after:
            lines.append(f"    {state or '[*]'} --> {change.to}: {said if state else said.replace('next', 'first')}")
    return "\n".join(lines)


PICTURES = {"README.md": state_machine, "docs/architecture.md": life_of_a_run}
"""Each document has one picture, between two markers."""

_MARKED = re.compile(r"(?<=<!-- drawn by `make picture` -->\n```mermaid\n).*?(?=\n```\n<!-- end -->)", re.DOTALL)


def in_document(path: Path) -> str:
    """Return the picture in a document."""
    (picture,) = _MARKED.findall(path.read_text())
    return str(picture)


def _ways_on(state: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the arrows from a state: solid for the normal way, dotted for failures."""
    for choice in state.get("Choices", []):
        (condition,) = re.findall(r"^{% \$(.+) %}$", choice["Condition"])
        yield f'-- "{condition}" -->', choice["Next"]
    for key, label in (("Default", '-- "otherwise" -->'), ("Next", "-->")):
        if key in state:
            yield label, state[key]
    for caught in state.get("Catch", []):
        errors = ", ".join("any error" if error == "States.ALL" else error for error in caught["ErrorEquals"])
        yield f'-. "{errors}" .->', caught["Next"]


def _label(name: str, state: dict[str, Any]) -> str:
    """Return a state's label: its name and, below, the function or the service that it calls."""
    if state["Type"] != "Task":
        return name
    function = state["Arguments"].get("FunctionName")
    return f"{name}<br/><i>{_function(function) if function else 'AWS CodeBuild'}</i>"


def _function(substitution: str) -> str:
    """Return a function's folder: plan_run for ${PlanRunFunction}."""
    words = re.findall(r"[A-Z][a-z]+", substitution.removesuffix("Function}"))
    return "_".join(words).lower()


def _id(name: str) -> str:
    return "_".join(re.findall(r"\w+", name)).lower()


def draw_into(document: str, picture: str) -> None:
    """Replace the picture in a document."""
    path = ROOT / document
    path.write_text(path.read_text().replace(in_document(path), picture))


if __name__ == "__main__":
    for name, draw in PICTURES.items():
        draw_into(name, draw())
