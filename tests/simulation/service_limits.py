"""Checks requests against AWS's service models, with AWS's messages, which repeat the whole invalid value.

botocore's clients check only types, required members and lower bounds; the service checks the rest. Enums are not
checked here, because AWS extends them faster than botocore is updated.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import botocore.session
import regex
from botocore.model import Shape

from tests.simulation.dynamodb import Refused

_NAMES = {
    "eventbridge": "events",
    "cloudwatch-logs": "logs",
    "secrets-manager": "secretsmanager",
    "sfn": "stepfunctions",
}
"""botocore's names of the services that have another name in its events."""


def check_limits(service: str, operation: str, asked: Mapping[str, Any]) -> None:
    """Raise Refused if a request breaks a limit of its service's model."""
    found = list(_violations(_shape(_NAMES.get(service, service), operation), asked, ""))
    if found:
        some = "1 validation error" if len(found) == 1 else f"{len(found)} validation errors"
        raise Refused("ValidationException", f"{some} detected: {'; '.join(found)}")


@cache
def _shape(service: str, operation: str) -> Any:
    return botocore.session.get_session().get_service_model(service).operation_model(operation).input_shape


def _violations(shape: Any, value: Any, path: str) -> Iterator[str]:
    broken = [words for words, holds in _constraints(shape, value) if not holds]
    shown = "" if shape.metadata.get("sensitive") else f"'{_in_java(value)}' "
    yield from (f"Value {shown}at '{path}' failed to satisfy constraint: {words}" for words in broken)
    if shape.type_name == "structure":
        for name, each in value.items():
            yield from _violations(shape.members[name], each, f"{path}.{_camel(name)}".lstrip("."))
    elif shape.type_name == "list" and shape.member.type_name in ("structure", "list", "map"):
        for number, each in enumerate(value, 1):
            yield from _violations(shape.member, each, f"{path}.{number}.member")
    elif shape.type_name == "list":
        yield from _of_members(shape.member, value, "Member", value, path)
    elif shape.type_name == "map":
        yield from _of_members(shape.key, value, "Map keys", value, path)
        yield from _of_members(shape.value, value.values(), "Map value", value, path)


def _of_members(member: Any, values: Any, who: str, whole: Any, path: str) -> Iterator[str]:
    """Report the constraints of a list's or a map's plain members, once for all members."""
    if any(not holds for value in values for _, holds in _constraints(member, value)):
        words = ", ".join(words for words, _ in _constraints(member, next(iter(values))))
        shown = f"Value '{_in_java(whole)}' at '{path}'"
        yield f"{shown} failed to satisfy constraint: {who} must satisfy constraint: [{words}]"


def _constraints(shape: Shape, value: Any) -> Iterator[tuple[str, bool]]:
    """Yield each constraint of a shape in words, and whether a value satisfies it."""
    metadata: Mapping[str, Any] = shape.metadata
    is_number = shape.type_name in ("integer", "long", "float", "double")
    size = value if is_number else _length(shape, value)
    what = "value" if is_number else "length"
    if "max" in metadata:
        yield f"Member must have {what} less than or equal to {metadata['max']}", size <= metadata["max"]
    if "min" in metadata:
        yield f"Member must have {what} greater than or equal to {metadata['min']}", size >= metadata["min"]
    if "pattern" in metadata:
        holds = _compiled(metadata["pattern"]).fullmatch(value) is not None
        yield f"Member must satisfy regular expression pattern: {metadata['pattern']}", holds


def _length(shape: Shape, value: Any) -> int:
    if shape.type_name in ("string", "list", "map"):
        # The limits of sensitive texts are limits of payloads, which are counted in bytes.
        return len(value.encode() if shape.metadata.get("sensitive") else value)
    return 0


@cache
def _compiled(pattern: str) -> Any:
    return regex.compile(pattern.replace(r"\p{ASCII}", r"\x00-\x7f"))


def _camel(name: str) -> str:
    return name[:1].lower() + name[1:]


def _in_java(value: Any) -> str:
    """Return a value as text in Java's form, as the services do."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}={_in_java(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_in_java, value)) + "]"
    return str(value)
