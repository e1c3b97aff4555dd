"""This application in the simulated world, where time passes for calls: what it does is counted and measured."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import greenlet

from tests.bench.units import Units
from tests.handlers import properties_of
from tests.simulation.faults import Fault, Site
from tests.simulation.functions import LATENCY, Functions
from tests.simulation.machine import Done
from tests.simulation.training import Script
from tests.simulation.world import DAY, HOUR, MINUTE, World, world

MANY = 1_000_000
PROCESSOR_MB = 1769
"""The memory with which Lambda gives a function one processor; with less, it gives a share of it."""
_IMAGE_CONFIG = Site("", "s3", "image-config")
"""A download from an address that ECR has signed. The world's clients send it like a request to W&B."""
_PAUSES = 2
"""The world pauses before and after it answers a call. What it does in between is not the function's work."""


class Meter:
    """Counts the calls, and all that AWS charges for. It lets no call fail."""

    def __init__(self) -> None:
        self.units: Units
        self.calls: Counter[Site] = Counter()
        self.called_at: defaultdict[str, list[float]] = defaultdict(list)
        """When each operation was called."""
        self.invocations: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """How long the invocations of each function took, in virtual time: what they waited for."""
        self.processor: defaultdict[str, float] = defaultdict(float)
        """How long they worked, in seconds of this machine's processor."""
        self.logged_bytes = 0
        self.metric_hours: set[tuple[int, str]] = set()
        """The custom metrics, each with every hour in which it was written."""
        self._calling: dict[greenlet.greenlet, int] = {}
        self._since = time.process_time()
        self._now: Callable[[], float] = lambda: 0.0

    def begin(self, made: World) -> None:
        """Count from now on."""
        self._now = lambda: made.clock.now
        (stack,) = made.stacks.values()
        self.units = Units(stack.table)
        self._watch(stack.functions)
        self._read_log(made)
        for each in (self.calls, self.called_at, self.processor):
            each.clear()

    def at(self, site: Site) -> Fault | None:
        """Count a call."""
        if site.operation == _IMAGE_CONFIG.operation:
            site = _IMAGE_CONFIG._replace(function=site.function)
        self.calls[site] += 1
        self.called_at[site.operation].append(self._now())
        self._calling[greenlet.getcurrent()] = _PAUSES
        return None

    def switched(self, _: str, which: tuple[greenlet.greenlet, greenlet.greenlet]) -> None:
        """Add the processor time since the last switch to the function that worked until now."""
        (origin, _target), now = which, time.process_time()
        pauses = self._calling.pop(origin, 0)
        if pauses > 1:
            self._calling[origin] = pauses - 1
        if pauses != 1 and (invocation := getattr(origin, "invocation", None)):
            self.processor[invocation.name] += now - self._since
        self._since = time.process_time()

    @property
    def requests(self) -> Counter[str]:
        """The calls so far, by service and operation."""
        counted = Counter[str]()
        for site, times in self.calls.items():
            counted[f"{site.service}.{site.operation}"] += times
        return counted

    def work(self, function: str) -> float:
        """Return how long an invocation of a function works on average, with the processor share of its memory."""
        return self.worked(function) / self.invocations[function]

    def worked(self, function: str) -> float:
        """Return how long all invocations of a function have worked, with the processor share of its memory."""
        return self.processor[function] * PROCESSOR_MB / int(properties_of(function)["MemorySize"])

    def _watch(self, functions: Functions) -> None:
        invoke = functions.invoke

        def watched(name: str, event: Any, done: Done) -> None:
            begun = self._now()

            def ended(result: Any, failure: Any) -> None:
                self.invocations[name] += 1
                self.seconds[name] += self._now() - begun - LATENCY
                done(result, failure)

            invoke(name, event, ended)

        functions.invoke = watched  # type: ignore[method-assign]

    def _read_log(self, made: World) -> None:
        write = made.write

        def read(text: str) -> None:
            self.logged_bytes += len(text.encode())
            if '"_aws"' in text:
                self._read_metrics(json.loads(text))
            write(text)

        made.write = read  # type: ignore[method-assign]

    def _read_metrics(self, line: dict[str, Any]) -> None:
        hour = int(self._now() // HOUR)
        for directive in line["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                of = [f"{name}={line[name]}" for name in sorted(names)]
                self.metric_hours |= {(hour, f"{each['Name']} {of}") for each in directive["Metrics"]}


@contextmanager
def simulated(*, interval: int, script: Script | None = None) -> Iterator[tuple[World, Meter]]:
    """Create a world that polls every `interval` seconds; yield it once its launch agent is registered.

    Functions are warm, and there are as many at a time as are invoked. Training jobs take the course of `script`.
    """
    meter, course = Meter(), script or Script(training=DAY)
    with world(
        1,
        meter,
        max_jobs=MANY,
        quota=MANY,
        script=lambda _: Script(**vars(course)),
        poll_interval=interval,
    ) as made:
        made.clock.run(3 * MINUTE)
        meter.begin(made)
        traced = greenlet.settrace(meter.switched)
        try:
            yield made, meter
        finally:
            greenlet.settrace(traced)
