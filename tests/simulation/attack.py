"""Every possible fault at every call to the outside, one at a time.

An undisturbed run of each scenario finds the calls, so that new calls are attacked automatically. After the fault, the
run must end as it does without one, and nothing may be lost, duplicated or left behind.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import Any, NamedTuple, Protocol

from local.wandb import Behaviour
from local.wandb.queues import RunQueueItem
from tests.handlers import NAMES
from tests.simulation.faults import Fault, Faults, FaultsAt, NoFaults, Site
from tests.simulation.functions import Killed, pause
from tests.simulation.training import Script
from tests.simulation.world import HOUR, JOB, LEFT_TO_LIFECYCLE, MINUTE, Delivery, World, world

SEED = 7


class Scenario(NamedTuple):
    """A user's actions, the expected verdict, and the settings of the world."""

    act: Callable[[World], RunQueueItem]
    verdict: str
    different: dict[str, Any]
    until: Callable[[World], object] = lambda _: True
    """Must be true before the scenario may end."""


class Ended(NamedTuple):
    """How a scenario ended: the verdict, and everything that is wrong."""

    verdict: str
    wrong: list[str]


def _run(made: World) -> RunQueueItem:
    return made.push()


def _many(made: World) -> RunQueueItem:
    """More items than one transaction opens."""
    return [made.push() for _ in range(15)][7]


def _run_after_another(made: World) -> RunQueueItem:
    made.push()
    return made.push()


def _code(made: World) -> RunQueueItem:
    return made.push(job=JOB)


def _algorithm(made: World) -> RunQueueItem:
    """One of SageMaker's own algorithms, whose run the agent writes."""
    algorithm = {"AlgorithmName": "xgboost-of-mine", "TrainingInputMode": "File"}
    return made.push(resource_args={"sagemaker": {"AlgorithmSpecification": algorithm}})


def _code_again(made: World) -> RunQueueItem:
    """Code whose image exists already."""
    made.push(job=JOB)
    made.run_until_idle()
    return made.push(job=JOB)


def _code_at_once(made: World) -> RunQueueItem:
    """Code whose image another run builds at the same time."""
    made.push(job=JOB)
    return made.push(job=JOB)


def _code_gone(made: World) -> RunQueueItem:
    """Code whose image was built and then deleted."""
    made.push(job=JOB)
    made.run_until_idle()
    made.builds.images.clear()
    return made.push(job=JOB)


def _stack_deleted(made: World) -> RunQueueItem:
    """A stack that is deleted when its run has ended."""
    item = made.push()
    made.run_until_idle()
    made.delete_stack()
    return item


def _redriven(made: World) -> RunQueueItem:
    """A run whose role SageMaker refuses, until the operator fixes it and redrives the execution."""
    made.training.refuses = "ValidationException"
    item = made.push()

    def look() -> None:
        execution = made.execution(item)
        if execution and execution.status == "FAILED":
            made.training.refuses = ""
            made.redrive(item)
        else:
            made.clock.after(1, look)

    look()
    return item


