"""Step Functions: executions of the state machine, and the task tokens they wait for."""

import json
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.exceptions import ClientError

from launch_agent.clients.aws import CONFIG, error_code, translated

_SETTLED = frozenset({"TaskDoesNotExist", "TaskTimedOut", "InvalidToken"})


class StepFunctions:
    """The account's Step Functions. Every method may raise AwsThrottled."""

    def __init__(self) -> None:
        """Make the client; nothing is sent yet."""
        self._states = boto3.client("stepfunctions", config=CONFIG)

    def start(self, state_machine_arn: str, *, name: str, run: Mapping[str, Any]) -> bool:
        """Start the execution of a run; False when one of this name has been there, running or ended.

        A running one of the same input answers as the first call did, so a repeated call starts nothing twice
        (https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html).
        """
        try:
            with translated():
                self._states.start_execution(stateMachineArn=state_machine_arn, name=name, input=json.dumps(run))
        except ClientError as error:
            if error_code(error) != "ExecutionAlreadyExists":
                raise
            return False
        return True

    def answer(self, task_token: str, output: Mapping[str, Any]) -> bool:
        """Answer a task token; False when it was answered, or gave up waiting, before."""
        try:
            with translated():
                self._states.send_task_success(taskToken=task_token, output=json.dumps(output))
        except ClientError as error:
            if error_code(error) not in _SETTLED:
                raise
            return False
        return True
