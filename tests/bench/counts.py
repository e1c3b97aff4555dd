"""What AWS charges for, counted in the simulated world: in an hour of an idle stack, and for a job."""

from collections.abc import Callable
from typing import Any

from tests.bench.prices import assumed
from tests.bench.simulated import Meter, simulated
from tests.handlers import NAMES, properties_of
from tests.simulation.dynamodb import size_of
from tests.simulation.events import scheduled
from tests.simulation.training import Script
from tests.simulation.world import HOUR, MINUTE, World

Counts = dict[str, float]
"""Quantities by the names of their prices."""
_COURSE = Script(pending=60, training=3600, uploading=60)
_S3_WRITES, _S3_READS = ("s3.PutObject", "s3.ListObjectsV2"), ("s3.GetObject", "s3.HeadBucket", "s3.image-config")
_GB = 1e9


def of_idle_hour(interval: int) -> Counts:
    """Return the counts of an hour without jobs, with a poll every `interval` seconds."""
    return _of_hours(1, interval, lambda _: None)


def of_job(jobs: int = 10) -> Counts:
    """Return the counts of a job that trains for an hour, beyond those of an idle stack: the average of `jobs`."""

    def push(made: World) -> None:
        for _ in range(jobs):
            made.push()

    idle, busy = (_of_hours(2, int(MINUTE), begin) for begin in (lambda _: None, push))
    return {name: (busy[name] - idle[name]) / (1 if name == "metrics" else jobs) for name in busy}


def _of_hours(hours: int, interval: int, begin: Callable[[World], None]) -> Counts:
    with simulated(interval=interval, script=_COURSE) as (made, meter):
        (stack,) = made.stacks.values()
        sent, stored = _sent(made), sum(map(size_of, stack.table.items.values()))
        begin(made)
        for _ in range(int(hours * HOUR / MINUTE)):
            made.invoke(stack, "advance_sweeps", scheduled())  # the world does so only if there are sweeps
            made.clock.run(MINUTE)
        ticks = meter.invocations["poll_queues"] - hours * HOUR / MINUTE if interval < MINUTE else 0
        return {
            **_of_functions(meter),
            "transitions": sum(len(each.path) for each in stack.machine.executions.values()),
            "sqs_requests": _sqs_requests(meter, ticks, hours),
            "dynamodb_gb": (sum(map(size_of, stack.table.items.values())) - stored) / _GB,
            "transfer_gb": sum(sent) / _GB,
        }


def _of_functions(meter: Meter) -> Counts:
    """Return the counts of the functions and their calls."""
    calls, invocations = meter.requests, meter.invocations.total()
    return {
        "lambda_requests": invocations,
        "lambda_gb_seconds": sum(
            (meter.seconds[name] + meter.worked(name)) * properties_of(name)["MemorySize"] / 1024 for name in NAMES
        ),
        "events": calls["eventbridge.PutEvents"],
        "dynamodb_reads": meter.units.read,
        "dynamodb_writes": meter.units.written,
        "log_gb": (meter.logged_bytes + invocations * assumed("lambda_log_bytes")) / _GB,
        "metrics": len({name for _, name in meter.metric_hours}),
        "secret_requests": calls["secrets-manager.GetSecretValue"],
        "s3_writes": sum(calls[operation] for operation in _S3_WRITES),
        "s3_reads": sum(calls[operation] for operation in _S3_READS),
    }


def _sqs_requests(meter: Meter, ticks: float, hours: int) -> float:
    """Return the requests for ticks: Lambda asks for them all the time, and receives and deletes each of them."""
    asked = assumed("sqs_long_polls_at_a_time") * hours * HOUR / assumed("sqs_long_poll_seconds")
    return meter.requests["sqs.SendMessageBatch"] + 2 * ticks + asked if ticks else 0


def _sent(made: World) -> list[float]:
    """Return a list that gets the size of each request to W&B from now on."""
    sent, answer = list[float](), made.answer

    def measured(*asked: Any) -> Any:
        if len(asked) == 4:  # a request to W&B
            sent.append(len(asked[3]) + assumed("request_overhead_bytes"))
        return answer(*asked)

    made.answer = measured  # type: ignore[method-assign]
    return sent
