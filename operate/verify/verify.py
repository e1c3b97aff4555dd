"""`make verify`: queues one small job, follows it to its end, and shows what each step took and cost."""

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
This queues one small job in the run queue {queue}: code that logs one value to W&B. Its image is built, which takes \
some minutes the first time, and it trains for seconds on {instance}. It costs {cost}.
The job, its code and its run go into the project {entity}/{project} in W&B. Delete it when you no longer need it.
Ctrl-C ends watching, and not the run."""
_LEFT_BEHIND = """
If it was queued, the run {run_id} goes on, and costs what was said. To stop it, stop it in W&B: in the run queue \
{queue}, or at the run itself. What becomes of it: make logs STACK={stack} RUN={run_id}"""


def verify(name: str, region: str | None, *, queue: str, sure: bool, keep: str) -> None:
    """Prove a stack with one small job in a run queue, by default its first, after asking unless `sure`.

    `keep` names a file for the events that AWS sends; empty for none. Raises CannotOperate with what is wrong, and
    botocore's errors.
    """
    if not sure and not in_terminal():
        raise CannotOperate("There is no terminal to ask in. Say that you are sure with ARGS=--yes.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    account = Account(region)
    with Progress() as progress:
        progress.doing(f"Looking at the stack {name} of account {account.id}, region {account.region}")
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
    price = "a few cents" if small else "what these cost for some minutes"
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
            events = follow(stack, item_id, progress)
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
    """Raise CannotOperate with what went wrong, and what to do about it."""
    why = fault(events)
    if why:
        raise CannotOperate(f"{why} docs/errors.md has more about errors.")
    if not seen:
        raise CannotOperate(
            "The run ended well, but no status event of SageMaker reached the stack, so that every run ends minutes "
            "late. Check that the rule ResumeRunFunctionTrainingJobStateChange of the stack is enabled, and that its "
            "queue FailedEvents is empty."
        )


def _show(stack: Stack, events: Events, begin: datetime, seen: list[str]) -> None:
    """Print what each step took and cost, and which events arrived."""
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
        print(f"{'Build image':32}{'':6}    not needed: the image of an earlier run fits")
    if seen:
        print(f"{'Status events that arrived':32}{len(seen):6}    {', '.join(dict.fromkeys(seen))}")
    print(f"{'In all':32}{_since(begin, events[-1]):6.0f} s  {_price(total)}")
    say(f"The costs are estimates, by AWS's list prices of us-east-1 of {PRICES_OF}, without free tiers.")


def _since(begin: datetime, event: Any) -> float:
    return float((event["timestamp"] - begin).total_seconds())


def _price(dollars: float) -> str:
    return "a price that is not known here" if math.isnan(dollars) else f"about ${dollars:.3f}"
