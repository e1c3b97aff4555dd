"""Draining: how long it takes to launch many queued runs, and how many requests, next to the stock launch agent."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.bench.figure import Figure, Group
from tests.bench.network import ABOUT, LATENCY
from tests.bench.simulated import simulated
from tests.bench.stock_agent import stock_agent
from tests.simulation.world import MINUTE

_STEP = 0.05
_ABOUT = (
    "This many runs of an image are queued at once, and both agents have a slot for each: seconds from the first "
    "request for an item until the last CreateTrainingJob, and the requests to W&B and AWS until then. {both} The "
    "work of the poll and of one launch, measured on this machine, is added with the share of a processor that Lambda "
    "gives them. {extent}"
)
_MEASURED = "The stock agent launched all of them."
_EXTRAPOLATED = (
    "The stock agent launched {stock:,}; its figures for more are multiples of that, which favors it, as each run "
    'that it watches slows it down. `make bench ARGS="--only drain --stock-items 1000"` lets it launch 1,000.'
)


class Drained(NamedTuple):
    """What it took to launch the runs."""

    seconds: float
    wandb_requests: float
    aws_requests: float

    def times(self, factor: float) -> "Drained":
        """Return the same for a multiple of the runs."""
        return Drained(*(each * factor for each in self))


def figures(*, stock: int = 100, numbers: Sequence[int] = (100, 1000)) -> Group:
    """Measure these numbers of runs. The stock agent launches at most `stock` runs."""
    extent = _MEASURED if stock >= max(numbers) else _EXTRAPOLATED.format(stock=stock)
    about = _ABOUT.format(both=ABOUT, extent=extent)
    peers = {number: of_stock_agent(number) for number in sorted({min(number, stock) for number in numbers})}
    return Group("Drain", about, tuple(_figures(numbers, peers)))


def _figures(numbers: Sequence[int], peers: dict[int, Drained]) -> Iterator[Figure]:
    for number in numbers:
        measured = min(number, max(peers))
        ours, peer = of_application(number), peers[measured].times(number / measured)
        yield Figure(f"drain_{number}_s", round(ours.seconds, 2), "s", round(peer.seconds, 1))
        yield Figure(f"drain_{number}_wandb", ours.wandb_requests, "requests", round(peer.wandb_requests))
        yield Figure(f"drain_{number}_aws", ours.aws_requests, "requests", round(peer.aws_requests))


def of_application(number: int) -> Drained:
    """Launch runs with this application."""
    with simulated(interval=60) as (made, meter):
        for _ in range(number):
            made.push()
        while len(made.training.jobs) < number:
            made.clock.run(_STEP)
        waited = meter.called_at["CreateTrainingJob"][-1] + LATENCY.aws - meter.called_at["UpdateAndPop"][0]
        of_wandb = sum(times for site, times in meter.calls.items() if site.service == "wandb")
        of_aws, worked = meter.calls.total() - of_wandb, meter.worked("poll_queues")
        made.clock.run(MINUTE)  # until all invocations have ended
        worked += meter.work("plan_run") + meter.work("start_training")
        return Drained(waited + worked, of_wandb, of_aws)


def of_stock_agent(number: int) -> Drained:
    """Launch runs with the stock agent."""
    with stock_agent() as agent:
        before, queued_at = agent.asked.copy(), agent.push(number)
        agent.wait_for_jobs(number)
        asked = agent.asked - before
        seconds = agent.created_at[-1] - min(at for at in agent.popped_at if at >= queued_at)
        of_wandb = sum(times for operation, times in asked.items() if operation.startswith("wandb."))
        return Drained(seconds, of_wandb, asked.total() - of_wandb)
