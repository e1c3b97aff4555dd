"""Searches all data of the application for a secret."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def places(folder: Path, secret: str) -> set[str]:
    """Return where a dump contains a secret: the file and the path of keys, without indexes of lists."""
    found: set[str] = set()
    for path in folder.glob("*.json"):
        found.update(f"{path.stem}{where}" for where in _places(json.loads(path.read_text()), secret, ""))
    return found


def _places(value: Any, secret: str, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, secret, f"{path}.{key}")
            yield from _places(key, secret, f"{path} (a key)")
    elif isinstance(value, list):
        for item in value:
            yield from _places(item, secret, path)
    elif secret in str(value):
        yield path
