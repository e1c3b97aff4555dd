"""Converts the commands and paths of a job, which may be made on Windows, for Linux.

wandb writes the name of its own Python and the program's path into a job: `["python.exe", "tools\\\\train.py"]` on
Windows, and `["pythonCPython 3.11", ...]` in version 0.31.0 (`wandb/sdk/internal/job_builder.py`).
"""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

_SCRIPT = re.compile(r"\.(py|ipynb|sh)\Z", re.IGNORECASE)
_WITH_VERSION = re.compile(r"python[A-Za-z]{1,20} (\d{1,2}\.\d{1,3})")
_OF_WINDOWS = {"py": "python", "pythonw": "python"}


def _command(value: object) -> object:
    """Convert a command. A value that is not a list of strings is returned as it is; validation refuses it.

    A sweep's command may have numbers, such as `[python, train.py, --seed, 1]`: they become strings.
    """
    if isinstance(value, list):
        value = [str(part) if isinstance(part, int | float) else part for part in value]
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        return value
    parts = [_program(value[0]), *value[1:]] if value else []
    for index, part in enumerate(parts[1:], 1):
        if _SCRIPT.search(part) and parts[index - 1] != "-c":  # -c is followed by a line for a shell or for Python
            parts[index] = _path(part)
    return parts


def _program(text: str) -> str:
    versioned = _WITH_VERSION.match(text)
    if versioned:
        return f"python{versioned[1]}"
    if not text.lower().endswith(".exe"):
        return text
    name = text.lower().replace("\\", "/").rpartition("/")[2].removesuffix(".exe")
    return _OF_WINDOWS.get(name, name)


def _path(value: Any) -> Any:
    return value.replace("\\", "/") if isinstance(value, str) else value


Command = Annotated[list[str], BeforeValidator(_command)]
CodePath = Annotated[str, BeforeValidator(_path)]