def _around_create(made: World, *, before: Callable[[], None], after: Callable[[], None], times: int = 1) -> None:
    """Run functions before and after the first calls of CreateTrainingJob."""
    answer, calls = made.training.answer, itertools.count()

    def around(operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        if operation != "CreateTrainingJob" or next(calls) >= times:
            return answer(operation, asked)
        before()
        try:
            return answer(operation, asked)
        finally:
            after()

    made.training.answer = around  # type: ignore[method-assign]  # this is the point


def _dies() -> None:
    raise Killed("Runtime.ExitError")


def _nothing() -> None:
    pass


def _opened_by_a_dead_function(made: World) -> RunQueueItem:
    """A run whose execution was not started because the function died, and whose lease lasts an hour."""
    made.server.state.behaviour = Behaviour(lease_seconds=HOUR)
    (stack,) = made.stacks.values()
    answer, calls = stack.machine.answer, itertools.count()

    def answered(operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "StartExecution" and next(calls) == 0:
            _dies()
        return answer(operation, asked)

    stack.machine.answer = answered  # type: ignore[method-assign]  # this is the point
    return made.push()


def _made_by_a_dead_function(made: World) -> RunQueueItem:
    """A training job that ends before a retry of its function finds it."""
    _around_create(made, before=_nothing, after=_dies)
    return made.push()


def _made_by_functions_that_all_die(made: World) -> RunQueueItem:
    """A run whose function always dies just after it has created the training job."""
    _around_create(made, before=_nothing, after=_dies, times=100)
    return made.push()


def _stopped_while_it_starts(made: World, **spec: Any) -> RunQueueItem:
    """A run that is stopped and closed during the call that creates its training job."""
    item = made.push(**spec)

    def stop() -> None:
        made.stop_in_console(item)
        pause(30)

    _around_create(made, before=stop, after=_nothing)
    return item


def _stopped_while_it_starts_alone(made: World) -> RunQueueItem:
    """The same with a job that would not fail by itself, as it needs none of the credentials, which are deleted."""
    alone = {"launch_agent": {"calls_wandb_init": False}}
    return _stopped_while_it_starts(made, resource="sagemaker", resource_args={"sagemaker": alone})


def _stopped_while_credentials_are_stored(made: World) -> RunQueueItem:
    """A run that is stopped and closed during the call that stores its credentials."""
    item, calls = made.push(), itertools.count()

    class Objects(dict[str, bytes]):
        def __setitem__(self, key: str, content: bytes) -> None:
            if next(calls) == 0:
                made.stop_in_console(item)
                pause(30)
            super().__setitem__(key, content)

    made.objects = made.builds.objects = Objects()
    return item


def _stopped(stop: str, state: str, push: Callable[[World], RunQueueItem]) -> Callable[[World], RunQueueItem]:
    """Queue a run that is stopped two minutes after it enters a state."""

    def act(made: World) -> RunQueueItem:
        item = push(made)

        def look() -> None:
            execution = made.execution(item)
            if execution and execution.state == state:
                made.clock.after(2 * MINUTE, lambda: getattr(made, stop)(item))
            else:
                made.clock.after(1, look)

        look()
        return item

    return act


def _quota_for_a_while(made: World) -> RunQueueItem:
    made.training.quota = 0
    made.clock.after(20 * MINUTE, lambda: setattr(made.training, "quota", 10))
    return made.push()


def _without_room(made: World) -> RunQueueItem:
    made.training.quota = 0
    item = made.push()
    made.clock.after(10 * MINUTE, lambda: made.stop_in_wandb(item))
    return item


def _stray(made: World) -> RunQueueItem:
    """A training job that the application no longer knows, in addition to a run that finishes."""
    item = made.push()

    def again() -> None:
        for job in made.jobs(item):
            tags = [{"Key": key, "Value": value} for key, value in job.tags.items()]
            asked = job.request | {"TrainingJobName": "stray", "Tags": tags, "InputDataConfig": []}
            made.training.made(asked, Script(training=30 * HOUR))

    made.clock.after(10 * MINUTE, again)
    return item


def _fails(failure: str, *, pending: float = 30, times: int = 1) -> Callable[[dict[str, Any]], Script]:
    """Make a run's first training jobs fail."""
    left = [times]

    def script(_: dict[str, Any]) -> Script:
        left[0] -= 1
        return Script(pending, failure=failure if left[0] >= 0 else "")

    return script


def _sweep(made: World) -> RunQueueItem:
    """A grid of three with two workers."""
    return made.scheduler_of(made.sweep())


def _sweep_that(happens: str) -> Callable[[World], RunQueueItem]:
    """Create a sweep to which something happens when its first run trains."""

    def act(made: World) -> RunQueueItem:
        sweep = made.sweep()
        item = made.scheduler_of(sweep)

        def look() -> None:
            if any(run.state == "running" for run in sweep.made):
                if happens == "stopped in the console":
                    made.stop_in_console(item)
                elif happens == "scheduler stopped":
                    made.stop_in_wandb(item)
                elif happens == "deleted":
                    del sweep.project.sweeps[sweep.name]
                else:
                    sweep.change(happens)
            else:
                made.clock.after(1, look)

        look()
        return item

    return act


def scenarios() -> dict[str, Scenario]:
    """Return new scenarios, by name. They cannot be reused, because some have counters."""
    lost = {"delivery": Delivery(dropped=1)}
    long = {"script": lambda _: Script(training=2 * HOUR)}
    error = "AlgorithmError: exit code 1"
    return {
        "image": Scenario(_run, "finished", {}),
        "image, polled every five seconds": Scenario(_run, "finished", {"poll_interval": 5}),
        "many at once": Scenario(_many, "finished", {"max_jobs": 20}),
        "opened by a function that died": Scenario(_opened_by_a_dead_function, "finished", {}),
        "made by a function that died": Scenario(_made_by_a_dead_function, "finished", {}),
        "made by a function that died, and ended": Scenario(
            _made_by_a_dead_function, "finished", {**lost, "script": lambda _: Script(0, 0, uploading=0)}
        ),
        "made by a function that died, and failed by SageMaker": Scenario(
            _made_by_a_dead_function,
            "finished",
            {**lost, "script": _fails("InternalServerError: sorry", pending=0)},
        ),
        "redriven": Scenario(_redriven, "finished", {}, until=lambda made: made.redriven),
        "made by functions that all die": Scenario(_made_by_functions_that_all_die, "not launched", long),
        "code without room": Scenario(_code, "not launched", {"quota": 0, "capacity_wait_hours": 0.1}),
        "stopped in the console while its job is made": Scenario(_stopped_while_it_starts, "stopped", {}),
        "stopped in the console while a job without credentials is made": Scenario(
            _stopped_while_it_starts_alone, "stopped", {}
        ),
        "stopped in the console while its credentials are stored": Scenario(
            _stopped_while_credentials_are_stored, "stopped", {}
        ),
        "stack deleted": Scenario(_stack_deleted, "finished", {}, until=lambda made: made.stack_answers),
        "a run whose price is limited": Scenario(
            _run, "finished", {"config": {"policy": {"max_usd_per_hour": 1, "max_usd_per_run": 100}}}
        ),
        "two runs that want the only instance": Scenario(
            _run_after_another, "finished", {"config": {"max_jobs_per_instance_type": {"ml.m4.*": 1}}}
        ),
        "code": Scenario(_code, "finished", {}),
        "algorithm": Scenario(_algorithm, "finished", {"script": lambda _: Script(calls_init=False)}),
        "code whose image is there": Scenario(_code_again, "finished", {}),
        "code whose image is being built": Scenario(_code_at_once, "finished", {}),
        "code whose image was deleted": Scenario(_code_gone, "finished", {}),
        "code that cannot be built": Scenario(_code, "not launched", {"builds_fail": lambda: True}),
        "user code that fails": Scenario(_run, "failed", {"script": lambda _: Script(failure=error, calls_init=False)}),
        "no wandb.init": Scenario(_run, "failed", {"script": lambda _: Script(calls_init=False)}),
        "SageMaker fails": Scenario(_run, "finished", {"script": _fails("InternalServerError: sorry")}),
        "no capacity": Scenario(_run, "finished", {"script": _fails("CapacityError: sorry")}),
        "spot": Scenario(_run, "finished", {"script": lambda _: Script(interruptions=1)}),
        "quota used up": Scenario(_quota_for_a_while, "finished", {}),
        "quota used up for too long": Scenario(_run, "not launched", {"quota": 0, "capacity_wait_hours": 0.5}),
        "stopped in W&B while it waits": Scenario(_without_room, "stopped", {}),
        "stopped in W&B while it trains": Scenario(_stopped("stop_in_wandb", "Train", _run), "stopped", long),
        "stopped in the console while it builds": Scenario(
            _stopped("stop_in_console", "Build image", _code), "stopped", long
        ),
        "stopped in the console while it trains": Scenario(_stopped("stop_in_console", "Train", _run), "stopped", long),
        "stopped in the console while it trains, and no event arrives": Scenario(
            _stopped("stop_in_console", "Train", _run), "stopped", {**long, **lost}
        ),
        "stopped in the console before wandb.init": Scenario(
            _stopped("stop_in_console", "Train", _run),
            "stopped",
            {"script": lambda _: Script(training=2 * HOUR, calls_init=False)},
        ),
        "stopped in W&B, and interrupted at once": Scenario(
            _stopped("stop_in_wandb", "Train", _run),
            "stopped",
            {"script": lambda _: Script(training=2 * HOUR, obeys_stops=True)},
        ),
        "training job stopped": Scenario(_stopped("stop_job", "Train", _run), "stopped", long),
        "no event arrives": Scenario(_run, "finished", lost),
        "no event arrives, and SageMaker fails": Scenario(
            _run, "finished", {**lost, "script": _fails("InternalServerError: sorry")}
        ),
        "sweep": Scenario(_sweep, "finished", {}),
        "sweep whose runs never begin": Scenario(
            lambda made: made.scheduler_of(made.sweep(parameters={"lr": {"values": [1]}})),
            "finished",
            {"script": lambda _: Script(calls_init=False)},
        ),
        "sweep canceled": Scenario(_sweep_that("CANCELED"), "stopped", {}),
        "sweep paused": Scenario(_sweep_that("PAUSED"), "finished", {}),
        "sweep deleted": Scenario(_sweep_that("deleted"), "stopped", {}),
        "sweep whose scheduler is stopped in W&B": Scenario(_sweep_that("scheduler stopped"), "stopped", {}),
        "sweep that is stopped in the console": Scenario(_sweep_that("stopped in the console"), "stopped", {}),
        "a stray training job": Scenario(_stray, "finished", {}, until=lambda made: "stray" in made.training.jobs),
    }


def ended(name: str, faults: Faults, **different: Any) -> Ended:
    """Run a scenario with faults."""
    scenario = scenarios()[name]
    with world(SEED, faults, **{**scenario.different, **different}) as made:
        item = scenario.act(made)
        made.run_until_idle(within=8 * HOUR, until=lambda: bool(scenario.until(made)))
        wrong = made.check().everything
        verdict = (made.outcome(item) or {}).get("verdict", "none")
    if verdict != scenario.verdict:
        wrong = [*wrong, f"it ended as {verdict}, and {scenario.verdict} was right"]
    return Ended(verdict, wrong)


@cache
def on_a_quiet_day(name: str) -> tuple[Ended, Counter[Site]]:
    """Run a scenario without faults. Return how it ended, its calls, and how often it makes each."""
    quiet = NoFaults()
    return ended(name, quiet), quiet.seen


def sites() -> dict[str, Counter[Site]]:
    """Return each scenario's calls, and how often it makes each."""
    return {name: on_a_quiet_day(name)[1] for name in scenarios()}


DISTURBANCES: dict[str, dict[str, Any]] = {
    "no event arrives": {"delivery": Delivery(dropped=1)},
    "every event arrives twice": {"delivery": Delivery(twice=1)},
    "events arrive late and out of order": {"delivery": Delivery(late=1)},
    **{f"{name} runs twice at a time": {"duplicated": (name,)} for name in NAMES},
}
"""Permanent disturbances of a world."""


class Case(Protocol):
    """A scenario with a fault or a disturbance."""

    def run(self, times: int) -> Ended:
        """Run the scenario; if calls fail, this many fail in a row."""


class Disturbance(NamedTuple):
    """A permanent disturbance of the world, in one scenario."""

    words: str
    scenario: str

    def run(self, times: int) -> Ended:
        return ended(self.scenario, NoFaults(), **DISTURBANCES[self.words])

    def __str__(self) -> str:
        """Write it as the list has it."""
        return f"{self.words} | {self.scenario}"


EXPIRES = (Site("start_training", "s3", "ListObjectsV2"), Site("start_training", "s3", "DeleteObject"))
"""The calls by which start_training deletes credentials of a run that was closed while they were being stored.

If the function ends here, its execution has been stopped and does not retry it. The bucket's lifecycle deletes them.
"""


class Attack(NamedTuple):
    """One fault in one scenario."""

    site: Site
    fault: Fault
    scenario: str
    call: int
    """The index of the failing call among the site's calls."""

    def run(self, times: int) -> Ended:
        """Run the scenario, with this many failing calls in a row."""
        faults = FaultsAt(self.site, self.fault, skip=self.call, times=times)
        end = ended(self.scenario, faults)
        if self.site in EXPIRES:
            end = Ended(end.verdict, [each for each in end.wrong if not each.startswith(LEFT_TO_LIFECYCLE)])
        return end if faults.happened else Ended(end.verdict, [*end.wrong, "the fault did not happen"])

    def __str__(self) -> str:
        """Write it as the list has it."""
        return f"{self.site} | {self.fault} | {self.scenario}, call {self.call + 1}"


def attacks(*, everywhere: bool) -> Iterator[Attack]:
    """Yield each site with each fault: in the scenario that calls it least, or at each scenario's first six calls."""
    seen = sites()
    for site in sorted({site for counts in seen.values() for site in counts}):
        calling = [name for name in seen if seen[name][site]]
        for fault in site.faults:
            if everywhere:
                for name in calling:
                    yield from (Attack(site, fault, name, call) for call in range(min(seen[name][site], 6)))
            else:
                # The scenario that tests this call most specifically.
                yield Attack(site, fault, min(calling, key=lambda name: seen[name][site]), 0)


def disturbances() -> Iterator[Disturbance]:
    """Yield each scenario with each disturbance."""
    yield from (Disturbance(words, name) for name in scenarios() for words in DISTURBANCES)


def outcomes(chosen: Iterable[Case], *, times: int = 1) -> Iterator[tuple[Case, Ended]]:
    """Run cases on all processors; yield each with how it ended."""
    listed = list(chosen)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        yield from zip(listed, pool.map(_run_one, listed, itertools.repeat(times), chunksize=8), strict=True)


def _run_one(case: Case, times: int) -> Ended:
    return case.run(times)
