"""The form for queueing a run: its fields are texts, and a fault is named by its field."""

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from graphql import GraphQLError

from local.wandb.queues import RunQueueItem
from local.wandb.state import LAUNCH_PROJECT, State


class InvalidForm(Exception):
    """Fields of a form have faults."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        """Name the fault of each field."""
        super().__init__(str(faults))
        self.faults = dict(faults)


def queue_run(state: State, given: Mapping[str, Any]) -> RunQueueItem:
    """Queue a run from the fields of the form. Raises InvalidForm."""
    form = {name: str(text).strip() for name, text in given.items()}
    spec, priority, values = _order(state, form)
    queue = state.project(state.team.name, LAUNCH_PROJECT).queues[form["queue"]]
    try:
        return queue.push(spec, priority, values)
    except GraphQLError as error:
        field = "variables" if "template variable" in error.message else "priority"
        raise InvalidForm({field: f"{error.message[0].upper()}{error.message[1:]}."}) from None


def _order(state: State, form: Mapping[str, str]) -> tuple[dict[str, Any], int | None, dict[str, Any]]:
    """Return the run spec, priority and template variables of a form. Raises InvalidForm, with all faults."""
    faults: dict[str, str] = {}

    def read(field: str, reader: Callable[[str], Any]) -> Any:
        try:
            return reader(form.get(field, ""))
        except ValueError as error:
            faults[field] = str(error)
            return None

    image, job = form.get("image", ""), form.get("job", "")
    if bool(image) == bool(job):
        faults["job" if job else "image"] = "Enter an image or a job, not both." if job else "Enter an image or a job."
    read("queue", lambda name: _queue(state, name))
    read("job", lambda name: _job(state, name))
    overrides = {
        "entry_point": read("entry_point", _words),
        "args": read("args", _words),
        "run_config": read("run_config", _object),
    }
    resource = read("resource_args", _object)
    spec = {
        "entity": state.team.name,
        "project": read("project", _project),
        "git": {},
        "docker": {"docker_image": image} if image else {},
        "overrides": {name: value for name, value in overrides.items() if value},
        **({"job": job} if job else {}),
        **({"name": form["name"]} if form.get("name") else {}),
        **({"resource_args": {"sagemaker": resource}} if resource else {}),
    }
    priority, values = read("priority", _priority), read("variables", _object)
    if faults:
        raise InvalidForm(faults)
    return spec, priority, values


def _queue(state: State, name: str) -> None:
    if name not in state.project(state.team.name, LAUNCH_PROJECT).queues:
        raise ValueError(f'There is no queue "{name}".')


def _project(name: str) -> str:
    if not name or len(name) > 128 or set(name) & set("/\\#?%:"):
        raise ValueError("Enter a name of up to 128 characters, without any of / \\ # ? % :")
    return name


def _job(state: State, name: str) -> None:
    if not name:
        return
    entity, _, rest = name.partition("/")
    project, _, alias = rest.partition("/")
    found = state.find_project(entity, project) if alias else None
    if found is None or found.artifact(alias) is None:
        raise ValueError(f'There is no job "{name}". Enter it as entity/project/name:alias.')


def _priority(text: str) -> int | None:
    if text not in ("", "0", "1", "2", "3"):
        raise ValueError("Enter 0 (critical), 1 (high), 2 (medium) or 3 (low).")
    return int(text) if text else None


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{error}: use quotes as in a shell.") from None


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"This is not JSON. Line {error.lineno}, column {error.colno}: {error.msg}.") from None
    except RecursionError:
        raise ValueError("This is too deeply nested.") from None
    if not isinstance(value, dict):
        raise ValueError('Enter a JSON object, for example {"epochs": 3}.')  # noqa: TRY004 - a fault of the form
    return value
