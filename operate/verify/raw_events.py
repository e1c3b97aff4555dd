"""Collects the events that AWS sends about a run, through a temporary queue, and replaces the ids in them."""

import json
import re
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from operate.errors import CannotOperate
from operate.verify.stack import Stack

_ENDED = {"Completed", "Failed", "Stopped", "SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT"}
_SECONDS = 60
_ID = re.compile(
    r"(?<![0-9A-Za-z])(?:(?P<kind>(?:vpc|subnet|sg)-)[0-9a-f]{8,17}|\d{12}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"(?![0-9A-Za-z])"
)
"""Ids of networks and events, and account numbers."""


@contextmanager
def raw_events(stack: Stack, run_id: str, path: Path, stand_ins: Mapping[str, str]) -> Iterator[None]:
    """Write the events about a run's training job and execution during the block to a JSON file.

    `stand_ins` maps further texts to their replacements. The rule and the queue are deleted at the end. Raises
    CannotOperate if the file cannot be written.
    """
    try:
        path.touch()
    except OSError as error:
        raise CannotOperate(f"{path} cannot be written: {error.strerror}.") from None
    events, sqs = stack.account.client("events"), stack.account.client("sqs")
    name = f"{stack.name[:40]}-{run_id}"
    of_run = [{"TrainingJobName": [{"prefix": run_id}]}, {"stateMachineArn": [stack.outputs["StateMachineArn"]]}]
    pattern = {"source": ["aws.sagemaker", "aws.states"], "detail": {"$or": of_run}}
    with ExitStack() as after:
        rule = events.put_rule(Name=name, EventPattern=json.dumps(pattern), Description="Temporary, of make verify")[
            "RuleArn"
        ]
        after.callback(events.delete_rule, Name=name)
        queue_arn = rule.replace(":events:", ":sqs:").replace(":rule/", ":")
        policy = json.dumps(_policy(rule, queue_arn))
        queue = sqs.create_queue(QueueName=name, Attributes={"Policy": policy})["QueueUrl"]
        after.callback(sqs.delete_queue, QueueUrl=queue)
        events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": queue_arn}])
        after.callback(events.remove_targets, Rule=name, Ids=["queue"])
        seconds = 0
        try:
            yield
            seconds = _SECONDS
        except KeyboardInterrupt:
            # A second Ctrl-C must not prevent the removal of the rule and the queue.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            raise
        finally:
            received = _received(sqs, queue, run_id, seconds)
            path.write_text(without_ids(json.dumps(received, indent=2), stand_ins) + "\n")


def _policy(rule: str, queue: str) -> dict[str, Any]:
    """Return the queue policy that lets a rule send to the queue; without it, EventBridge drops the events."""
    allow = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage"}
    statement = {**allow, "Resource": queue, "Condition": {"ArnEquals": {"aws:SourceArn": rule}}}
    return {"Version": "2012-10-17", "Statement": [statement]}


def _received(sqs: Any, queue: str, run_id: str, seconds: float) -> list[dict[str, Any]]:
    """Return a run's events, sorted by time; wait at most this long for those of its end."""
    found: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + seconds
    while True:
        messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
        found |= {each["MessageId"]: json.loads(each["Body"]) for each in messages if run_id in each["Body"]}
        for each in messages:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=each["ReceiptHandle"])
        begun, ended = ({each["source"] for each in found.values() if is_so(each)} for is_so in (bool, _has_ended))
        if not messages and ((begun and begun == ended) or time.monotonic() > deadline):
            return sorted(found.values(), key=lambda event: str(event["time"]))


def _has_ended(event: Mapping[str, Any]) -> bool:
    return bool(_ENDED & {event["detail"].get("TrainingJobStatus"), event["detail"].get("status")})


def without_ids(text: str, stand_ins: Mapping[str, str]) -> str:
    """Replace each id, always with the same replacement, and each text that has a stand-in."""
    for known, stand_in in stand_ins.items():
        text = text.replace(known, stand_in)
    numbers: dict[str, str] = {}

    def stand_in_for(found: re.Match[str]) -> str:
        number, kind = numbers.setdefault(found[0], str(len(numbers) + 1)), found["kind"] or ""
        zeros = re.sub("[0-9a-f]", "0", found[0].removeprefix(kind))
        return kind + zeros[: -len(number)] + number

    return _ID.sub(stand_in_for, text)
