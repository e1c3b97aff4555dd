"""Permanent refusals by W&B or AWS, at each call to the outside: every run still closes, and nothing is left behind.

A run closes by a write to the table, from the reporting function or the sweep. If AWS refuses all of these writes,
the application cannot close the run: `CLOSES_LATER` lists these calls. The run closes when AWS accepts the call again.
"""

import math
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from tests.simulation.attack import SEED, Ended, scenarios
from tests.simulation.faults import Fault, FaultsAt, NoFaults, Site
from tests.simulation.world import DAY, HOUR, MINUTE, world

CLOSES_LATER = {
    Site("sweep_runs", "dynamodb", "GetItem"): "stopped in the console while it trains",
    # If its event arrives with the input, the sweep knows the run without a query.
    Site("sweep_runs", "dynamodb", "Query"): "stopped in the console while it trains, and no event arrives",
    Site("sweep_runs", "dynamodb", "TransactWriteItems"): "stopped in the console while it trains",
    Site("sweep_runs", "sfn", "DescribeExecution"): "stopped in the console while it trains",
}
"""The calls that are necessary to close some runs, each with a scenario that has such a run."""

_SECRET = "GetSecretValue"
"""While the API key cannot be read, reports are retried for days, because most such keys are replaced."""

_QUIET = {"poll_every": 5 * MINUTE, "capacity_wait_hours": 2}


class Refusal(NamedTuple):
    """A call that is permanently refused from a certain one on, in one scenario."""

    site: Site
    scenario: str
    call: int

    def run(self, times: int) -> Ended:
        """Run the scenario; `times` is ignored, because the refusal is permanent."""
        scenario = scenarios()[self.scenario]
        faults = FaultsAt(self.site, Fault.REFUSED, skip=self.call, times=math.inf)
        takes_days = self.site.operation == _SECRET
        slow = {"poll_every": HOUR} if takes_days else {}
        with world(SEED, faults, **{**_QUIET, **scenario.different, **slow}) as made:
            item = scenario.act(made)
            closes = made.run_until_closed(within=14 * DAY if takes_days else 2 * DAY)
            wrong = [] if closes or self.site in CLOSES_LATER else [f"it is not closed: {made.records(item.id)}"]
            if not closes:
                faults.times = 0
                if not made.run_until_closed(within=6 * HOUR):
                    wrong.append("it is not closed when the call is allowed again")
            wrong += made.check(refused=True).everything
            verdict = (made.outcome(item) or {}).get("verdict", f"item {item.state.lower()}")
        if not faults.happened and not takes_days:  # polls that are an hour apart can make this call needless
            wrong.append("the fault did not happen")
        return Ended(verdict if closes else f"{verdict}, later", wrong)

    def __str__(self) -> str:
        """Write it as the list has it."""
        return f"{self.site} | {Fault.REFUSED} for good | {self.scenario}, from call {self.call + 1} on"


@cache
def calls() -> dict[str, Counter[Site]]:
    """Return each scenario's calls, and how often it makes each, in a world without refusals."""
    found = {}
    for name, scenario in scenarios().items():
        quiet = NoFaults()
        with world(SEED, quiet, **{**_QUIET, **scenario.different}) as made:
            scenario.act(made)
            made.run_until_closed(within=2 * DAY)
        found[name] = quiet.seen
    return found


def refusals(*, everywhere: bool) -> Iterator[Refusal]:
    """Yield a refusal of each site: in the scenario that calls it least, or at each scenario's first calls."""
    seen = calls()
    for site in sorted({site for counts in seen.values() for site in counts}):
        calling = [name for name in seen if seen[name][site]]
        if everywhere:
            for name in calling:
                # A world that takes days polls less often, so it makes fewer of these calls.
                calls_of_it = 1 if site.operation == _SECRET else min(seen[name][site], 6)
                yield from (Refusal(site, name, call) for call in range(calls_of_it))
        else:
            yield Refusal(site, min(calling, key=lambda name: seen[name][site]), 0)
