"""Follows the execution of a run queue item, and SageMaker's status events, until all is known or takes too long."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from launch_agent.clients.executions import Executions, execution_arn
from launch_agent.clients.sagemaker import SageMaker
from launch_agent.errors import LaunchFailed
from launch_agent.outcome.judgement import STOPPED
from launch_agent.runs.record import execution_name
from operate.errors import CannotOperate
from operate.logs import fields_of, lines_of
from operate.verify.history import Events, failure, has_ended, state, training_job
from operate.verify.progress import Progress
from operate.verify.stack import Stack

Found = TypeVar("Found")

_PAUSE = 1.0
_QUEUE_SECONDS, _RUN_SECONDS, _EVENTS_SECONDS = 600, 3600, 15
_NO_ROOM = {
    "CapacityUnavailable": 'SageMaker has no room for the job: {} Ask for a higher quota "for training job usage" in '
    "the Service Quotas console, Amazon SageMaker, and try again.",
    "CodeBuild.AccountLimitExceededException": "CodeBuild has no room for the build: {} Ask for more concurrently "
    "running builds in the Service Quotas console, AWS CodeBuild, and try again.",
}
"""What a run waits for by itself, for hours."""


def follow(stack: Stack, item_id: str, progress: Progress) -> Events:
    """Return the history of an item's execution when that has ended. Raises CannotOperate for one that does not."""
    arn = execution_arn(stack.outputs["StateMachineArn"], execution_name(item_id, 1))
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
            f"No poll took the item {item_id} within {_QUEUE_SECONDS // 60} minutes. Look in W&B whether another "
            "launch agent took it, or as many runs are open as max_jobs in launch-config.yaml allows."
        )
    events = _wait(_RUN_SECONDS, ended)
    if not events:
        raise CannotOperate(
            f"The run has not ended within {_RUN_SECONDS // 60} minutes, and goes on. Look at its execution, {arn}, or "
            "stop it in W&B."
        )
    return events


def _doing(stack: Stack, events: Events) -> str:
    why, job = failure(events), training_job(events)
    if why and why.error != LaunchFailed.__name__:
        return f"{state(events)} failed and is tried again: {why.error}: {why.reason}"
    found = SageMaker(stack.name).describe(job) if job and state(events) == "Train" else None
    return f"{state(events)}: {found.secondary_status}" if found else state(events)


def statuses_seen(stack: Stack, item_id: str, since: datetime) -> list[str]:
    """Return the statuses of a training job of which the stack has had an event, by its log."""
    logs, group = stack.account.client("logs"), stack.outputs["FunctionsLogGroupName"]

    def look() -> list[str]:
        lines: list[Any] = [fields_of(text) for _, text in lines_of(logs, group, item_id, since)]
        return [line["secondary_status"] for line in lines if line.get("message") == "status seen"]

    _wait(_EVENTS_SECONDS, lambda: {"Completed", "Failed", "Stopped"} & set(look()))
    return look()


def _wait(seconds: float, look: Callable[[], Found | None]) -> Found | None:
    """Return what `look` finds, as soon as it does; None when it has found nothing for so long."""
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    return found
