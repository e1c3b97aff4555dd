"""`make soak`: runs thousands of items in a world with random faults at all calls.

python -m tests.simulation.soak [--items N] [--seed S] [--verbose]
"""

import argparse
import random
import resource
import sys
import time
from typing import Any

from local.wandb.queues import RunQueueItem
from local.wandb.sweeps import Sweep
from tests.simulation.faults import Fault, RandomFaults, WandbOutage
from tests.simulation.hostile import KINDS
from tests.simulation.training import Script
from tests.simulation.world import DAY, HOUR, JOB, MINUTE, Delivery, Found, World, world

MAX_JOBS, QUOTA, STACKS, POLL_INTERVAL = 40, 36, 1, 5
FAULT_RATE, HOSTILE, SWEEPS = 0.02, 0.05, 0.02
DELIVERY = Delivery(dropped=0.03, twice=0.05, late=0.02)
_ENDS: tuple[tuple[float, dict[str, Any]], ...] = (
    (0.80, {}),
    (0.04, {"failure": "AlgorithmError: ExecuteUserScriptError: exit code 1"}),
    (0.02, {"failure": "ClientError: the image cannot be pulled"}),
    (0.03, {"failure": "CapacityError: Unable to provision requested ML compute capacity."}),
    (0.03, {"failure": "InternalServerError: We encountered an internal error."}),
    (0.03, {"given_up": True}),
    (0.03, {"interruptions": 2}),
    (0.02, {"calls_init": False}),
)


def script_of(draws: random.Random) -> Script:
    """Draw a training job's phases and end."""
    shares, ends = zip(*_ENDS, strict=True)
    (end,) = draws.choices(ends, shares)
    return Script(pending=draws.uniform(20, 200), training=draws.uniform(5, 1800), **end)


def base_image(draws: random.Random) -> dict[str, Any]:
    """Draw a base image, so that some runs share an image and some do not."""
    number = int(draws.expovariate(1 / 20))
    return {"resource_args": {"sagemaker": {"builder": {"base_image": f"base:{number}"}}}}


class Soak:
    """One soak, from one seed."""

    def __init__(self, items: int, seed: int) -> None:
        """Prepare a soak of this many items; the seed determines everything else."""
        self._items, self._seed = items, seed
        self._draws = random.Random(seed)
        self.faults = WandbOutage(RandomFaults(seed, rate=FAULT_RATE), Fault.BROKEN)
        self._queued = 0
        self.verdicts: dict[str, int] = {}
        self.virtual_days = 0.0

    def run(self) -> Found:
        """Queue all items, let them end, and return everything that is wrong."""
        with world(
            self._seed,
            self.faults,
            stacks=STACKS,
            max_jobs=MAX_JOBS,
            quota=QUOTA,
            delivery=DELIVERY,
            poll_interval=POLL_INTERVAL,
            script=lambda _: script_of(self._draws),
            builds_fail=lambda: self._draws.random() < 0.1,
        ) as made:
            begun = made.clock.now
            self._push(made, self._items)
            self._outage(made)
            within = 2 * DAY + self._items / MAX_JOBS * HOUR
            made.run_until_idle(within=within, until=lambda: self._queued == self._items)
            self.virtual_days = (made.clock.now - begun) / DAY
            found = made.check()
            found.lost.extend(["an item that was not queued"] * (self._items - self._queued))
            self.verdicts = dict(made.verdicts())
            return found

    def _push(self, made: World, left: int) -> None:
        """Queue some items, schedule the rest for later, and let users stop some of them."""
        for _ in range(min(left, 2 * MAX_JOBS)):
            item, self._queued = self._push_one(made), self._queued + 1
            if self._draws.random() < 0.05:
                self._stop(made, item)
        if left > 2 * MAX_JOBS:
            made.clock.after(HOUR, lambda: self._push(made, left - 2 * MAX_JOBS))

    def _push_one(self, made: World) -> RunQueueItem:
        if self._draws.random() < SWEEPS:
            return self._create_sweep(made)
        if self._draws.random() < HOSTILE:
            return self._draws.choice(list(KINDS.values()))(made)
        return made.push(job=JOB, **base_image(self._draws)) if self._draws.random() < 0.2 else made.push()

    def _create_sweep(self, made: World) -> RunQueueItem:
        """Create a sweep that a user may pause or cancel, and return its scheduler's item."""
        parameters = {"lr": {"values": list(range(self._draws.randint(1, 12)))}}
        sweep = made.sweep(parameters=parameters, workers=self._draws.randint(1, 4))
        if self._draws.random() < 0.2:
            state = self._draws.choice(["PAUSED", "CANCELED", "FINISHED"])
            made.clock.after(self._draws.uniform(0, 2 * HOUR), lambda: self._change(sweep, state))
        return made.scheduler_of(sweep)

    def _change(self, sweep: Sweep, state: str) -> None:
        if sweep.state in ("PENDING", "RUNNING"):
            sweep.change(state)

    def _stop(self, made: World, item: RunQueueItem) -> None:
        stop = self._draws.choice([made.stop_in_wandb, made.stop_in_console, made.stop_job])
        made.clock.after(self._draws.uniform(0, 90 * MINUTE), lambda: stop(item))

    def _outage(self, made: World) -> None:
        """Make W&B unavailable for a while, at random intervals."""
        self.faults.is_active = not self.faults.is_active
        lasts = (
            self._draws.expovariate(1 / (20 * MINUTE)) if self.faults.is_active else self._draws.uniform(1, 12) * HOUR
        )
        made.clock.after(lasts, lambda: self._outage(made))


def main() -> int:
    """Run a soak, and print one line."""
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--items", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    begun, soak = time.perf_counter(), Soak(options.items, options.seed)
    found = soak.run()
    if options.verbose or found.everything:
        for line in found.everything[:20]:
            print(f"soak: {line[:600]}")
    if options.verbose:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"soak: {soak.verdicts}, {soak.virtual_days:.1f} days in {time.perf_counter() - begun:.0f} s, "
            f"{memory:.0f} MB at most"
        )
    print(f"soak: items {options.items} {found} seed {options.seed}")
    return 1 if found.everything else 0


if __name__ == "__main__":
    sys.exit(main())
