"""Calls a handler as AWS's runtime client does. Used where that client has no wheel, as on macOS."""

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any


class _Fault(Exception):
    """An error of the runtime itself, with Lambda's name for it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Context:
    """The context of an invocation, for its handler."""

    client_context = identity = tenant_id = None

    def __init__(self, work: dict[str, Any]) -> None:
        """Read the invocation from `work`, and the rest from the environment."""
        self.aws_request_id, self.invoked_function_arn = work["request_id"], work["function_arn"]
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self._deadline: int = work["deadline_ms"]

    def get_remaining_time_in_millis(self) -> int:
        """Return the time that remains for the handler."""
        return max(0, self._deadline - int(time.time() * 1000))


def run(handler: str, receive: Callable[[], dict[str, Any]], send: Callable[..., None]) -> None:
    """Import the handler and call it for each received invocation; send its result or its error."""
    try:
        call = _imported(handler)
    except Exception as error:  # noqa: BLE001 - the function's own code can raise anything
        send("init error", json.dumps(_described(error, "")))
        sys.exit(1)
    while True:
        send("next")
        work = receive()
        os.environ["_X_AMZN_TRACE_ID"] = work.get("trace_id", "")
        try:
            send("result", _marshalled(call(json.loads(work["event"]), Context(work))))
        except Exception as error:  # noqa: BLE001 - the function's own code can raise anything
            described = _described(error, work["request_id"])
            print(f"[ERROR] {described['errorType']}: {described['errorMessage']}", *described["stackTrace"], sep="\n")
            send("error", json.dumps(described))


def _imported(handler: str) -> Callable[..., Any]:
    module, _, name = handler.rpartition(".")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module.replace("/", ".")), name)
    except ImportError as error:
        raise _Fault("Runtime.ImportModuleError", f"Unable to import module '{module}': {error}") from error
    except AttributeError as error:
        raise _Fault("Runtime.HandlerNotFound", f"Handler '{name}' missing on module '{module}'") from error
    return found


def _marshalled(answer: Any) -> str:
    try:
        return json.dumps(answer)
    except (TypeError, ValueError) as error:
        raise _Fault("Runtime.MarshalError", f"Unable to marshal response: {error}") from error


def _described(error: Exception, request_id: str) -> dict[str, Any]:
    frames = [
        (frame.filename, frame.lineno or 0, frame.name, frame.line)
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__
    ]
    return {
        "errorMessage": str(error),
        "errorType": error.kind if isinstance(error, _Fault) else type(error).__name__,
        "requestId": request_id,
        "stackTrace": [] if isinstance(error, _Fault) else traceback.format_list(frames),
    }
