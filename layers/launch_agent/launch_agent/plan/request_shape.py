r"""Checks a value against a shape of AWS's service model, and lists every fault in words.

botocore's client checks only required and unknown members, types and minimum bounds. The same model has patterns,
enums and maximum bounds, which the service enforces.
"""

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, NamedTuple, Protocol, cast

from launch_agent.model import kind, shown

_FEW = 10
_MOST = 1_000


class Shape(Protocol):
    """The part of `botocore.model.Shape` that is used here."""

    name: str
    type_name: str

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The bounds, enum and pattern that the model has for this shape."""


class Reading(NamedTuple):
    """Options of a check."""

    open_enums: Collection[str] = ()
    """String shapes whose enum grows faster than botocore is updated: any value is accepted."""
    secret: tuple[str, ...] = ()
    """Paths below which faults show no value."""
    answers: Collection[str] = ()
    """Keys of the service's responses, which people copy into requests."""


_PLAINLY = Reading()


def shape_faults(value: object, shape: Shape, reading: Reading = _PLAINLY) -> list[str]:
    """Return the faults of `value`, at most 1,000. Each is a text that begins with the path of the key."""
    return list(islice(_Check(shape, reading).faults(value, shape, ""), _MOST))


class _Check:
    """One check of a value, from the root of its shape."""

    def __init__(self, root: Shape, reading: Reading) -> None:
        self._root, self._reading = root, reading
        self._checks: dict[str, Callable[[Any, Shape, str], Iterator[str]]] = {
            "structure": self._structure,
            "list": self._list,
            "map": self._map,
            "string": self._string,
            "integer": self._number,
            "long": self._number,
            "float": self._number,
            "double": self._number,
        }

    def faults(self, value: object, shape: Shape, path: str) -> Iterator[str]:
        types, expected = _TYPES.get(shape.type_name, (object, ""))
        is_wrong = not isinstance(value, types) or (isinstance(value, bool) and shape.type_name != "boolean")
        if is_wrong and shape.type_name in _TYPES:
            yield self._wrong_type(path, value, expected)
        elif shape.type_name in self._checks:
            yield from self._checks[shape.type_name](value, shape, path)

    def _structure(self, value: Mapping[str, Any], shape: Shape, path: str) -> Iterator[str]:
        members: Mapping[str, Shape] = cast(Any, shape).members
        misspelled = {_plain(key) for key in value if key not in members}
        for key in cast(Any, shape).required_members:
            if value.get(key) is None and _plain(key) not in misspelled:
                yield f"{_join(path, key)} is missing."
        for key, item in value.items():
            if key not in members:
                yield f"{_join(path, shown(key))} {self._instead_of(key, members)}"
            elif item is None:
                yield f"{_join(path, key)} is null. Leave the key out, or give it a value."
            else:
                yield from self.faults(item, members[key], _join(path, key))

    def _list(self, value: Sequence[Any], shape: Shape, path: str) -> Iterator[str]:
        yield from _size(len(value), shape, f"{path} has {len(value):,} entries")
        for index, item in enumerate(value):
            yield from self.faults(item, cast(Any, shape).member, f"{path}[{index}]")

    def _map(self, value: Mapping[str, Any], shape: Shape, path: str) -> Iterator[str]:
        yield from _size(len(value), shape, f"{path} has {len(value):,} entries")
        for key, item in value.items():
            yield from self.faults(key, cast(Any, shape).key, f"a key of {path}")
            yield from self.faults(item, cast(Any, shape).value, _join(path, shown(key)))

    def _string(self, value: str, shape: Shape, path: str) -> Iterator[str]:
        enum = shape.metadata.get("enum")
        if enum:
            if value not in enum and shape.name not in self._reading.open_enums:
                yield f"{path} is {self._shown(path, value)}. {_choice(value, enum)}"
            return
        yield from _size(len(value), shape, f"{path} has {len(value):,} characters")
        pattern = shape.metadata.get("pattern")
        too_long = len(value) > shape.metadata.get("max", len(value))
        if pattern and not too_long and not compiled_pattern(pattern).fullmatch(value):
            yield f"{path} is {self._shown(path, value)}, which does not match {pattern}."

    def _number(self, value: float, shape: Shape, path: str) -> Iterator[str]:
        yield from _size(value, shape, f"{path} is {self._shown(path, value)}")

    def _wrong_type(self, path: str, value: object, expected: str) -> str:
        hint = ""
        if expected == "a string" and isinstance(value, (int, float)):
            hint = "; put quotes around it" if self._is_secret(path) else f'; write "{shown(value)}"'
        return f"{path or 'The request'} must be {expected}, not {self._shown(path, value)}{hint}."

    def _shown(self, path: str, value: object) -> str:
        if isinstance(value, (Mapping, list)) or value is None or self._is_secret(path):
            return kind(value)
        return f'"{shown(value)}"' if isinstance(value, str) else shown(value)

    def _is_secret(self, path: str) -> bool:
        return any(path == each or path.startswith((f"{each}.", f"{each}[")) for each in self._reading.secret)

    def _instead_of(self, key: str, members: Mapping[str, Shape]) -> str:
        """Return what is wrong with a key that a structure does not have, and what to do."""
        plain = _plain(key)
        near = {_plain(name): name for name in members}
        unknown = "is not a key that SageMaker knows"
        if plain in near:
            return f"{unknown}. Write {near[plain]}."
        if key in self._reading.answers:
            return "is part of SageMaker's responses, not of a request. Leave it out."
        block = next((block for block, names in _blocks(cast(Any, self._root).members) if plain in names), None)
        if block is not None:
            return f"{unknown} there. It belongs {f'in {block}' if block else 'one level higher'}."
        close = difflib.get_close_matches(plain, near, n=1, cutoff=0.8)
        return f"{unknown}. Did you mean {near[close[0]]}?" if close else f"{unknown}. Leave it out."


