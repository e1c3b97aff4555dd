"""The two bases of every model: `Model` for our own data, `Wire` for data that others send.

Their validation errors hide values, which may be secrets. `faults_of` shows the values that are not.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator


class Model(BaseModel):
    """Our own data: frozen. Unknown keys are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)


class Wire(BaseModel):
    """Data that others send: frozen. Unknown keys are ignored, and a key that is null is absent."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True, defer_build=True
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        return {key: value for key, value in raw.items() if value is not None}


_MAX_DEPTH = 100
_MAX_VALUES = 200_000
_MAX_BITS = 1024
_SECRET_BLOCKS = ("overrides", "Environment", "HyperParameters")
_LONGEST_SHOWN = 80
_LONGEST_PATH = 10


def json_fault(value: object, *, most: int = _MAX_VALUES) -> str | None:
    """Return why later steps cannot handle a JSON value, or None if they can.

    They cannot handle a type that JSON does not have, text that is not Unicode or has a NUL, an integer of more than
    1,024 bits, more than 100 levels, or more than `most` values. The text shows no value. Linear in the value's size.
    """
    pending: list[tuple[_Place, object, int]] = [(None, value, 0)]
    found = 0
    while pending:
        place, item, depth = pending.pop()
        found += 1
        if found + (len(item) if isinstance(item, (list, Mapping)) else 0) > most:
            return f"it has more than {most:,} values."
        if depth > _MAX_DEPTH:
            return f"{_path(place)} is nested more than {_MAX_DEPTH} levels deep."
        why = _why_not(item)
        if why:
            return f"{_path(place)} {why}."
        if isinstance(item, Mapping):
            wrong = next((key for key in item if not isinstance(key, str) or _why_not(key)), None)
            if wrong is not None:
                why = _why_not(wrong) if isinstance(wrong, str) else "is not text"
                return f"{_path((place, shown(wrong)))} is a key that {why}."
            pending.extend(((place, key), each, depth + 1) for key, each in item.items())
        elif isinstance(item, list):
            pending.extend(((place, str(index)), each, depth + 1) for index, each in enumerate(item))
    return None


_Place: TypeAlias = "tuple[_Place, str] | None"


def _why_not(value: object) -> str | None:
    if isinstance(value, str):
        if "\0" in value:
            return "has a NUL character"
        return None if value.isascii() or _is_unicode(value) else "is not valid Unicode"
    if isinstance(value, int):
        return f"has more than {_MAX_BITS} bits" if value.bit_length() > _MAX_BITS else None
    is_json = value is None or isinstance(value, (float, list, Mapping))
    return None if is_json else f"is of the type {type(value).__name__}, which JSON does not have"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _path(place: _Place) -> str:
    parts: list[str] = []
    while place:
        place, part = place
        parts.append(shown(part))
    parts.reverse()
    return ".".join([*parts[:_LONGEST_PATH], *(["..."] if len(parts) > _LONGEST_PATH else [])]) or "it"


def shown(value: object) -> str:
    """Return a key or a value as one line of at most 80 printable characters."""
    text = value if isinstance(value, str) else repr(value)
    if not text.isprintable():
        text = ascii(text)[1:-1]
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 4]}..."


def kind(value: object) -> str:
    """Return the JSON type of a value in words, such as `a string`."""
    names = ((bool, "true or false"), (str, "a string"), (int | float, "a number"), (Mapping, "an object"))
    named = next((name for types, name in names if isinstance(value, types)), "a list")
    return "null" if value is None else named


def faults_of(error: ValidationError, where: str = "") -> Iterator[str]:
    """Yield a sentence for each fault of a validation error: the key's path, what was found, what was expected.

    `where` is the path of the validated value. Values that may be secrets are not shown.
    """
    for detail in error.errors(include_url=False):
        parts = [*filter(None, [where]), *(shown(str(part)) for part in detail["loc"])]
        path = ".".join(parts)
        if detail["type"] == "missing":
            yield f"{path} is missing."
        elif detail["type"] == "extra_forbidden":
            yield f"{path} is not a known key."
        else:
            message = _EXPECTED.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
            is_secret = any(part in _SECRET_BLOCKS or "api_key" in part for part in parts)
            what = kind(detail["input"]) if is_secret else _described(detail["input"])
            yield f"{path} is {what}: {message[:1].lower()}{message[1:]}."


_EXPECTED = {
    "bool_type": "expected true or false",
    "dict_type": "expected an object",
    "int_type": "expected a whole number",
    "list_type": "expected a list",
    "model_type": "expected an object",
    "string_type": "expected a string",
}


def _described(value: object) -> str:
    if isinstance(value, (Mapping, list, tuple)) or value is None:
        return kind(value)
    return f'"{shown(value)}"' if isinstance(value, str) else shown(value)
