"""Lambda: runs many real handlers at a time. Each pauses at every call to the outside, where a fault can happen."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

from greenlet import getcurrent, greenlet

from launch_agent.clients.parallel import CALLS_AT_ONCE
from tests.handlers import NAMES, loaded, properties_of
from tests.simulation.clock import Clock
from tests.simulation.faults import IS_DONE, Fault, Faults, Site
from tests.simulation.machine import Done, TaskFailed

Answer = TypeVar("Answer")
LATENCY = 0.02
"""How many seconds pass on average until a function begins, once it is invoked."""
_RECURSION_LIMIT = 1_000  # Python's default, which jsonata increases


class Latency(NamedTuple):
    """How many seconds a call to the outside takes on average."""

    wandb: float = 0.1
    aws: float = 0.015

    def of(self, service: str, operation: str) -> float:
        """Return the seconds of a call. The configuration of an image comes from AWS, but not through its client."""
        return self.wandb if service == "wandb" and operation != "image-config" else self.aws


class Killed(BaseException):
    """The function's environment was killed. No code in the function can catch this."""

    def __init__(self, error: str) -> None:
        """Use Lambda's name for the error."""
        super().__init__(error)
        self.error = error


class NoAnswer(Exception):
    """No answer came; the transport raises the client library's error for it."""


class Context:
    """The context that Lambda passes to a handler."""

    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:f"

    def __init__(self, clock: Clock, function: str, request_id: str, deadline: float) -> None:
        self.function_name, self.aws_request_id = function, request_id
        self._clock, self.deadline = clock, deadline

    def get_remaining_time_in_millis(self) -> int:
        """Return the function's remaining time."""
        return int((self.deadline - self._clock.now) * 1000)


class Invocation(greenlet):
    """One run of a handler."""

    def __init__(self, functions: "Functions", name: str, event: Any, done: Done) -> None:
        """Prepare to run a function on an event; call `done` at its end."""
        super().__init__(self._live, functions.loop)
        self.functions, self.name, self._event, self._done = functions, name, event, done
        clock = functions.clock
        self.context = Context(clock, name, f"request-{functions.number()}", clock.now + timeout_of(name))
        self.invocation, self.is_over = self, False

    def _live(self) -> None:
        result, failure = None, None
        sys.setrecursionlimit(_RECURSION_LIMIT)
        try:
            result = self.functions.modules[self.name].handler(self._event, self.context)
        except Killed as killed:
            failure = TaskFailed(killed.error, "the environment is gone")
        except Exception as error:  # noqa: BLE001 - Lambda reports any error of a handler
            failure = TaskFailed(type(error).__name__, json.dumps({"errorMessage": str(error)}))
        self.is_over = True
        self.functions.failed[self.name] += failure is not None
        self.functions.clock.after(0, lambda: self._done(result, failure))


class Worker(greenlet):
    """A thread of an invocation: makes calls of a list until none is left. If it is killed, so is the invocation."""

    def __init__(self, invocation: Invocation, calls: Iterator[Callable[[], None]]) -> None:
        """Take calls from `calls`, which other workers take from too."""
        super().__init__(self._live, invocation.functions.loop)
        self.invocation, self._calls = invocation, calls

    def _live(self) -> None:
        try:
            for call in self._calls:
                call()
        except Killed as killed:
            if not self.invocation.is_over:
                self.invocation.is_over = True
                self.invocation.functions.clock.after(0, partial(self.invocation.throw, killed))


class Pool(Executor):
    """Makes calls at the same time in virtual time, in the same order in every run."""

    def map(self, fn: Callable[..., Answer], *iterables: Iterable[Any], **_: Any) -> Iterator[Answer]:
        """Begin all calls; return an iterator of what they return, which raises what a call raised in its place."""
        calls = [partial(fn, *given) for given in zip(*iterables, strict=True)]
        invocation = getcurrent()
        if not isinstance(invocation, Invocation):
            return (call() for call in calls)
        ends, clock = dict[int, Callable[[], Answer]](), invocation.functions.clock
        waits: list[Invocation] = []

        def make(number: int) -> None:
            ends[number] = _end_of(calls[number])
            if waits and len(ends) == len(calls):
                clock.after(0, waits.pop().switch)

        def answers() -> Iterator[Answer]:
            if len(ends) < len(calls):
                waits.append(invocation)
                _wait(invocation)
            yield from (ends[number]() for number in range(len(calls)))

        left = iter([partial(make, number) for number in range(len(calls))])
        for _number in range(min(CALLS_AT_ONCE, len(calls))):
            clock.after(0, Worker(invocation, left).switch)
        return answers()


