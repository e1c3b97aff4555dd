"""Prints the current step at once, and again every ten seconds."""

import threading
import time
from datetime import datetime
from typing import Self

_SECONDS = 10


class Progress:
    """A context manager that prints the current step until its block ends."""

    def __init__(self) -> None:
        self._doing, self._since, self._said = "", 0.0, 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def __enter__(self) -> Self:
        """Start to repeat the current step."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop printing."""
        self._ended.set()
        self._thread.join()

    def doing(self, what: str) -> None:
        """Set the current step, and print it if it has changed. Empty for no step."""
        if what != self._doing:
            self._doing, self._since = what, time.monotonic()
            self.note(what)

    def note(self, text: str) -> None:
        """Print a text once."""
        self._said = time.monotonic()
        if text:
            print(f"{datetime.now():%H:%M:%S}  {text}", flush=True)

    def _repeat(self) -> None:
        while not self._ended.wait(0.5):
            if self._doing and time.monotonic() - self._said >= _SECONDS:
                self.note(f"{self._doing} ... {time.monotonic() - self._since:.0f} s")
