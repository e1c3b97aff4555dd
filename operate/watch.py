"""`make watch`: shows the runs of a stack while they work: a table in a terminal, else a line for each change."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from operate.account import Account
from operate.runs import Runs, WatchedRun
from operate.verify.stack import Stack
from operate.waiting import waiting_items

COLORS = {"finished": "green", "failed": "red", "not launched": "red", "stopped": "yellow"}
_MOST = 20
_PAUSE = 2.0


def watch(name: str, region: str | None) -> None:
    """Show the newest runs of a stack, and the items that wait for them, until the operator presses Ctrl-C.

    Can raise botocore's errors.
    """
    stack = Stack.deployed(name, Account(region))
    runs, waiting = Runs(stack.account.client, stack.outputs["StateMachineArn"]), waiting_items(stack)
    console = Console(highlight=False)
    if waiting is None:
        console.print("Waiting items are not shown, because you cannot read the stack's W&B API key.")
    with suppress(KeyboardInterrupt):  # this is how it ends
        watch_runs(lambda: with_waiting(runs.newest(_MOST), waiting.now() if waiting else []), console)


def with_waiting(runs: Sequence[WatchedRun], waiting: Sequence[WatchedRun]) -> list[WatchedRun]:
    """Return runs and the items that wait, without those that have become runs."""
    known = {run.item_id for run in runs}
    return [*runs, *(item for item in waiting if item.item_id not in known)]


def watch_runs(look: Callable[[], list[WatchedRun]], console: Console) -> None:
    """Show runs until the process is interrupted."""
    if not console.is_terminal:
        _print_changes(look, console)
    with Live(console=console, auto_refresh=False, screen=False, vertical_overflow="crop") as live:
        while True:
            live.update(runs_table(look(), datetime.now(UTC)), refresh=True)
            time.sleep(_PAUSE)


def _print_changes(look: Callable[[], list[WatchedRun]], console: Console) -> None:
    console.print("Watching; every change is a line. Ctrl-C ends it.")
    seen: dict[str, str] = {}
    while True:
        for run in look():
            if seen.get(run.item_id) != run.phase:
                seen[run.item_id] = run.phase
                console.print(line_of(run, datetime.now(UTC)), soft_wrap=True)
        time.sleep(_PAUSE)


def line_of(run: WatchedRun, now: datetime) -> Text:
    """Return a run as one line."""
    words = [f"{now.astimezone():%H:%M:%S}", run.name, run.phase, elapsed(run.seconds(now)), run.instance, run.url]
    return Text("  ".join(word for word in (*words, _first(run.reason)) if word))


def runs_table(runs: Sequence[WatchedRun], now: datetime) -> Table:
    """Return runs as a table that fits into any terminal: names and phases are whole, links and reasons are cut."""
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("run", no_wrap=True, overflow="ellipsis", max_width=32)
    table.add_column("phase", no_wrap=True)
    table.add_column("time", no_wrap=True, justify="right")
    table.add_column("instance", no_wrap=True, overflow="ellipsis", max_width=22)
    table.add_column("reason, or where to look", no_wrap=True, overflow="ellipsis", ratio=1)
    for run in runs:
        phase = Text(run.phase, style=COLORS.get(run.phase, ""))
        where = Text(_first(run.reason)) if run.reason else Text(run.url, style=f"link {run.url}" if run.url else "")
        table.add_row(run.name, phase, elapsed(run.seconds(now)), run.instance, where)
    if not runs:
        table.add_row("no runs yet", "", "", "", "")
    return table


def elapsed(seconds: float) -> str:
    """Return a duration in its two largest units."""
    minutes, rest = divmod(int(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _first(text: str) -> str:
    return text.strip().partition("\n")[0]