def _end_of(call: Callable[[], Answer]) -> Callable[[], Answer]:
    """Make a call; return a function that returns or raises the same."""
    try:
        answer = call()
    except Exception as error:  # noqa: BLE001 - it is raised where the answer is used
        return partial(_raise, error)
    return lambda: answer


def _raise(error: Exception) -> Any:
    raise error


class Functions:
    """The functions of one stack."""

    def __init__(self, environment: Mapping[str, str], clock: Clock, faults: Faults) -> None:
        """Load each function with its own variables of the stack's environment."""
        self.clock, self.faults, self.loop = clock, faults, getcurrent()
        self.duplicated: Collection[str] = ()
        """Functions whose invocations all happen twice, at about the same time."""
        self.failed: Counter[str] = Counter()
        """The number of failed invocations, by function."""
        self.latency = Latency()
        self.throttled_until = 0.0
        """Until this time, the account's concurrency limit is reached and every invocation is throttled."""
        self._count = 0
        self.modules = {name: loaded(name, environment) for name in NAMES}

    def number(self) -> int:
        self._count += 1
        return self._count

    def invoke(self, name: str, event: Any, done: Done) -> None:
        """Invoke a function with an event; call `done` at its end."""
        if self.clock.now < self.throttled_until:
            self.clock.after(0, lambda: done(None, TaskFailed("Lambda.TooManyRequestsException", "Rate Exceeded.")))
            return
        for each in (done, _ignore) if name in self.duplicated else (done,):
            invocation = Invocation(self, name, event, each)
            self.clock.after(self.clock.random.expovariate(1 / LATENCY), invocation.switch)


def _ignore(result: Any, failure: TaskFailed | None) -> None:
    """Ignore the end of an invocation."""


def outside(service: str, operation: str, call: Callable[[], Answer], refuse: Callable[[Fault], Answer]) -> Answer:
    """Make a call to the outside for the current function: let time pass, let others run, and apply a fault.

    `refuse` returns the service's own answer for a fault. Raises NoAnswer.
    """
    invocation = getattr(getcurrent(), "invocation", None)
    if invocation is None:
        return call()
    functions = invocation.functions
    fault = functions.faults.at(Site(invocation.name, service, operation))
    each_way = 2 / functions.latency.of(service, operation)
    pause(functions.clock.random.expovariate(each_way))
    _fail_before(fault, invocation)
    if fault and fault not in IS_DONE:
        return refuse(fault)
    answer = call()
    if fault is Fault.KILLED_DURING:
        raise Killed("Sandbox.Timedout")
    pause(functions.clock.random.expovariate(each_way))
    if fault is Fault.KILLED_AFTER:
        raise Killed("Runtime.ExitError")
    if fault is Fault.LOST_ANSWER:
        raise NoAnswer
    return answer


def _fail_before(fault: Fault | None, invocation: Invocation) -> None:
    """Apply a fault that happens before the call takes effect. Raises Killed or NoAnswer."""
    if fault is Fault.SLOW:
        pause(invocation.context.deadline)
    if fault is Fault.KILLED_BEFORE:
        raise Killed("Runtime.ExitError")
    if fault is Fault.NO_ANSWER:
        raise NoAnswer


def _wait(invocation: Invocation) -> None:
    """Let others run until this is switched to. The keys of its log lines are then its own again, as in Lambda."""
    formatter = sys.modules["launch_agent.door"].logger.registered_formatter
    keys = formatter.log_format
    invocation.functions.loop.switch()
    formatter.log_format = keys


def pause(seconds: float) -> None:
    """Let time pass for the current function, or its worker; it ends if its time limit is reached."""
    current = getcurrent()
    invocation = getattr(current, "invocation", None)
    if invocation is None:
        return
    functions = invocation.functions
    clock, left = functions.clock, invocation.context.deadline - functions.clock.now
    clock.after(min(seconds, left), current.switch)
    _wait(invocation)
    if invocation.is_over or seconds >= left:
        raise Killed("Sandbox.Timedout")


@cache
def timeout_of(name: str) -> float:
    """Return a function's time limit in seconds."""
    return float(properties_of(name)["Timeout"])
