"""Macros such as `${run_id}`, in any string of the queue's configuration. Only those in `Macros` exist."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from launch_agent.model import Model

_MACRO = re.compile(r"\$\{(\w+)\}")


class Macros(Model):
    """The value of each macro; None if this run has no such value."""

    project_name: str | None = None
    entity_name: str | None = None
    run_id: str | None = None
    run_name: str | None = None
    image_uri: str | None = None
    author: str | None = None

    def render(self, source: Any) -> Any:
        """Return `source`, any JSON value, with the macros in its strings replaced. Keys do not change.

        Unknown macros, and macros without a value in this run, are not replaced.
        """
        values = self.model_dump(exclude_none=True)
        return _walk(source, lambda text: _MACRO.sub(lambda macro: values.get(macro[1], macro[0]), text))

    def without_value(self, source: Any) -> set[str]:
        """Return the names of the macros in the strings of `source` that are unknown or have no value in this run."""
        return macros_in(source) - self.model_dump(exclude_none=True).keys()


def macros_in(source: Any) -> set[str]:
    """Return the names of all macros in the strings of `source`, known or not."""
    found: set[str] = set()

    def note(text: str) -> str:
        found.update(_MACRO.findall(text))
        return text

    _walk(source, note)
    return found


def _walk(source: Any, on_string: Callable[[str], str]) -> Any:
    if isinstance(source, str):
        return on_string(source)
    if isinstance(source, list):
        return [_walk(item, on_string) for item in source]
    if isinstance(source, Mapping):
        return {key: _walk(item, on_string) for key, item in source.items()}
    return source
