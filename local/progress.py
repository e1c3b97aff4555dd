"""Shows a step of a command while it lasts."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

_SAID_EVERY = 4.0


@contextmanager
def timed(what: str, console: Console) -> Iterator[None]:
    """Show a step and its seconds: in a terminal as one line that changes, else as a line every few seconds."""
    started = time.monotonic()

    def so_far() -> Text:
        return Text(f"{what} ... {time.monotonic() - started:.0f} s", no_wrap=True, overflow="ellipsis")

    showing = _changing(so_far, console) if console.is_terminal else _repeated(so_far, console)
    with showing:
        yield
    console.print(Text(f"{what}: {time.monotonic() - started:.1f} s"), soft_wrap=True)


def _changing(line: Callable[[], Text], console: Console) -> Live:
    return Live(get_renderable=line, console=console, transient=True)


@contextmanager
def _repeated(line: Callable[[], Text], console: Console) -> Iterator[None]:
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(_SAID_EVERY):
            console.print(line(), soft_wrap=True)

    console.print(line(), soft_wrap=True)
    repeating = threading.Thread(target=repeat, daemon=True)
    repeating.start()
    try:
        yield
    finally:
        ended.set()
        repeating.join()
