"""A person at a terminal: types answers when a program asks for them, and sees its output."""

import codecs
import os
import pty
import re
import select
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A program in its own pseudo-terminal."""

    def __init__(self, command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        self.shown = ""
        self._looked_at = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(cwd)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell lets what it runs in the background ignore Ctrl-C
            os.execvpe(command[0], list(command), dict(env))  # noqa: S606 - the forked child becomes the program

    def answer(self, question: str, answer: str, *, within: float = 60) -> None:
        """Wait until the program prints a question, then type an answer and press Enter."""
        deadline = time.monotonic() + within
        while question not in self.shown[self._looked_at :]:
            if not self._read(deadline):
                raise AssertionError(f"it never asked {question!r}:\n{self.shown}")
        self._looked_at = self.shown.index(question, self._looked_at) + len(question)
        os.write(self._terminal, answer.encode() + b"\n")

    def ended(self, *, within: float) -> int:
        """Wait until the program ends; return its exit code."""
        deadline = time.monotonic() + within
        while self._read(deadline):
            pass
        _, status = os.waitpid(self._pid, 0)
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(status)

    def _read(self, deadline: float) -> bool:
        """Read the program's output; return False if it has ended. Fails at the deadline."""
        if not select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise AssertionError(f"it took too long:\n{self.shown}")
        try:
            content = os.read(self._terminal, 65536)
        except OSError:  # on Linux, this means that the other side is closed
            return False
        self.shown += _CONTROL.sub("", self._decoder.decode(content)).replace("\r\n", "\n")
        return bool(content)