_TYPES: dict[str, tuple[Any, str]] = {
    "structure": (Mapping, "an object"),
    "list": (list, "a list"),
    "map": (Mapping, "an object"),
    "string": (str, "a string"),
    "integer": (int, "a whole number"),
    "long": (int, "a whole number"),
    "float": (int | float, "a number"),
    "double": (int | float, "a number"),
    "boolean": (bool, "true or false"),
}


def _size(size: float, shape: Shape, what: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        yield f"{what}. It must be at least {low}."
    if high is not None and size > high:
        yield f"{what}. It must be at most {high}."


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _plain(key: str) -> str:
    return key.replace("_", "").lower()


def _blocks(members: Mapping[str, Shape]) -> Iterator[tuple[str, set[str]]]:
    """Yield each structure of the root with its keys; the root itself first, with an empty name."""
    yield "", {_plain(name) for name in members}
    for block, shape in members.items():
        if shape.type_name == "structure":
            yield block, {_plain(name) for name in cast(Any, shape).members}


def _choice(value: str, values: Sequence[str]) -> str:
    same = next((each for each in values if each.lower() == value.lower()), None)
    if same:
        return f'Write "{same}".'
    if len(values) <= _FEW:
        return f"It can be {', '.join(values[:-1])}{' or ' if len(values) > 1 else ''}{values[-1]}."
    close = difflib.get_close_matches(value, values, n=1, cutoff=0.8)
    return f'Did you mean "{close[0]}"?' if close else f"It is not one of the {len(values)} values SageMaker knows."


@cache
def compiled_pattern(pattern: str) -> re.Pattern[str]:
    r"""Compile a pattern of the service model with Python's `re`, which has no `\p{...}`.

    In the model, these classes are always inside brackets, and `\p{L}` and `\p{N}` are always next to `_`. There `\w`
    means the same: letters, numbers and the underscore.
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
