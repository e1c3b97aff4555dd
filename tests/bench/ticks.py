"""Ticks: what a poll takes, depending on how many runs are open."""

import json
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from local.wandb.answers import opaque
from tests.bench.figure import Figure, Group
from tests.bench.network import REQUESTS
from tests.bench.plot import plot
from tests.bench.simulated import Meter, simulated
from tests.documents import ROOT
from tests.simulation.events import scheduled
from tests.simulation.world import ENTITY, MINUTE, PROJECT, Stack, World

_PICTURE = ROOT / "docs/images/ticks.svg"
_POLL, _POLLS = "poll_queues", 3
_ABOUT = (
    "The poll of a minute, in virtual time and on average, while this many runs are open: it asks W&B which of them "
    f"were stopped, and for new items, of which there are none. {REQUESTS} The work of the function, measured on this "
    "machine, is added with the share of a processor that Lambda gives it. Memory is what Python allocates during "
    "the poll, at most, beyond a poll with no open run; the answers of the simulated services are in it."
)


class Tick(NamedTuple):
    """What one poll took."""

    seconds: float
    wandb_requests: int
    read_units: float
    megabytes: float


def figures(numbers: Sequence[int] = (0, 100, 1_000, 10_000)) -> Group:
    """Measure a poll with each of these numbers of open runs; the first is the idle one."""
    ticks = {number: of_application(number) for number in numbers}
    lines: dict[str, dict[int, float]] = {
        "seconds": {number: tick.seconds for number, tick in ticks.items()},
        "W&B requests": {number: tick.wandb_requests for number, tick in ticks.items()},
    }
    picture = plot("A poll, by the number of open runs", lines)
    shown = (f"![A poll, by the number of open runs](images/{_PICTURE.name})", "")
    return Group("Ticks", _ABOUT, tuple(_figures(ticks)), shown, {_PICTURE: picture})


def _figures(ticks: Mapping[int, Tick]) -> Iterator[Figure]:
    idle = next(iter(ticks.values()))
    for number, tick in ticks.items():
        yield Figure(f"tick_{number}_open_s", round(tick.seconds, 2), "s")
        yield Figure(f"tick_{number}_open_wandb", tick.wandb_requests, "requests")
        yield Figure(f"tick_{number}_open_read", tick.read_units, "DynamoDB read units")
        yield Figure(f"tick_{number}_open_mb", round(tick.megabytes - idle.megabytes, 1), "MB")


def of_application(number: int) -> Tick:
    """Poll with this many open runs."""
    with simulated(interval=60) as (made, meter):
        (stack,) = made.stacks.values()
        stack.is_deleted = True  # its schedules end, and the sweep does not look for the jobs of the open runs
        _open(made, stack, number)
        _poll(made, stack, meter)  # the first one fills caches
        before, read = meter.calls.copy(), meter.units.read
        seconds = meter.seconds[_POLL] + meter.worked(_POLL)
        for _ in range(_POLLS):
            _poll(made, stack, meter)
        asked, read = meter.calls - before, meter.units.read - read
        seconds = meter.seconds[_POLL] + meter.worked(_POLL) - seconds
        tracemalloc.start()
        _poll(made, stack, meter)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    of_wandb = sum(times for site, times in asked.items() if site.service == "wandb")
    return Tick(seconds / _POLLS, of_wandb // _POLLS, read / _POLLS, peak / 1e6)


def _poll(made: World, stack: Stack, meter: Meter) -> None:
    polls = meter.invocations[_POLL]
    made.invoke(stack, _POLL, scheduled())
    while meter.invocations[_POLL] == polls:
        made.clock.run(1)


def _open(made: World, stack: Stack, number: int) -> None:
    """Store copies of the record of a run that was opened, and create their runs in W&B."""
    item = made.push()
    made.invoke(stack, _POLL, scheduled())
    made.clock.run(MINUTE)
    (record,) = made.records(item.id)
    text, run_id = json.dumps(record), str(record["item"]["M"]["run_id"]["S"])
    stack.table.answer("DeleteItem", {"Key": {"pk": record["pk"]}})
    for copy in range(number):
        name, copied_id = f"r{copy:07}", opaque("RunQueueItem", 1000 + copy)
        copied = json.loads(text.replace(item.id, copied_id).replace(run_id, name))
        stack.table.answer("PutItem", {"Item": copied})
        made.run(ENTITY, PROJECT, name, state="running")
    stack.table.items[f"agent#{ENTITY}"]["jobs_open"] = {"N": str(number)}
