"""EventBridge's events, in the forms in tests/events; the form of each event is random."""

import json
import random
from collections.abc import Iterable
from typing import Any

from tests.documents import sample_event
from tests.simulation.machine import Execution
from tests.simulation.training import Job

_TIMES = ("CreationTime", "LastModifiedTime", "TrainingStartTime", "TrainingEndTime")


def scheduled() -> dict[str, Any]:
    """An event from EventBridge Scheduler."""
    return sample_event("scheduler")


def ticks(bodies: Iterable[str]) -> dict[str, Any]:
    """The messages from SQS with these bodies, as Lambda gives them to a function."""
    (record,) = sample_event("tick")["Records"]
    return {"Records": [{**record, "body": body} for body in bodies]}


def execution_ended(execution: Execution, draws: random.Random) -> dict[str, Any]:
    """The event for an execution that did not succeed; sometimes without its input, as if that were too long."""
    event = sample_event("execution_aborted")
    given = json.dumps(execution.input) if draws.random() < 0.8 else None
    event["detail"] |= {
        "executionArn": execution.arn,
        "name": execution.name,
        "status": execution.status,
        "input": given,
        "inputDetails": {"included": given is not None},
    }
    return event


def job_changed(job: Job, draws: random.Random) -> dict[str, Any]:
    """The event for a training job's status: with tags as a map, as a list or absent; with nulls or without the keys.

    Sometimes it contains an unreadable value.
    """
    event = sample_event("training_in_progress")
    as_time = draws.choice([int, str])
    shown = {key: as_time(int(value * 1000)) if key in _TIMES else value for key, value in job.shown.items()}
    shown["SecondaryStatusTransitions"] = [
        {key: int(value * 1000) if key == "StartTime" else value for key, value in each.items()}
        for each in job.shown["SecondaryStatusTransitions"]
    ]
    nulls = dict.fromkeys(event["detail"]) if draws.random() < 0.5 else {}
    tags = draws.choice([dict(job.tags), [{"Key": key, "Value": value} for key, value in job.tags.items()], None])
    detail = nulls | shown | ({"Tags": tags} if tags or nulls else {})
    if draws.random() < 0.1:
        detail["LastModifiedTime"] = "just now"
    return event | {"detail": detail, "resources": [job.shown["TrainingJobArn"]]}


def stack_change(kind: str, response_url: str) -> dict[str, Any]:
    """A request of CloudFormation's to a custom resource."""
    return {
        "RequestType": kind,
        "RequestId": "request",
        "ResponseURL": response_url,
        "StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/launch/1",
        "ResourceType": "Custom::LaunchAgent",
        "LogicalResourceId": "LaunchAgent",
        "PhysicalResourceId": "launch-agent",
        "ResourceProperties": {"ServiceToken": "arn", "ServiceTimeout": "600"},
    }
