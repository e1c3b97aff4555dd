"""Follows a run queue item's execution until it ends or takes too long, and finds SageMaker's status events."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from launch_agent.clients.executions import Executions, execution_arn
from launch_agent.clients.sagemaker import SageMaker
from launch_agent.errors import LaunchFailed
from launch_agent.outcome.judgement import STOPPED
from launch_agent.runs.execution import execution_name
from operate.errors import CannotOperate
from operate.logs import fields_of, lines_of
from operate.verify.history import Events, failure, has_ended, state, training_job
from operate.verify.progress import Progress
from operate.verify.stack import Stack

Found = TypeVar("Found")

_PAUSE = 1.0
_QUEUE_SECONDS, _RUN_SECONDS, _EVENTS_SECONDS = 600, 3600, 15
_NO_ROOM = {
    "CapacityUnavailable": 'SageMaker has no capacity for the job: {} Request a higher quota "for training job usage" '
    "in the Service Quotas console, Amazon SageMaker, and try again.",
    "CodeBuild.AccountLimitExceededException": "CodeBuild has no capacity for the build: {} Request more concurrently "
    "running builds in the Service Quotas console, AWS CodeBuild, and try again.",
}
"""The errors that an execution would retry for hours."""


def follow(stack: Stack, item_id: str, run_id: str, progress: Progress) -> Events:
    """Wait for an item's execution to end; return its history. Raises CannotOperate if it does not end in time."""
    arn = execution_arn(stack.outputs["StateMachineArn"], execution_name(item_id, run_id, 1))
    states = stack.account.client("stepfunctions")

    def look() -> Events | None:
        try:
            pages = states.get_paginator("get_execution_history").paginate(executionArn=arn)
            return [event for page in pages for event in page["events"]]
        except states.exceptions.ExecutionDoesNotExist:
            return None

    def ended() -> Events | None:
        events = look() or []
        progress.doing(_doing(stack, events))
        why = failure(events)
        if why and why.error in _NO_ROOM:
            Executions().stop(arn, error=STOPPED, cause="make verify does not wait for a quota.")
            raise CannotOperate(_NO_ROOM[why.error].format(why.reason))
        return events if has_ended(events) else None

    progress.doing("Waiting for a poll to take the item from the queue")
    if not _wait(_QUEUE_SECONDS, look):
        raise CannotOperate(
            f"No poll took the item {item_id} within {_QUEUE_SECONDS // 60} minutes. Check in W&B whether another "
            "launch agent took it, and whether max_jobs in launch-config.yaml allows another run."
        )
    events = _wait(_RUN_SECONDS, ended)
    if not events:
        raise CannotOperate(
            f"The run has not ended within {_RUN_SECONDS // 60} minutes, and is still running. Check its execution, "
            f"{arn}, or stop it in W&B."
        )
    return events


def _doing(stack: Stack, events: Events) -> str:
    why, job = failure(events), training_job(events)
    if why and why.error != LaunchFailed.__name__:
        return f"{state(events)} failed and will be retried: {why.error}: {why.reason}"
    found = SageMaker(stack.name).describe(job) if job and state(events) == "Train" else None
    return f"{state(events)}: {found.secondary_status}" if found else state(events)


def statuses_seen(stack: Stack, item_id: str, since: datetime) -> list[str]:
    """Return the training job's statuses that events have reported to the stack, according to its log."""
    logs, group = stack.account.client("logs"), stack.outputs["FunctionsLogGroupName"]

    def look() -> list[str]:
        lines: list[Any] = [fields_of(text) for _, text in lines_of(logs, group, item_id, since)]
        return [line["secondary_status"] for line in lines if line.get("message") == "status seen"]

    _wait(_EVENTS_SECONDS, lambda: {"Completed", "Failed", "Stopped"} & set(look()))
    return look()


def _wait(seconds: float, look: Callable[[], Found | None]) -> Found | None:
    """Call `look` until it finds something; return that, or a false value after this many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    return found
