"""Lets SIGINT and SIGTERM end a command, once, and not between two steps that belong together."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_held = _came = False


def end_on_signals() -> None:
    """Raise KeyboardInterrupt at the first signal, and ignore later ones, so that the cleanup is not interrupted."""
    for number in _SIGNALS:
        signal.signal(number, _take)  # a shell that starts us with & ignores SIGINT by default


@contextmanager
def held_back() -> Iterator[None]:
    """Delay a signal until the block ends, so that the caller knows what the block created and can remove it."""
    global _held
    _held = True
    try:
        yield
    finally:
        _held = False
        if _came:
            raise KeyboardInterrupt


def _take(_: int, __: FrameType | None) -> None:
    global _came
    _came = True
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if not _held:
        raise KeyboardInterrupt
