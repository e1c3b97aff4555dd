"""Lambda: the real handlers, many at a time, each held up at every call to the outside, which may go wrong there."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

from tests.handlers import NAMES, loaded, properties_of
from tests.simulation.clock import Clock
from tests.simulation.faults import IS_DONE, Fault, Faults, Site
from tests.simulation.machine import Done, TaskFailed

Answer = TypeVar("Answer")
_LATENCY = 0.02
_RECURSION_LIMIT = 1_000  # Python's own, which jsonata raises


class Killed(BaseException):
    """The function's environment is gone. Nothing in the function can catch it."""

    def __init__(self, error: str) -> None:
        """Take Lambda's word for it."""
        super().__init__(error)
        self.error = error


class NoAnswer(Exception):
    """Nothing came back; what the client's library raises for it is up to the transport."""


class Context:
    """What Lambda gives a handler beside its event."""

    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:f"

    def __init__(self, clock: Clock, function: str, request_id: str, deadline: float) -> None:
        """Take what is asked for."""
        self.function_name, self.aws_request_id = function, request_id
        self._clock, self.deadline = clock, deadline

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the function has left."""
        return int((self.deadline - self._clock.now) * 1000)


class Invocation(greenlet):
    """One run of a handler."""

    def __init__(self, functions: "Functions", name: str, event: Any, done: Done) -> None:
        """Take which function runs, on what, and who hears of its end."""
        super().__init__(self._live, functions.loop)
        self.functions, self.name, self._event, self._done = functions, name, event, done
        clock = functions.clock
        self.context = Context(clock, name, f"request-{functions.number()}", clock.now + timeout_of(name))

    def _live(self) -> None:
        result, failure = None, None
        sys.setrecursionlimit(_RECURSION_LIMIT)
        try:
            result = self.functions.modules[self.name].handler(self._event, self.context)
        except Killed as killed:
            failure = TaskFailed(killed.error, "the environment is gone")
        except Exception as error:  # noqa: BLE001 - as Lambda, which reports whatever a handler raises
            failure = TaskFailed(type(error).__name__, json.dumps({"errorMessage": str(error)}))
        self.functions.failed[self.name] += failure is not None
        self.functions.clock.after(0, lambda: self._done(result, failure))


class Functions:
    """The functions of one stack."""

    def __init__(self, environment: Mapping[str, str], clock: Clock, faults: Faults) -> None:
        """Load them, each with those of the stack's variables that the template gives it."""
        self.clock, self.faults, self.loop = clock, faults, getcurrent()
        self.duplicated: Collection[str] = ()
        """Functions of which every invocation happens twice, at about the same time."""
        self.failed: Counter[str] = Counter()
        """How many invocations of each function have failed."""
        self.throttled_until = 0.0
        """Until when the account runs as many functions as it may, and no other."""
        self._count = 0
        self.modules = {name: loaded(name, environment) for name in NAMES}

    def number(self) -> int:
        """Return the number of the next invocation."""
        self._count += 1
        return self._count

    def invoke(self, name: str, event: Any, done: Done) -> None:
        """Have a function run on an event; `done` hears of its end."""
        if self.clock.now < self.throttled_until:
            self.clock.after(0, lambda: done(None, TaskFailed("Lambda.TooManyRequestsException", "Rate Exceeded.")))
            return
        for each in (done, _ignore) if name in self.duplicated else (done,):
            invocation = Invocation(self, name, event, each)
            self.clock.after(self.clock.random.expovariate(1 / _LATENCY), invocation.switch)


def _ignore(result: Any, failure: TaskFailed | None) -> None:
    """Be told of the end of an invocation for which nobody waits."""


def outside(service: str, operation: str, call: Callable[[], Answer], refuse: Callable[[Fault], Answer]) -> Answer:
    """Make a call to the outside for the function that runs: take time, let others run, and let it go wrong.

    `refuse` answers as the service does when it fails. Raises NoAnswer.
    """
    invocation = getcurrent()
    if not isinstance(invocation, Invocation):
        return call()
    functions = invocation.functions
    fault = functions.faults.at(Site(invocation.name, service, operation))
    pause(functions.clock.random.expovariate(1 / _LATENCY))
    _fail_before(fault, invocation)
    if fault and fault not in IS_DONE:
        return refuse(fault)
    answer = call()
    if fault is Fault.KILLED_DURING:
        raise Killed("Sandbox.Timedout")
    pause(functions.clock.random.expovariate(1 / _LATENCY))
    if fault is Fault.KILLED_AFTER:
        raise Killed("Runtime.ExitError")
    if fault is Fault.LOST_ANSWER:
        raise NoAnswer
    return answer


def _fail_before(fault: Fault | None, invocation: Invocation) -> None:
    """Let a call go wrong before anybody has heard of it. Raises Killed or NoAnswer."""
    if fault is Fault.SLOW:
        pause(invocation.context.deadline)
    if fault is Fault.KILLED_BEFORE:
        raise Killed("Runtime.ExitError")
    if fault is Fault.NO_ANSWER:
        raise NoAnswer


def pause(seconds: float) -> None:
    """Let time pass for the function that runs; it ends there if its own time is over."""
    invocation = getcurrent()
    if not isinstance(invocation, Invocation):
        return
    functions = invocation.functions
    clock, left = functions.clock, invocation.context.deadline - functions.clock.now
    clock.after(min(seconds, left), invocation.switch)
    functions.loop.switch()
    if seconds >= left:
        raise Killed("Sandbox.Timedout")


@cache
def timeout_of(name: str) -> float:
    """Return for how many seconds a function may run."""
    return float(properties_of(name)["Timeout"])
