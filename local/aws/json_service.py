"""The base of all services implemented here: AWS's JSON protocol, and checks against the service's own model."""

import asyncio
import contextvars
import json
from collections.abc import Awaitable, Callable
from typing import Any

from local.aws.iam import Denied
from local.aws.service_limits import WrongType, violations

Operation = Callable[[dict[str, Any], dict[str, str]], dict[str, Any]]
Answer = tuple[int, dict[str, str], bytes]


class Refused(Exception):
    """The service refuses a request, with an error code and a message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class JsonService:
    """Answers the API calls of one service."""

    def __init__(self, service: str, operations: dict[str, Operation], *, invalid: str, otherwise: Any = None) -> None:
        """Answer `operations`, each a function of the request and its headers.

        `invalid` is the service's error code for a request that breaks its model. `otherwise` handles all other
        operations.
        """
        self._service, self._operations, self._invalid, self._otherwise = service, operations, invalid, otherwise

    async def handle(self, method: str, path: str, headers: dict[str, str], body: bytes, query_params: Any) -> Answer:
        """Answer one call, with the signature that ministack requires."""
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        if operation not in self._operations and self._otherwise:
            answered: Awaitable[Answer] = self._otherwise(method, path, headers, body, query_params)
            return await answered
        status, answer = 200, {}
        try:
            run = contextvars.copy_context().run
            answer = await asyncio.to_thread(run, self._answer, operation, json.loads(body or b"{}"), headers)
        except Refused as error:
            status, answer = 400, {"__type": error.code, "message": str(error)}
        except Denied as error:
            status, answer = 400, {"__type": "AccessDeniedException", "message": str(error)}
        return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(answer).encode()

    def _answer(self, operation: str, asked: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        if operation not in self._operations:
            raise Refused("UnknownOperationException", operation)
        try:
            violated = violations(self._service, operation, asked)
        except WrongType as error:
            raise Refused("SerializationException", str(error)) from error
        if violated:
            raise Refused(self._invalid, violated)
        return self._operations[operation](asked, headers)
