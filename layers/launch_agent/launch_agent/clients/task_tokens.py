"""Step Functions: the task tokens that executions wait for."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from launch_agent.clients.aws import aws_client, translated
from launch_agent.safe_text import safe, safe_json

_SETTLED = ("TaskDoesNotExist", "TaskTimedOut", "InvalidToken")


class TaskTokens:
    """The task tokens of executions. Every method may raise AwsThrottled and AwsRefused."""

    def __init__(self) -> None:
        """Create the AWS client; nothing is sent yet."""
        self._states = aws_client("stepfunctions")

    def answer(self, task_token: str, output: Mapping[str, Any]) -> bool:
        """Answer a task token. Return False if it was answered before or has timed out."""
        return self._settle(self._states.send_task_success, taskToken=task_token, output=json.dumps(safe_json(output)))

    def fail(self, task_token: str, *, error: str, cause: str) -> bool:
        """Answer a task token with an error that the state machine retries. Returns as `answer` does."""
        return self._settle(self._states.send_task_failure, taskToken=task_token, error=error, cause=safe(cause))

    def _settle(self, answer: Callable[..., object], **how: str) -> bool:
        try:
            with translated(*_SETTLED):
                answer(**how)
        except ClientError:
            return False
        return True
