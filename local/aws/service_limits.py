"""Checks requests against AWS's service models, with AWS's messages, which repeat the whole invalid value.

botocore's clients check only types, required members and lower bounds; the service checks the rest
(https://github.com/aws/sagemaker-sparkml-serving-container/issues/12).
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import botocore.session

from launch_agent.plan.request_shape import compiled_pattern

_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("structure", "map"), (Mapping,)),
    **dict.fromkeys(("integer", "long"), (int,)),
    **dict.fromkeys(("float", "double"), (int, float)),
    "list": (list,),
    "string": (str,),
    "boolean": (bool,),
}


class WrongType(Exception):
    """A value does not have its member's type."""


def violations(service: str, operation: str, asked: Mapping[str, Any]) -> str:
    """Return a message about the limits that a request breaks; empty if it breaks none. Raises WrongType."""
    found = list(_violations(_shape(service, operation), asked, ""))
    some = "1 validation error" if len(found) == 1 else f"{len(found)} validation errors"
    return f"{some} detected: {'; '.join(found)}" if found else ""


@cache
def _shape(service: str, operation: str) -> Any:
    return botocore.session.get_session().get_service_model(service).operation_model(operation).input_shape


def _violations(shape: Any, value: Any, path: str) -> Iterator[str]:
    expected: Any = _TYPES.get(shape.type_name, (object,))
    if not isinstance(value, expected):
        raise WrongType(f"{path}: a value of another type cannot be converted to {shape.type_name}")
    shown = f"Value '{_in_java(value)}' at '{path}' failed to satisfy constraint: "
    yield from (shown + words for words, holds in _constraints(shape, value) if not holds)
    if shape.type_name == "structure":
        yield from _of_structure(shape, value, path)
    elif shape.type_name == "list" and shape.member.type_name in ("structure", "list", "map"):
        for number, each in enumerate(value, 1):
            yield from _violations(shape.member, each, f"{path}.{number}.member")
    elif shape.type_name == "list":
        yield from _of_members(shape.member, value, "Member", shown)
    elif shape.type_name == "map":
        yield from _of_members(shape.key, list(value), "Map keys", shown)
        yield from _of_members(shape.value, list(value.values()), "Map value", shown)


def _of_structure(shape: Any, value: Mapping[str, Any], path: str) -> Iterator[str]:
    """Check members. Null counts as absent, and unknown members are ignored."""
    for name, member in shape.members.items():
        where = f"{path}.{name[0].lower()}{name[1:]}".lstrip(".")
        if value.get(name) is not None:
            yield from _violations(member, value[name], where)
        elif name in shape.required_members:
            yield f"Value null at '{where}' failed to satisfy constraint: Member must not be null"


def _of_members(member: Any, values: Sequence[Any], who: str, shown: str) -> Iterator[str]:
    """Report the constraints of a list's or a map's plain members, once for all members."""
    if any(not holds for value in values for _, holds in _constraints(member, value)):
        words = ", ".join(words for words, _ in _constraints(member, values[0]))
        yield f"{shown}{who} must satisfy constraint: [{words}]"


def _constraints(shape: Any, value: Any) -> Iterator[tuple[str, bool]]:
    """Yield each constraint of a shape in words, and whether a value satisfies it."""
    if isinstance(value, bool) or shape.type_name == "structure":
        return
    limits: Mapping[str, Any] = shape.metadata
    what, size = ("value", value) if isinstance(value, (int, float)) else ("length", len(value))
    if "max" in limits:
        yield f"Member must have {what} less than or equal to {limits['max']}", size <= limits["max"]
    if "min" in limits:
        yield f"Member must have {what} greater than or equal to {limits['min']}", size >= limits["min"]
    if "pattern" in limits:
        holds = compiled_pattern(limits["pattern"]).fullmatch(value) is not None
        yield f"Member must satisfy regular expression pattern: {limits['pattern']}", holds
    if "enum" in limits:
        yield f"Member must satisfy enum value set: {_in_java(limits['enum'])}", value in limits["enum"]


def _in_java(value: Any) -> str:
    """Return a value as text in Java's form, as the services do."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}={_in_java(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_in_java, value)) + "]"
    return str(value)
