"""Values for parsers: any values, almost valid documents, and almost valid JSON."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Parsers = dict[str, tuple[SearchStrategy[Any], Callable[[Any], object]]]
"""By name, a strategy and a parser of its values; a parser may raise a LaunchError and nothing else."""

ODD_TEXTS = ["", "\0", "\ud800", "a" * 600, "-" * 70, "../..", "\\", '"', "\n", "1e999", "\x1b[0m"]
ODD_TEXTS += ["${run_id}", "${author}", "{{x}}", "ml.g5.xlarge", "s3://b/o"]
TEXT = st.text(max_size=40) | st.sampled_from(ODD_TEXTS)
NUMBER = st.integers() | st.floats() | st.sampled_from([0, -1, 2**63, 10**400])
SCALAR = st.none() | st.booleans() | NUMBER | TEXT
ANY = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))
DEEP = st.integers(50, 3_000).map(lambda depth: _nested(depth))

_RAW = [
    b"1" * 5_000,
    b"[" * 3_000,
    b"[" * 3_000 + b"]" * 3_000,
    b"NaN",
    b"1e999",
    b'"\xff"',
    b'"\\ud800"',
    b'"',
    b"\\",
    b"}",
]


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def changed(documents: list[Any], value: SearchStrategy[Any] | None = None) -> SearchStrategy[Any]:
    """Draw one of these documents with up to three values replaced: by anything, or from `value`."""
    change = st.tuples(st.lists(st.integers(0, 9), min_size=1, max_size=5), ANY | DEEP if value is None else value)
    return st.tuples(st.sampled_from(documents), st.lists(change, max_size=3)).map(lambda drawn: _changed(*drawn))


def almost_json(documents: list[Any]) -> SearchStrategy[bytes]:
    """Draw bytes: documents as JSON, some of them damaged, and random bytes."""
    whole, other = st.sampled_from(documents).map(_written), changed(documents).map(_written)
    cut = st.tuples(st.integers(0, 5_000), st.integers(0, 60), st.binary(max_size=6) | st.sampled_from(_RAW))
    damaged = st.tuples(whole | other, st.lists(cut, min_size=1, max_size=3)).map(lambda drawn: _damaged(*drawn))
    return st.one_of(whole, other, other, other, damaged, damaged, st.binary(max_size=200))


def pumped(pieces: list[str], *, at_most: int = 1_000_000) -> SearchStrategy[str]:
    """Draw texts of up to a megabyte that repeat a few pieces, to find parsers that take more than linear time."""
    few = st.lists(st.sampled_from(pieces) | st.text(max_size=3), max_size=4).map("".join)
    return st.tuples(few, few, few, st.sampled_from([0, 1, 100, 10_000, at_most])).map(
        lambda drawn: (drawn[0] + drawn[1] * (drawn[3] // max(len(drawn[1]), 1)) + drawn[2])[:at_most]
    )


def _changed(document: Any, changes: list[tuple[list[int], Any]]) -> Any:
    document = json.loads(json.dumps(document))
    for path, value in changes:
        place = document
        for step in path[:-1]:
            inner = place[_key(place, step)]
            if not isinstance(inner, (dict, list)) or not inner:
                break
            place = inner
        place[_key(place, path[-1])] = value
    return document


def _key(place: Any, step: int) -> Any:
    return list(place)[step % len(place)] if isinstance(place, dict) else step % len(place)


def _written(document: Any) -> bytes:
    try:
        return json.dumps(document).encode()
    except (RecursionError, ValueError):
        return b"[" * 2_000 + b"1" + b"]" * 2_000


def _damaged(content: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    """Replace pieces of the content with other bytes."""
    for at, length, instead in cuts:
        start = at % (len(content) + 1)
        content = content[:start] + instead + content[start + length :]
    return content
