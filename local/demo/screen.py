"""What the demo shows: progress while the runs work, then a line and the details of each run."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from operate.watch import COLORS, elapsed

_SILENT_SECONDS = 4.0
"""Without a terminal, something is printed at least this often."""


class Line(NamedTuple):
    """A run: its name, where it is or how it ended, its seconds, and why it ended so."""

    name: str
    phase: str
    seconds: float
    reason: str = ""
    as_expected: bool = True


class Details(NamedTuple):
    """What is known of an ended run: its reason, and where to look."""

    name: str
    reason: str
    places: dict[str, str]


def follow(console: Console, look: Callable[[], Sequence[Line]], ended: Callable[[], bool]) -> None:
    """Show runs until they have ended: a table in a terminal, else a line for each change."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while not ended():
                live.update(table(look()), refresh=True)
                time.sleep(0.5)
        return
    seen: dict[str, str] = {}
    said = time.monotonic()
    while not ended():
        lines = look()
        changed = [line for line in lines if seen.get(line.name) != line.phase]
        if not changed and time.monotonic() - said > _SILENT_SECONDS:
            changed = [line for line in lines if line.phase and line.phase not in COLORS][:1]
        for line in changed:
            seen[line.name], said = line.phase, time.monotonic()
            _plain(
                console,
                f"{datetime.now(UTC).astimezone():%H:%M:%S}  {line.name}: {line.phase}, {elapsed(line.seconds)}",
            )
        time.sleep(0.5)


def _plain(console: Console, text: str) -> None:
    """Print a text as it is, in one line."""
    console.print(Text(text), soft_wrap=True)


def table(lines: Sequence[Line]) -> Table:
    """Return a line for each run. Only the reason is cut to fit; it is whole in the details."""
    shown = Table.grid(padding=(0, 2, 0, 0), expand=True)
    shown.add_column(no_wrap=True)
    shown.add_column(no_wrap=True)
    shown.add_column(no_wrap=True, justify="right")
    shown.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for line in lines:
        why = Text(line.reason.strip().partition("\n")[0])
        if not line.as_expected:
            why = Text.assemble(("not as expected  ", "red"), why)
        shown.add_row(line.name, Text(line.phase, style=COLORS.get(line.phase, "")), elapsed(line.seconds), why)
    return shown


def show_details(console: Console, runs: Sequence[Details]) -> None:
    """Print the details of each run. Reasons are wrapped; addresses are whole, so that they can be copied."""
    for run in runs:
        console.print(Text(f"\n{run.name}", style="bold"))
        if run.reason:
            console.print(Padding(Text(run.reason.strip()), (0, 0, 0, 2)))
        for what, where in run.places.items():
            _plain(console, f"  {what:14}{where}")
