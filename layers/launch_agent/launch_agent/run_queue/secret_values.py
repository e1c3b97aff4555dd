"""The secret values of a run spec. The spec may be any JSON value: it is not parsed yet."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_TELLING = re.compile("key|token|secret|passw|pwd|pin|cred|auth|dsn|private", re.IGNORECASE)
"""A variable with one of these words in its name has a secret value, however short or plain the value is."""
_PLAIN = re.compile(r"[A-Za-z]{0,11}|[a-z]{2}(-[a-z]+)+-\d|.{0,5}", re.DOTALL)
"""A word, a region, or a value so short that it would be found in other text."""
_MACRO = re.compile(r"\$\{(?:\w*|secret:[^{}]*)\}")
_OPTION = re.compile(r"--?(?P<name>[\w.-]+)(=(?P<value>.*))?", re.DOTALL)


def secret_values(run_spec: object) -> Iterator[str]:
    """Yield the run spec's API key, the values of its environment, and other values whose names mark them as secret."""
    spec = _mapping(run_spec)
    yield from (text for _, text in _texts(spec.get("_wandb_api_key")))
    for key, value in _mapping(_mapping(spec.get("resource_args")).get("sagemaker")).items():
        block = str(key).replace("_", "").lower()
        if block == "environment":
            for name, text in _texts(value):
                pieces = _MACRO.split(text)
                yield from (piece for piece in pieces if _TELLING.search(name) or not _PLAIN.fullmatch(piece))
        elif block == "hyperparameters":
            yield from _secret_by_name(value)
    overrides = _mapping(spec.get("overrides"))
    yield from _secret_by_name(overrides.get("run_config"))
    for command in ("entry_point", "args"):
        yield from _secret_options(text for _, text in _texts(overrides.get(command)))


def _mapping(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: object) -> Iterator[tuple[str, str]]:
    """Yield every string and number in a JSON value, in order and at any depth, each after its key.

    The key is the first one on its path that marks a secret, else the nearest one.
    """
    pending: list[tuple[str, object]] = [("", value)]
    while pending:
        name, value = pending.pop()
        if isinstance(value, Mapping):
            above = name if _TELLING.search(name) else ""
            pending.extend((above or str(key), each) for key, each in reversed(list(value.items())))
        elif isinstance(value, list):
            pending.extend((name, each) for each in reversed(value))
        elif isinstance(value, (str, float)) or type(value) is int:
            yield name, str(value)


def _secret_by_name(value: object) -> Iterator[str]:
    return (text for name, text in _texts(value) if _TELLING.search(name))


def _secret_options(words: Iterable[str]) -> Iterator[str]:
    """Yield the values of a command's options whose names mark them as secret: `--token=x` or `--token x`."""
    is_secret = False
    for word in words:
        option = _OPTION.fullmatch(word)
        if is_secret and not option:
            yield word
        is_secret = bool(option and _TELLING.search(option["name"]))
        if option and is_secret and option["value"]:
            yield option["value"]
