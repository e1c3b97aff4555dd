"""Thousands of schedules: users, faults and outages in any order. `--hypothesis-profile=thorough` tests more.

A failure is printed as the shortest list of steps that leads to it; the same steps fail again.
"""

from contextlib import ExitStack
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from local.wandb.queues import RunQueueItem
from tests.simulation.faults import Fault, RandomFaults, WandbOutage
from tests.simulation.soak import Soak, base_image, script_of
from tests.simulation.world import DAY, HOUR, JOB, MINUTE, Delivery, World, world

SHARES = st.sampled_from([0.0, 0.05, 0.3])
STOPS = st.sampled_from(["stop_in_wandb", "stop_in_console", "stop_job"])


class Schedule(RuleBasedStateMachine):
    """One world with random actions."""

    world: World

    @initialize(
        seed=st.integers(0, 2**32),
        rate=st.sampled_from([0.0, 0.01, 0.1]),
        away=st.sampled_from([Fault.BROKEN, Fault.THROTTLED, Fault.NO_ANSWER, Fault.MALFORMED, Fault.KEY_REJECTED]),
        dropped=SHARES,
        twice=SHARES,
        late=SHARES,
        max_jobs=st.integers(1, 4),
        stacks=st.integers(1, 2),
    )
    def begin(
        self, seed: int, rate: float, away: Fault, dropped: float, twice: float, late: float, max_jobs: int, stacks: int
    ) -> None:
        self.random_faults = RandomFaults(seed, rate=rate)
        self.faults = WandbOutage(self.random_faults, away)
        self.items: list[RunQueueItem] = []
        self.stack = ExitStack()
        self.world = self.stack.enter_context(
            world(
                seed,
                self.faults,
                max_jobs=max_jobs,
                stacks=stacks,
                quota=10,
                capacity_wait_hours=2,
                delivery=Delivery(dropped, twice, late),
                script=lambda _: script_of(self.world.clock.random),
                builds_fail=lambda: self.world.clock.random.random() < 0.1,
            )
        )

    @precondition(lambda self: len(self.items) < 10)
    @rule(code=st.booleans())
    def queue(self, code: bool) -> None:
        more: dict[str, Any] = {"job": JOB, **base_image(self.world.clock.random)} if code else {}
        self.items.append(self.world.push(**more))

    @rule(seconds=st.sampled_from([1.0, 20.0, MINUTE, 5 * MINUTE, 30 * MINUTE]))
    def wait(self, seconds: float) -> None:
        self.world.clock.run(seconds)

    @precondition(lambda self: self.items)
    @rule(which=st.integers(0, 9), stop=STOPS)
    def stop(self, which: int, stop: str) -> None:
        """Stop a run in one of the consoles."""
        getattr(self.world, stop)(self.items[which % len(self.items)])

    @rule(quota=st.sampled_from([0, 1, 10]))
    def change_quota(self, quota: int) -> None:
        """Change the available capacity."""
        self.world.training.quota = quota

    @rule()
    def wandb_goes_or_comes(self) -> None:
        """Make W&B unavailable, or available again."""
        self.faults.is_active = not self.faults.is_active

    @invariant()
    def nothing_is_wrong_yet(self) -> None:
        """Check the invariants that must always hold."""
        if hasattr(self, "world"):
            assert self.world.found.everything == []

    def teardown(self) -> None:
        """Remove all faults, let everything end, and check everything."""
        if not hasattr(self, "world"):
            return
        with self.stack:
            self.faults.is_active, self.random_faults.rate, self.world.training.quota = False, 0, 10
            self.world.delivery = Delivery()
            assert self.world.run_until_idle(within=2 * DAY), self.world.check().everything
            assert self.world.check().everything == []


if settings.get_current_profile_name() == "suite":
    Schedule.TestCase.settings = settings(max_examples=40, stateful_step_count=15)
TestSchedules = Schedule.TestCase


def test_a_small_soak_finds_nothing_and_the_same_seed_gives_the_same_schedule() -> None:
    first, second = Soak(50, 3), Soak(50, 3)
    assert first.run().everything == second.run().everything == []
    assert (first.verdicts, first.virtual_days) == (second.verdicts, second.virtual_days)


def test_an_hour_is_an_hour() -> None:
    with world(1, RandomFaults(1, rate=0)) as made:
        before = made.clock.now
        made.clock.run(HOUR)
        assert made.clock.now == before + HOUR
