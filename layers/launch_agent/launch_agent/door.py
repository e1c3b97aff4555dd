"""Wraps every function: no log line and no exception that leaves a function has a secret in it.

Handlers import this module first, and wrap themselves last, when their step exists. In between, the garbage collector
is off: what a function creates while it starts stays, and looking for garbage in it takes a seventh of the start.
"""

import gc
import json
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from launch_agent.safe_text import forget_secrets, safe, safe_json

gc.disable()

Answer = TypeVar("Answer")
Handler = Callable[[Any, LambdaContext], Answer]

_MAX_LOGGED = 20_000


def _serialized(record: Any) -> str:
    plain = json.loads(json.dumps(record, default=str))
    return json.dumps(safe_json(plain, limit=_MAX_LOGGED), separators=(",", ":"), ensure_ascii=False)


logger = Logger(json_serializer=_serialized)
"""The logger of every function. The loggers of the steps are its children."""


def door(handler: Handler[Answer]) -> Handler[Answer]:
    """Wrap a handler, so that an exception it raises keeps its name and has a text without secrets.

    Lambda writes an exception's text into the log, and Step Functions writes it into the execution's history.
    """
    if not gc.isenabled():
        gc.freeze()  # later collections do not look at what exists now
        gc.enable()

    @logger.inject_lambda_context(clear_state=True)
    @wraps(handler)
    def guarded(event: Any, context: LambdaContext) -> Answer:
        forget_secrets()
        try:
            return handler(event, context)
        except Exception as error:  # noqa: BLE001 - the text of any exception leaves the function
            raise _safe(error).with_traceback(error.__traceback__) from None

    return guarded


def _safe(error: Exception) -> Exception:
    """Return an exception of the same name with a safe text, and without the chain of exceptions that caused it."""
    raised: Exception = type(type(error).__name__, (Exception,), {})(safe(str(error)))
    return raised
