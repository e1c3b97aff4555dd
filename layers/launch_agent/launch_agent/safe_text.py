"""Removes secrets from every text that leaves this application: logs, exceptions, and texts for W&B and executions.

Code that reads a secret calls `keep_secret`. `safe` then removes the secret from a text, however it is escaped or cut:
the messages of AWS and botocore repeat whole requests, and cut them anywhere.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote, quote_plus

MAX_TEXT = 4_000
_HIDDEN = "***"
_SHORTEST = 4
"""In characters. A shorter value would be found in ordinary words."""
_SHORTEST_PIECE = 8
_CUT = ("...", "…", "\n", "\\", '"', "'", "}", "{")
"""What follows a text whose end was cut off, or precedes one whose beginning was cut off."""
_SIGNED_IN = re.compile(r"(?<=//)[^\s/]*@")
_SIGNATURE = re.compile(
    r"(?P<name>[?&](?:X-Amz-(?:Credential|Security-Token|Signature)|\w{0,20}(?:token|password|sig))=)[^\s&\"']+",
    re.IGNORECASE,
)
_NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")

_known: ContextVar[tuple[str, ...]] = ContextVar("known", default=())
"""All values that this invocation hides, the longest first."""


def keep_secret(*values: str) -> None:
    """Hide these values in all texts until `forget_secrets` is called."""
    forms = {form for value in values for part in _parts(value) for form in _forms(part)}
    _known.set(tuple(sorted({*_known.get(), *forms}, key=len, reverse=True)))


def forget_secrets() -> None:
    """Forget the secrets of the invocation before this one."""
    _known.set(())


def safe(text: str, *, limit: int = MAX_TEXT) -> str:
    """Return a text without secrets and control characters, cut to `limit` characters."""
    text = _SIGNATURE.sub(rf"\g<name>{_HIDDEN}", _SIGNED_IN.sub("", _without(_known.get(), text)))
    text = _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", text)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def safe_json(value: Any, *, limit: int = MAX_TEXT) -> Any:
    """Return a JSON value with every text in it made safe."""
    if isinstance(value, str):
        return safe(value, limit=limit)
    if isinstance(value, Mapping):
        return {key: safe_json(each, limit=limit) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [safe_json(each, limit=limit) for each in value]
    return value


def _parts(value: str) -> Iterator[str]:
    """Yield a value, and each of its lines if it has several: a log shows them one by one."""
    lines = value.splitlines()
    yield from (part for part in (value, *(lines if len(lines) > 1 else ())) if len(part.strip()) >= _SHORTEST)


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret as it is, and as it is written in JSON, in JSON within JSON, in Python and in a URL."""
    yield secret
    yield repr(secret)[1:-1]
    for ensure_ascii in (True, False):
        once = json.dumps(secret, ensure_ascii=ensure_ascii)[1:-1]
        yield once
        yield json.dumps(once, ensure_ascii=ensure_ascii)[1:-1]
    for keep, write in (("/", quote), ("", quote), ("", quote_plus)):
        written = write(secret, keep, errors="replace")
        yield written
        yield re.sub("%..", lambda byte: byte[0].lower(), written)


def _without(forms: Iterable[str], text: str) -> str:
    for form in forms:
        text = text.replace(form, _HIDDEN)
    for form in forms:
        if form[:_SHORTEST_PIECE] in text:
            text = _without_beginning(form, text)
        if form[-_SHORTEST_PIECE:] in text:
            text = _without_beginning(form[::-1], text[::-1])[::-1]
    return text


def _without_beginning(form: str, text: str) -> str:
    """Hide the beginning of a secret where the text was cut within it."""
    kept, at = [], 0
    for length, end in _beginnings(form, text):
        if length >= _SHORTEST_PIECE and (end == len(text) or text.startswith(_CUT, end)):
            start = end - length
            kept += [text[at:start], _HIDDEN] if start >= at else []
            at = end
    return "".join([*kept, text[at:]])


def _beginnings(form: str, text: str) -> Iterator[tuple[int, int]]:
    """Yield, at each position in a text, how many characters before it are the beginning of `form`, and the position.

    This is the search of Knuth, Morris and Pratt: it takes linear time whatever the text repeats.
    """
    shorter = [0]
    length = 0
    for char in form[1:]:
        length = _longer(form, shorter, length, char)
        shorter.append(length)
    length = 0
    for end, char in enumerate(text, 1):
        length = _longer(form, shorter, length, char)
        yield length, end


def _longer(form: str, shorter: Sequence[int], length: int, char: str) -> int:
    """Return how long the beginning of `form` is that ends with `char`, after one of this length."""
    while length and (length == len(form) or form[length] != char):
        length = shorter[length - 1]
    return length + (form[length] == char)
