"""Requests: what a job, and an hour in which a job runs, cost in requests, next to the stock launch agent."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping

from tests.bench.figure import Figure, Group
from tests.bench.network import ABOUT
from tests.bench.simulated import simulated
from tests.bench.stock_agent import StockAgent, stock_agent, wait
from tests.simulation.training import Script
from tests.simulation.world import DAY, HOUR, MINUTE

INTERVAL = 15
_COURSE = Script(pending=5, training=20, uploading=5)
_COURSE_SECONDS, _SETTLE_SECONDS = 30, 30
_ABOUT = (
    "Requests to W&B and AWS beyond those of an idle agent. Per job: from the queue until the outcome is reported, of "
    "{jobs} runs of an image whose training jobs take {course} seconds. Per job-hour: while {jobs} training jobs run, "
    "counted for an hour of this application, which polls every {interval} seconds, and for {window} seconds of the "
    "stock agent. The more jobs run, the fewer requests each costs: the second figure is that of {many}. {both}"
)
Asked = Mapping[str, float]


def figures(*, jobs: int = 20, window: int = 120, many: int = 200) -> Group:
    """Measure `jobs` jobs of both agents, and `many` running ones of this application."""
    about = _ABOUT.format(jobs=jobs, course=_COURSE_SECONDS, interval=INTERVAL, window=window, many=many, both=ABOUT)
    return Group("Requests", about, tuple(_figures(jobs, window, many)))


def _figures(jobs: int, window: int, many: int) -> Iterator[Figure]:
    launched, running = of_stock_agent(jobs, window)
    ours, transitions = of_application(jobs)
    hour, stock_hour = (round(sum(asked.values()) / jobs, 2) for asked in (hour_of_application(jobs), running))
    yield Figure("requests_per_job_hour", hour, "requests", stock_hour)
    hour_of_many = round(sum(hour_of_application(many).values()) / many, 2)
    yield Figure(f"requests_per_job_hour_of_{many}", hour_of_many, "requests", stock_hour)
    total, stock_total = (round(sum(asked.values()) / jobs, 2) for asked in (ours, launched))
    yield Figure("requests_per_job", total, "requests", stock_total)
    yield Figure("transitions_per_job", transitions / jobs, "transitions")
    for operation in sorted({*ours, *launched}):
        # An idle agent's heartbeats are not always as many: a difference below zero is none.
        value, peer = (max(round(asked.get(operation, 0) / jobs, 2), 0) for asked in (ours, launched))
        if value or peer:
            yield Figure(f"per_job {operation}", value, "requests", peer)


def of_application(jobs: int) -> tuple[Asked, int]:
    """Return what jobs ask for until they are reported, beyond an idle stack, and their state transitions."""
    with simulated(interval=INTERVAL, script=_COURSE) as (made, meter):
        for _ in range(jobs):
            made.push()
        made.clock.run(10 * MINUTE)
        (stack,) = made.stacks.values()
        transitions = sum(len(each.path) for each in stack.machine.executions.values())
        asked = meter.requests
    with simulated(interval=INTERVAL) as (made, meter):
        made.clock.run(10 * MINUTE)
        return _beyond(asked, meter.requests), transitions


def hour_of_application(jobs: int) -> Asked:
    """Return what an hour in which jobs run asks for, beyond an hour of an idle stack."""
    asked = []
    for number in (jobs, 0):
        with simulated(interval=INTERVAL) as (made, meter):
            for _ in range(number):
                made.push()
            made.clock.run(10 * MINUTE)
            before = meter.requests
            made.clock.run(HOUR)
            asked.append(meter.requests - before)
    return _beyond(*asked)


def of_stock_agent(jobs: int, window: int) -> tuple[Asked, Asked]:
    """Return what jobs ask for until they are reported, and what an hour asks for in which they run.

    Both are beyond an idle stock agent.
    """
    with stock_agent(script=_COURSE) as agent:
        idle = _asked_in(agent, window)
        before, begun = agent.asked.copy(), agent.push(jobs)
        agent.wait_for_jobs(jobs)
        wait(lambda: not agent.training.live, within=10 * MINUTE)
        time.sleep(_SETTLE_SECONDS)
        launched = _beyond(agent.asked - before, idle, times=(time.time() - begun) / window)
        agent.script = Script(training=DAY)
        agent.push(jobs)
        agent.wait_for_jobs(2 * jobs)
        time.sleep(_SETTLE_SECONDS)
        running = _beyond(_asked_in(agent, window), idle)
    return launched, {operation: each * HOUR / window for operation, each in running.items()}


def _asked_in(agent: StockAgent, seconds: int) -> Counter[str]:
    before = agent.asked.copy()
    time.sleep(seconds)
    return agent.asked - before


def _beyond(asked: Counter[str], idle: Counter[str], *, times: float = 1) -> Asked:
    return {operation: asked[operation] - idle[operation] * times for operation in {*asked, *idle}}
