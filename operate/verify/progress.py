"""What is being done, said at once and every ten seconds, to a terminal or through a pipe."""

import threading
import time
from datetime import datetime
from typing import Self

_SECONDS = 10


class Progress:
    """Says what is being done until its block ends."""

    def __init__(self) -> None:
        """Begin with nothing to say."""
        self._doing, self._since, self._said = "", 0.0, 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def __enter__(self) -> Self:
        """Begin to repeat what is being done."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Be silent."""
        self._ended.set()
        self._thread.join()

    def doing(self, what: str) -> None:
        """Say what is being done now, unless that is known; nothing, where it is empty."""
        if what != self._doing:
            self._doing, self._since = what, time.monotonic()
            self.note(what)

    def note(self, text: str) -> None:
        """Say something once."""
        self._said = time.monotonic()
        if text:
            print(f"{datetime.now():%H:%M:%S}  {text}", flush=True)

    def _repeat(self) -> None:
        while not self._ended.wait(0.5):
            if self._doing and time.monotonic() - self._said >= _SECONDS:
                self.note(f"{self._doing} ... {time.monotonic() - self._since:.0f} s")
