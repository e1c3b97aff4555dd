"""The two bases of every model: `Model` for what we make, `Wire` for what others send us.

Their errors hide the values, which may be secrets; `faults_of` shows those a person needs.
"""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, ValidationError


class Model(BaseModel):
    """A value of ours: frozen, and refusing what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Wire(BaseModel):
    """A value of theirs: frozen, and ignoring what it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True)


def faults_of(error: ValidationError, where: str = "") -> Iterator[str]:
    """Say each fault of a validation error in words: the path of the key, what was expected, what was found."""
    for detail in error.errors(include_url=False):
        path = ".".join(filter(None, [where, *(str(part) for part in detail["loc"])]))
        if detail["type"] == "missing":
            yield f"{path} is missing."
        elif detail["type"] == "extra_forbidden":
            yield f"{path} is not a known key."
        else:
            message = "an object is wanted" if detail["type"] == "model_type" else detail["msg"]
            message = message.removeprefix("Value error, ")
            yield f"{path} is {_described(path, detail['input'])}: {message[:1].lower()}{message[1:]}."


def _described(path: str, value: object) -> str:
    if "api_key" in path:
        return "not shown"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = f'"{value}"' if isinstance(value, str) else "null" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:76]}..."
