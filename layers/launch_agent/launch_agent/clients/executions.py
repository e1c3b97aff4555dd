"""Step Functions: executions of the state machine."""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

import boto3
from botocore.exceptions import ClientError

from launch_agent.clients.aws import CONFIG, translated
from launch_agent.runs.record import RunRecord


class Execution(NamedTuple):
    """An execution, and how it ended."""

    arn: str
    status: str
    error: str = ""
    cause: str = ""
    ended_at: datetime | None = None


def execution_arn(state_machine_arn: str, name: str) -> str:
    """Return the ARN of an execution of a name."""
    return f"{state_machine_arn.replace(':stateMachine:', ':execution:')}:{name}"


class Executions:
    """The executions of a state machine. Every method may raise AwsThrottled and AwsRefused."""

    def __init__(self) -> None:
        """Make the client; nothing is sent yet."""
        self._states = boto3.client("stepfunctions", config=CONFIG)

    def start(self, state_machine_arn: str, record: RunRecord) -> bool:
        """Start the execution of an open run; False when one of its name has been there, running or ended.

        A running one of the same input answers as the first call did, so a repeated call starts nothing twice
        (https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html).
        """
        item = record.item
        run = {"run_queue_item_id": item.id, "run_id": item.run_id, "run_queue": item.queue}
        try:
            with translated("ExecutionAlreadyExists"):
                self._states.start_execution(
                    stateMachineArn=state_machine_arn, name=record.execution_name, input=json.dumps(run)
                )
        except ClientError:
            return False
        return True

    def stop(self, execution_arn: str, *, error: str, cause: str) -> None:
        """Stop an execution, and with it the build it waits for; one that has ended, or never was, is as wanted."""
        with suppress(ClientError), translated("ExecutionDoesNotExist"):
            self._states.stop_execution(executionArn=execution_arn, error=error, cause=cause)

    def find(self, execution_arn: str) -> Execution | None:
        """Return an execution; None when there is none, or has not been one for 90 days."""
        try:
            with translated("ExecutionDoesNotExist"):
                found = self._states.describe_execution(executionArn=execution_arn)
        except ClientError:
            return None
        return Execution(
            found["executionArn"],
            found["status"],
            found.get("error", ""),
            found.get("cause", ""),
            found.get("stopDate"),
        )

    def running(self, state_machine_arn: str) -> Iterator[str]:
        """Yield the names of the executions that run."""
        pages = self._states.get_paginator("list_executions").paginate(
            stateMachineArn=state_machine_arn, statusFilter="RUNNING"
        )
        with translated():
            for page in pages:
                yield from (execution["name"] for execution in page["executions"])
