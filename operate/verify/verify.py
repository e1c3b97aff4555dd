"""`make verify`: queues one small job, follows it to its end, and shows each step's time and cost."""

import math
import secrets
import signal
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from operate.account import Account
from operate.dialogue import confirm, in_terminal, say
from operate.errors import CannotOperate
from operate.verify.checks import Target, checked
from operate.verify.following import follow, statuses_seen
from operate.verify.history import PRICES_OF, Events, cost, fault, steps, training_job
from operate.verify.progress import Progress
from operate.verify.queueing import INSTANCE, PROJECT, overrides, queued
from operate.verify.raw_events import raw_events
from operate.verify.stack import Stack

_ANNOUNCEMENT = """
This queues one small job in the run queue {queue}: code that logs one value to W&B. Building its image takes some \
minutes the first time. The job trains for seconds on {instance}. It costs {cost}.
The job, its code and its run go into the project {entity}/{project} in W&B. Delete it when you no longer need it.
Ctrl-C stops watching; the run continues."""
_LEFT_BEHIND = """
If the run {run_id} was queued, it continues, at the cost stated above. To stop it, use the run queue {queue} or the \
run's page in W&B. To see its progress: make logs STACK={stack} RUN={run_id}"""


def verify(name: str, region: str | None, *, queue: str, sure: bool, keep: str) -> None:
    """Test a stack with one small job, after asking unless `sure`. `queue` is empty for the stack's first run queue.

    `keep` names a file for the events that AWS sends; empty to keep no events. Raises CannotOperate if the stack does
    not work, and botocore's errors.
    """
    if not sure and not in_terminal():
        raise CannotOperate("There is no terminal to ask in. Confirm with ARGS=--yes.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    account = Account(region)
    with Progress() as progress:
        progress.doing(f"Reading the stack {name} of account {account.id}, region {account.region}")
        stack = Stack.deployed(name, account)
        target = checked(stack, queue, progress)
        progress.doing("")
        _announce(target)
        if not sure and not confirm("Queue it now?", default=True):
            raise CannotOperate("Nothing was queued.")
        _run(stack, target, keep, progress)


def _announce(target: Target) -> None:
    small = "ResourceConfig" in overrides(target.queue.config)
    instance = f"one {INSTANCE}" if small else "the instances that the queue configures"
    price = "a few cents" if small else "their price for some minutes"
    queue, entity = target.queue.name, target.entity
    say(_ANNOUNCEMENT.format(queue=queue, instance=instance, cost=price, entity=entity, project=PROJECT))


def _run(stack: Stack, target: Target, keep: str, progress: Progress) -> None:
    run_id, begin = f"verify-{secrets.token_hex(4)}", datetime.now(UTC)
    stand_ins = {target.api_key: "hidden", run_id: "verify-run"}
    try:
        with raw_events(stack, run_id, Path(keep), stand_ins) if keep else nullcontext():
            progress.doing(f"Queueing the job in {target.queue.name}")
            item_id = queued(target, run_id)
            stand_ins[item_id.rstrip("=")] = "RunQueueItem"
            events = follow(stack, item_id, run_id, progress)
            progress.doing("Looking for SageMaker's status events in the stack's log")
            seen = statuses_seen(stack, item_id, begin) if training_job(events) else []
            progress.doing("Receiving the last events" if keep else "")
    except KeyboardInterrupt:
        progress.doing("")
        say(_LEFT_BEHIND.format(queue=target.queue.name, run_id=run_id, stack=stack.name))
        raise
    progress.doing("")
    _show(stack, events, begin, seen)
    _judge(events, seen)
    say(f"\nIt works. The run is in W&B: {target.entity}/{PROJECT}/{run_id}")


def _judge(events: Events, seen: list[str]) -> None:
    """Raise CannotOperate if something went wrong; the message says what to do about it."""
    why = fault(events)
    if why:
        raise CannotOperate(f"{why} docs/errors.md explains the errors.")
    if not seen:
        raise CannotOperate(
            "The run finished, but no status event from SageMaker reached the stack, so every run is reported minutes "
            "late. Check that the stack's rule ResumeRunFunctionTrainingJobStateChange is enabled, and that its queue "
            "FailedEvents is empty."
        )


def _show(stack: Stack, events: Events, begin: datetime, seen: list[str]) -> None:
    """Print each step's time and cost, and the events that arrived."""
    name, job = training_job(events), dict[str, Any]()
    if name:
        job = stack.account.client("sagemaker").describe_training_job(TrainingJobName=name)
    print(f"\n{'Queueing, and waiting for a poll':32}{_since(begin, events[0]):6.0f} s")
    total, done = 0.0, steps(events)
    for step in done:
        dollars, what = cost(step, stack.parameters["BuildComputeType"], job)
        total += dollars
        price = f"  {_price(dollars)} for {what}" if what else ""
        print(f"{step.name:32}{step.seconds:6.0f} s{price}")
    if name and "Build image" not in [step.name for step in done]:
        print(f"{'Build image':32}{'':6}    not needed: an earlier run built the image")
    if seen:
        print(f"{'Status events that arrived':32}{len(seen):6}    {', '.join(dict.fromkeys(seen))}")
    print(f"{'Total':32}{_since(begin, events[-1]):6.0f} s  {_price(total)}")
    say(f"Costs are estimates from AWS's list prices in us-east-1, {PRICES_OF}, without free tiers.")


def _since(begin: datetime, event: Any) -> float:
    return float((event["timestamp"] - begin).total_seconds())


def _price(dollars: float) -> str:
    return "an unknown price" if math.isnan(dollars) else f"about ${dollars:.3f}"
