"""What a command shows in a terminal, as text with colours in HTML."""

import fcntl
import html
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby

import pyte

from local.stack import ROOT

COLUMNS, LINES = 118, 200
"""The lines are more than a command prints, so that none scrolls away."""
_COLORS = {"black": "#57606a", "red": "#d1242f", "green": "#1a7f37", "brown": "#9a6700", "blue": "#0969da"}
"""pyte calls yellow brown."""
_PAGE = (
    '<body style="margin:0;display:inline-block;background:#fff">'
    "<pre style=\"margin:16px 20px;font:13px/1.4 ui-monospace,'DejaVu Sans Mono',monospace;color:#1f2328\">{}</pre>"
)


@contextmanager
def shown_by(
    command: Sequence[str],
    environment: Mapping[str, str],
    until: Callable[[str], bool],
    *,
    within: float,
    begins: str = "",
) -> Iterator[str]:
    """Run a command in a terminal until what it shows is as told; yield that as HTML. Then interrupt the command.

    The HTML begins at the last line that begins with `begins`. Raises SystemExit if the command does not show what the
    picture is of within so many seconds.
    """
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        os.execvpe(command[0], list(command), {**environment, "TERM": "xterm-256color"})  # noqa: S606 - the forked child becomes the program
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    try:
        deadline = time.monotonic() + within
        while not until("\n".join(screen.display)):
            if time.monotonic() > deadline or not _feed(stream, terminal):
                raise SystemExit("\n".join(["It did not show what the picture is of:", *screen.display]).rstrip())
        yield _PAGE.format("\n".join(_lines(screen, begins)))
    finally:
        os.kill(process, signal.SIGINT)
        while _feed(stream, terminal):
            pass
        os.waitpid(process, 0)
        os.close(terminal)


def _feed(stream: pyte.ByteStream, terminal: int) -> bool:
    """Read what the command prints within a second; return False if it has ended."""
    if select.select([terminal], [], [], 1)[0]:
        try:
            content = os.read(terminal, 65536)
        except OSError:  # on Linux, this means that the other side is closed
            return False
        stream.feed(content)
        return bool(content)
    return True


def _lines(screen: pyte.Screen, begins: str) -> list[str]:
    first = max(n for n, line in enumerate(screen.display) if line.startswith(begins) and line.strip()) if begins else 0
    last = max((n for n, line in enumerate(screen.display) if line.strip()), default=-1)
    return [_line([screen.buffer[row][column] for column in range(COLUMNS)]) for row in range(first, last + 1)]


def _line(chars: Sequence[pyte.screens.Char]) -> str:
    spans = []
    for (color, bold), group in groupby(chars, key=lambda char: (char.fg, char.bold)):
        text = html.escape("".join(char.data for char in group))
        style = f"color:{_COLORS.get(color, 'inherit')};font-weight:{600 if bold else 400}"
        spans.append(text if color == "default" and not bold else f'<span style="{style}">{text}</span>')
    return "".join(spans).rstrip()
