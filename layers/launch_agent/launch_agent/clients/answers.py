"""Parses W&B's answers from bytes. People who queue runs control parts of an answer, so a part must not break others.

If an answer cannot be parsed as a whole, each of its parts is parsed separately.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

MAX_BYTES = 10_000_000
"""The most that is read of an answer. Parsed, it takes up to 35 times as much memory."""

MAX_PART_BYTES, MAX_PART_VALUES = 1_000_000, 30_000
"""The size limit of a part. An answer has room for ten parts of this length."""

_MAX_PART_TOKENS = 5 * MAX_PART_VALUES  # a value has a key, a colon, a comma, and two brackets or a string
_MAX_DEPTH = 100
_MAX_DIGITS = 300
_ESCAPED_SURROGATES = re.compile(
    r"(?<!\\)(?P<before>(?:\\\\)*+)\\u"
    r"(?:(?P<pair>[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""A pair of surrogates, or half of one, and the escaped backslashes in front of it."""
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\]:,]', re.DOTALL)
_MESSAGES, _MESSAGE_LENGTH = 10, 500


class Unreadable(Exception):
    """This is not JSON, or not JSON that later steps can handle. The message says why."""


class Unread(NamedTuple):
    """A part of an answer that cannot be parsed, and why."""

    raw: bytes
    why: str


class Answer(NamedTuple):
    """The data of an answer, and the messages of its errors."""

    data: Mapping[str, Any]
    errors: tuple[str, ...] = ()
    unread: Mapping[str, Unread] = {}
    """The parts of the data that cannot be parsed, by their names in the document."""
    is_cut: bool = False
    """Whether the answer was cut off, so that parts may be missing."""


class _Member(NamedTuple):
    """A member of a JSON object: the keys on its path, and its raw value."""

    path: tuple[str, ...]
    raw: bytes
    is_whole: bool = True
    fault: str = ""
    """Why its end was not found, if the value itself is the cause."""


def read_json(content: bytes) -> Any:
    """Parse JSON into values that every later step can handle. Raises Unreadable.

    As in Go, bytes that are not UTF-8 and half surrogate pairs become U+FFFD. A number that is too large for a float
    becomes a string.
    """
    try:
        # Before parsing: a second copy of the values could be more than the memory of the function.
        value = _loads(_ESCAPED_SURROGATES.sub(_whole_pair, content.decode(errors="replace")))
    except ValueError:
        raise Unreadable(_NO_JSON) from None
    except RecursionError:
        raise Unreadable(_TOO_DEEP) from None
    return value


def read_answer(content: bytes) -> Answer | None:
    """Parse the body of a GraphQL answer, at most MAX_BYTES + 1 bytes. None if it is not such an answer."""
    try:
        whole = read_json(content)
    except Unreadable:
        return _read_in_parts(content)
    if not isinstance(whole, Mapping):
        return None
    data = whole.get("data")
    return Answer(data if isinstance(data, Mapping) else {}, _messages(whole.get("errors")))


def text_in(part: bytes, key: str) -> str | None:
    """Return the string under a key of a JSON object, even if the rest of the object cannot be parsed; else None."""
    raw = next((member.raw for member in _members(part, depth=1) if member.path == (key,)), b"null")
    try:
        value = read_json(raw)
    except Unreadable:
        return None
    return value if isinstance(value, str) else None


def is_too_large(value: Any) -> bool:
    """Whether a part of an answer has more than MAX_PART_VALUES values."""
    return sum(len(level) for level in _levels(value)) > MAX_PART_VALUES


def _read_in_parts(content: bytes) -> Answer | None:
    members = list(_members(content, depth=2))
    parts = {member.path[1]: member for member in members if member.path[0] == "data" and len(member.path) == 2}
    data: dict[str, Any] = {}
    unread: dict[str, Unread] = {}
    for name, part in parts.items():
        try:
            if part.is_whole:
                data[name] = read_json(part.raw)
            elif part.fault:
                unread[name] = Unread(part.raw, part.fault)
        except Unreadable as error:
            unread[name] = Unread(part.raw, str(error))
    is_cut = not all(part.is_whole for part in parts.values())
    return Answer(data, _errors_among(members), unread, is_cut) if parts else None


def _errors_among(members: list[_Member]) -> tuple[str, ...]:
    try:
        return _messages(next((read_json(member.raw) for member in members if member.path == ("errors",)), None))
    except Unreadable:
        return ()


def _whole_pair(found: re.Match[str]) -> str:
    return found[0] if found["pair"] else f"{found['before']}\\ufffd"


def _loads(text: str) -> Any:
    value = json.loads(text, parse_int=_integer, parse_float=_decimal, parse_constant=str)
    if sum(1 for _ in _levels(value)) > _MAX_DEPTH:
        raise Unreadable(_TOO_DEEP)
    return value


_TOO_DEEP = f"it is nested more than {_MAX_DEPTH} levels deep"
_NO_JSON = "it is not JSON"


def _levels(value: Any) -> Iterator[list[Any]]:
    """Yield the values of each level of nesting, down to one level more than allowed."""
    level = [value]
    for _ in range(_MAX_DEPTH + 1):
        yield level
        level = [child for each in level for child in _children(each)]
        if not level:
            return


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _integer(text: str) -> int | str:
    return int(text) if len(text) <= _MAX_DIGITS else text


def _decimal(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _members(text: bytes, *, depth: int) -> Iterator[_Member]:
    """Yield the members of a JSON object, down to a depth, each when it ends, without parsing their values.

    A text that is not JSON gives members that cannot be parsed. The last member is cut off where the text ends, at a
    string that does not end, and where it exceeds the limit of a part.
    """
    keys, starts = [""] * (depth + 1), [-1] * (depth + 1)
    level, last, tokens = 0, b"", 0
    for token in _TOKEN.finditer(text):
        sign, tokens = token[0], tokens + 1
        if sign == b'"' or tokens > _MAX_PART_TOKENS:
            break
        if level <= depth and starts[level] >= 0 and sign in b",}":
            yield _Member(tuple(keys[1 : level + 1]), text[starts[level] : token.start()])
            starts[level] = -1
        elif 0 < level <= depth and sign == b":":
            keys[level], starts[level], tokens = last[1:-1].decode(errors="replace"), token.end(), 0
        level, last = level + (sign in b"{[") - (sign in b"}]"), sign
        if level < 1:
            return
    for level in reversed(range(1, depth + 1)):
        if starts[level] >= 0:
            raw = text[starts[level] :]
            yield _Member(tuple(keys[1 : level + 1]), raw, is_whole=False, fault=_fault_of(raw, tokens))


def _fault_of(rest: bytes, tokens: int) -> str:
    """Return what is wrong with a value whose end is missing; empty if the text may just be cut off."""
    if len(rest) > MAX_PART_BYTES or tokens > _MAX_PART_TOKENS:
        return f"it has more than {MAX_PART_BYTES} bytes or {MAX_PART_VALUES} values"
    return _NO_JSON if rest.rstrip().endswith(b"}}") else ""


def _messages(errors: Any) -> tuple[str, ...]:
    listed = errors if isinstance(errors, list) else [errors] if errors else []
    messages = (error.get("message", error) if isinstance(error, Mapping) else error for error in listed[:_MESSAGES])
    return tuple(str(message)[:_MESSAGE_LENGTH] for message in messages)
