"""Step Functions: executions of the state machine."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from botocore.exceptions import ClientError

from launch_agent.clients.aws import aws_client, translated


class Execution(NamedTuple):
    """An execution, and how it ended."""

    arn: str
    status: str
    error: str = ""
    cause: str = ""
    ended_at: datetime | None = None


def execution_arn(state_machine_arn: str, name: str) -> str:
    """Return the ARN of the execution with a name."""
    return f"{state_machine_arn.replace(':stateMachine:', ':execution:')}:{name}"


class Executions:
    """The executions of a state machine. Every method may raise AwsThrottled and AwsRefused."""

    def __init__(self) -> None:
        """Create the AWS client; nothing is sent yet."""
        self._states = aws_client("stepfunctions")

    def start(self, state_machine_arn: str, name: str, given: Mapping[str, str]) -> bool:
        """Start an execution. Return False if an execution of its name has ended, or has other input.

        If one with the same input is running, Step Functions answers as at the first call, so a repeated call is safe
        (https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html).
        """
        try:
            with translated("ExecutionAlreadyExists"):
                self._states.start_execution(stateMachineArn=state_machine_arn, name=name, input=json.dumps(given))
        except ClientError:
            return False
        return True

    def stop(self, execution_arn: str, *, error: str, cause: str) -> None:
        """Stop an execution, and the build it waits for. It is fine if it has ended or does not exist."""
        with suppress(ClientError), translated("ExecutionDoesNotExist"):
            self._states.stop_execution(executionArn=execution_arn, error=error, cause=cause)

    def find(self, execution_arn: str) -> Execution | None:
        """Return an execution, or None if it does not exist. Step Functions deletes it 90 days after its end."""
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
        """Yield the names of the running executions."""
        pages = self._states.get_paginator("list_executions").paginate(
            stateMachineArn=state_machine_arn, statusFilter="RUNNING"
        )
        with translated():
            for page in pages:
                yield from (execution["name"] for execution in page["executions"])
