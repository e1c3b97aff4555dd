"""The template's parameters: their descriptions and defaults, and the values that they allow."""

import re
from pathlib import Path
from typing import Any

import yaml

from launch_agent.model import Model

ROOT = Path(__file__).parent.parent


class Parameter(Model):
    """A parameter of the template."""

    name: str
    description: str
    default: str | None
    allowed: tuple[str, ...] = ()
    pattern: str = ""
    constraint: str = ""
    between: tuple[float, float] | None = None

    def fault(self, value: str) -> str | None:
        """Return what is wrong with a value; None if CloudFormation accepts it."""
        if self.allowed and value not in self.allowed:
            return f"Enter one of {', '.join(self.allowed)}."
        if self.between and not _lies_between(value, *self.between):
            return f"Enter a number from {self.between[0]:g} to {self.between[1]:g}."
        if not re.fullmatch(self.pattern or ".*", value):
            return self.constraint
        return None


def parameters() -> dict[str, Parameter]:
    """Return the template's parameters by name, in the order in which the AWS console shows them."""
    template = yaml.load((ROOT / "template.yaml").read_text(), _Loader)  # noqa: S506 - a SafeLoader
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    names = [name for group in groups for name in group["Parameters"]]
    return {name: _parameter(name, template["Parameters"][name]) for name in names}


def _parameter(name: str, declared: dict[str, Any]) -> Parameter:
    default = declared.get("Default")
    return Parameter(
        name=name,
        description=declared["Description"],
        default=None if default is None else str(default),
        allowed=tuple(str(value) for value in declared.get("AllowedValues", ())),
        pattern=declared.get("AllowedPattern", ""),
        constraint=declared.get("ConstraintDescription", ""),
        between=(declared["MinValue"], declared["MaxValue"]) if "MinValue" in declared else None,
    )


def _lies_between(value: str, low: float, high: float) -> bool:
    return bool(re.fullmatch(r"\d+(\.\d+)?", value)) and low <= float(value) <= high


_Loader: Any = type("_Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {})
"""Reads a template; reads values with CloudFormation's short tags, such as `!Ref`, as None."""
_Loader.add_multi_constructor("!", lambda *_: None)
