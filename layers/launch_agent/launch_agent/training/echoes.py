"""Removes what SageMaker and botocore repeat of a request in their messages. Both functions take linear time."""

import re

_VALUE = re.compile(r"Value '", re.IGNORECASE)
_END = r"' at '"
_END_OF_MANY = re.compile(rf"[\]}}]{_END}", re.IGNORECASE)
_END_OF_SECRET = re.compile(rf"{_END}(?=(?:environment|hyperParameters)\b)", re.IGNORECASE)
_SHOWN = ", value: "
_SHOWN_ENDS = (", type: ", ", valid ")


def without_echoes(message: str) -> str:
    """Return a message of SageMaker without the maps and lists in it, and without values that can be secret.

    Values are not escaped, so they can have quotes and the words around them: each reaches to the last end there is.
    """
    ends_of_many = [*_END_OF_MANY.finditer(message)][-1:]
    ends_of_secret = [*_END_OF_SECRET.finditer(message)][-1:]
    kept, at = [], 0
    for value in _VALUE.finditer(message):
        is_many = message.startswith(("[", "{"), value.end())
        many = [end for end in ends_of_many if is_many and end.start() > value.end()]
        end = next(iter([*many, *(end for end in ends_of_secret if end.start() >= value.end())]), None)
        if end and value.start() >= at:
            kept.append(f"{message[at : value.start()]}The value at '")
            at = end.end()
    return "".join([*kept, message[at:]])


def without_shown_values(message: str) -> str:
    """Return botocore's message about a request that is not valid, without the values in it."""
    start, end = message.find(_SHOWN), max(map(message.rfind, _SHOWN_ENDS))
    return message if start < 0 or end < start + len(_SHOWN) else f"{message[:start]}{message[end:]}"
