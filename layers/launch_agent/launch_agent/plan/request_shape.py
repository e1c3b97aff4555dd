r"""Check a value against a shape of AWS's own service model, and say every fault in words.

botocore's client checks required and unknown members, types and minimum bounds only. Patterns, enums and maximum
bounds are in the same model, and the service refuses what breaks them.
"""

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Protocol, cast


class Shape(Protocol):
    """What is read of a `botocore.model.Shape`."""

    name: str
    type_name: str

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Bounds, enum and pattern, where the model gives them."""


def shape_faults(value: object, shape: Shape, *, open_enums: Collection[str] = frozenset()) -> list[str]:
    """List every fault of `value`, each as a sentence that begins with the path of the key.

    `open_enums` names the string shapes whose enum grows faster than botocore is updated; any value passes there.
    """
    return list(_faults(value, shape, "", open_enums))


def _faults(value: object, shape: Shape, path: str, open_enums: Collection[str]) -> Iterator[str]:
    check = _CHECKS.get(shape.type_name)
    if check is not None:
        yield from check(value, shape, path, open_enums)


def _structure(value: object, shape: Shape, path: str, open_enums: Collection[str]) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield _wrong_type(path, value, "an object")
        return
    members: Mapping[str, Shape] = cast(Any, shape).members
    for key in cast(Any, shape).required_members:
        if value.get(key) is None:
            yield f"{_join(path, key)} is missing."
    for key, item in value.items():
        if key not in members:
            yield f"{_join(path, key)} is not a key SageMaker knows. {_nearest(str(key), members)}"
        elif item is None:
            yield f"{_join(path, key)} is null. Leave the key out, or give it a value."
        else:
            yield from _faults(item, members[key], _join(path, key), open_enums)


def _list(value: object, shape: Shape, path: str, open_enums: Collection[str]) -> Iterator[str]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        yield _wrong_type(path, value, "a list")
        return
    yield from _size(len(value), shape, f"{path} has {len(value)} entries")
    for index, item in enumerate(value):
        yield from _faults(item, cast(Any, shape).member, f"{path}[{index}]", open_enums)


def _map(value: object, shape: Shape, path: str, open_enums: Collection[str]) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield _wrong_type(path, value, "an object")
        return
    yield from _size(len(value), shape, f"{path} has {len(value)} entries")
    for key, item in value.items():
        yield from _faults(key, cast(Any, shape).key, f"a key of {path}", open_enums)
        yield from _faults(item, cast(Any, shape).value, _join(path, str(key)), open_enums)


def _string(value: object, shape: Shape, path: str, open_enums: Collection[str]) -> Iterator[str]:
    if not isinstance(value, str):
        yield _wrong_type(path, value, "a string")
        return
    enum = shape.metadata.get("enum")
    if enum:
        if value not in enum and shape.name not in open_enums:
            yield f"{path} is {_short(value)}. It can be {_one_of(enum)}."
        return
    yield from _size(len(value), shape, f"{path} has {len(value)} characters")
    pattern = shape.metadata.get("pattern")
    if pattern and not compiled_pattern(pattern).fullmatch(value):
        yield f"{path} is {_short(value)}, which does not match {pattern}."


def _number(value: object, shape: Shape, path: str, open_enums: Collection[str]) -> Iterator[str]:
    whole = shape.type_name in ("integer", "long")
    allowed: tuple[type, ...] = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed):
        yield _wrong_type(path, value, "a whole number" if whole else "a number")
        return
    yield from _size(cast(float, value), shape, f"{path} is {value}")


def _boolean(value: object, shape: Shape, path: str, open_enums: Collection[str]) -> Iterator[str]:
    if not isinstance(value, bool):
        yield _wrong_type(path, value, "true or false")


_CHECKS: dict[str, Callable[[object, Shape, str, Collection[str]], Iterator[str]]] = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "integer": _number,
    "long": _number,
    "float": _number,
    "double": _number,
    "boolean": _boolean,
}


def _size(size: float, shape: Shape, what: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        yield f"{what}. It must be at least {low}."
    if high is not None and size > high:
        yield f"{what}. It must be at most {high}."


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _wrong_type(path: str, value: object, wanted: str) -> str:
    hint = f'; write "{value}"' if wanted == "a string" and isinstance(value, (int, float)) else ""
    return f"{path or 'The request'} must be {wanted}, not {_short(value)}{hint}."


def _short(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:76]}..."


def _one_of(values: Sequence[str]) -> str:
    return ", ".join(values[:-1]) + (" or " if len(values) > 1 else "") + values[-1]


def _nearest(key: str, legal: Collection[str]) -> str:
    by_lower_case = {name.lower(): name for name in legal}
    close = difflib.get_close_matches(key.replace("_", "").lower(), by_lower_case, n=1, cutoff=0.5)
    return f"Did you mean {by_lower_case[close[0]]}?" if close else "Leave it out."


@cache
def compiled_pattern(pattern: str) -> re.Pattern[str]:
    r"""Compile a pattern of the service model with Python's own `re`, which lacks `\p{...}`.

    The three Unicode classes the model uses stand inside brackets, `\p{L}` and `\p{N}` beside `_`, where `\w` says
    the same: letters, numbers and the underscore.
    """
    for theirs, ours in _UNICODE_CLASSES.items():
        pattern = pattern.replace(theirs, ours)
    return re.compile(pattern)


_UNICODE_CLASSES = {
    r"\p{L}": r"\w",
    r"\p{N}": "",
    r"\p{Z}": " \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",
    r"\p{Alnum}": "a-zA-Z0-9",
}
