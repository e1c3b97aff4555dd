"""Latency: from the moment that a run is queued until CreateTrainingJob, next to the stock launch agent."""

import time
from collections.abc import Sequence

from tests.bench.figure import Figure, Group
from tests.bench.network import ABOUT
from tests.bench.simulated import simulated
from tests.bench.stock_agent import stock_agent
from tests.simulation.training import Script

INTERVALS = (60, 30, 20, 15, 10, 5)
_STOCK_INTERVAL = 10
_SHORT = Script(pending=2, training=1, uploading=1)
_ABOUT = (
    "One run of an image at a time is queued, at moments spread evenly between two polls: seconds until "
    "CreateTrainingJob has been called. {ours} runs for each interval between polls, and {stock} for the stock agent, "
    "which polls every ten seconds. {both} The work of its functions, measured on this machine, is added with the "
    "share of a processor that Lambda gives them. The first run after a long time also waits for the cold starts of "
    "`plan_run` and `start_training`. The figures without an interval are those of 5 seconds."
)


def figures(*, ours: int = 200, stock: int = 20, intervals: Sequence[int] = INTERVALS) -> Group:
    """Measure this many runs of this application at each interval, and of the stock agent."""
    peers = of_stock_agent(stock)
    found = {interval: of_application(interval, ours) for interval in intervals}
    best = found[min(intervals)]
    about = _ABOUT.format(ours=ours, stock=stock, both=ABOUT)
    named = [("", best), *((f"_at_{interval}s", waits) for interval, waits in found.items())]
    return Group(
        "Latency",
        about,
        tuple(
            Figure(
                f"enqueue_to_create{name}_p{percent}_s", _percentile(waits, percent), "s", _percentile(peers, percent)
            )
            for name, waits in named
            for percent in (50, 95)
        ),
    )


def of_application(interval: int, runs: int) -> list[float]:
    """Return how long each run waited, with polls every `interval` seconds."""
    waits = []
    with simulated(interval=interval, script=_SHORT) as (made, meter):
        for moment in _moments(interval, runs):
            made.clock.run(moment)
            item, queued_at = made.push(), made.clock.now
            made.clock.run(4 * interval - moment)
            (job,) = made.jobs(item)
            waits.append(job.shown["CreationTime"] - queued_at)
        work = sum(meter.work(function) for function in ("poll_queues", "plan_run", "start_training"))
    return [wait + work for wait in waits]


def of_stock_agent(runs: int) -> list[float]:
    """Return how long each run waited."""
    waits = []
    with stock_agent(script=_SHORT) as agent:
        for number, moment in enumerate(_moments(_STOCK_INTERVAL, runs), 1):
            time.sleep(moment)  # since the launch of the run before, which a poll follows at once
            queued_at = agent.push(1)
            agent.wait_for_jobs(number)
            waits.append(agent.created_at[-1] - queued_at)
    return waits


def _moments(interval: int, number: int) -> list[float]:
    """Return moments between two polls, equally far apart."""
    return [interval * (step + 0.5) / number for step in range(number)]


def _percentile(values: Sequence[float], percent: int) -> float:
    """Return the smallest value that this percentage of the values does not exceed."""
    return round(sorted(values)[-(-len(values) * percent // 100) - 1], 2)
