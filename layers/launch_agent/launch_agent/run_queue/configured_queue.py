"""A run queue in W&B: its resource, the configuration that it adds to each run, and its template variables."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_VARIABLE = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")


class ConfiguredQueue(NamedTuple):
    """A run queue. `variables` maps each template variable to its JSON schema."""

    name: str
    resource: str
    config: Mapping[str, Any]
    variables: Mapping[str, Mapping[str, Any]] = {}

    @property
    def default_config(self) -> Mapping[str, Any]:
        """The configuration with the defaults of its template variables."""
        defaults = {name: schema["default"] for name, schema in self.variables.items() if "default" in schema}
        found: Mapping[str, Any] = _filled(self.config, defaults)
        return found


def has_variable(value: object) -> bool:
    """Whether a value contains a template variable."""
    if isinstance(value, Mapping):
        return any(map(has_variable, value.values()))
    if isinstance(value, list):
        return any(map(has_variable, value))
    return isinstance(value, str) and bool(_VARIABLE.search(value))


def _filled(value: Any, defaults: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(each, defaults) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, defaults) for each in value]
    if not isinstance(value, str):
        return value
    whole = _VARIABLE.fullmatch(value)
    if whole:
        return defaults.get(whole[1], value)
    return _VARIABLE.sub(lambda found: str(defaults.get(found[1], found[0])), value)
