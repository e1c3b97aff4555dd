"""The lines of a log: without what only a terminal understands, and the one that says why a program failed."""

import re
from collections.abc import Iterable, Sequence

from launch_agent.remedies import remedy

_TRACEBACK = "Traceback (most recent call last):"
_NOT_FOUND = (
    re.compile(r"(?:/\S*/)?(?:ba|da|z)?sh: (?:line )?(?:\d+: )?(?P<name>\S+): (?:command )?not found"),
    re.compile(r'.*exec: "(?P<name>[^"]+)": (?:stat .*|executable file not found.*)'),
)
_SAYS_IT = re.compile(r"\S*python[\d.]*: (?:can't open file|No module named) .*|\S+: error: .+")
"""Python itself, and argparse."""
_LONGEST = 300
_CODES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\].*?(?:\x07|\x1b\\|$)|\x1b.?|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Colours, movements and titles (https://www.ecma-international.org/publications-and-standards/standards/ecma-48/),
and the control characters but for tab, line feed and carriage return."""


def plain(line: str) -> str:
    """Return a line as a terminal shows it at the end: without control codes, and without what was written over."""
    shown = [_CODES.sub("", part).rstrip("\r") for part in line.split("\n")]
    return "\n".join(part.rpartition("\r")[2] for part in shown)


def headline(reason: str, log_tails: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Return the reason of a failure behind the line that matters, if the log of any host has one, and what to do."""
    found = next(filter(None, (_line(lines) for _, lines in log_tails)), "")
    todo = remedy(found)
    return " ".join(filter(None, [f"{found.rstrip('.')}.", todo, reason])) if found else reason


def _line(lines: Sequence[str]) -> str:
    """Return the exception of the last traceback; without one, the last line that says what is wrong."""
    said = _last_exception(lines) or next(filter(None, map(_saying, reversed(lines))), "")
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."


def _last_exception(lines: Sequence[str]) -> str:
    """Return the line that ends a traceback: the first without an indent. Launchers put the rank before each line."""
    starts = [number for number, line in enumerate(lines) if _TRACEBACK in line]
    if not starts:
        return ""
    prefix = lines[starts[-1]].partition(_TRACEBACK)[0]
    ended = (line.removeprefix(prefix) for line in lines[starts[-1] + 1 :])
    return next((line.strip() for line in ended if line.strip() and not line.startswith((" ", "\t"))), "")


def _saying(line: str) -> str:
    for pattern in _NOT_FOUND:
        if found := pattern.fullmatch(line.strip()):
            return f"{found['name']}: not found"
    return line.strip() if _SAYS_IT.fullmatch(line.strip()) else ""
