"""A function's outputs: its log, and its errors."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError

from launch_agent.door import door, logger
from launch_agent.errors import TrainingJobRejected
from launch_agent.safe_text import keep_secret, safe

KEY = "local-8d3f0a6b5c1e29f7a4"
CONTEXT = cast(
    LambdaContext,
    SimpleNamespace(function_name="f", memory_limit_in_mb=512, invoked_function_arn="arn", aws_request_id="1"),
)
ECHO = {"Error": {"Code": "ValidationException", "Message": f"Value '{{WANDB_API_KEY={KEY}}}' at 'environment' failed"}}


def raises(error: Exception) -> Any:
    @door
    def handler(event: Any, context: LambdaContext) -> None:
        keep_secret(KEY)
        raise error

    return handler


@pytest.mark.parametrize(
    "error",
    [
        TrainingJobRejected(f"no {KEY}"),
        ClientError(cast(Any, ECHO), "CreateTrainingJob"),
        KeyError(KEY),
        ValueError({"Environment": {"K": KEY}}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_function_raises_keeps_its_name_and_has_no_secret(error: Exception) -> None:
    with pytest.raises(Exception, match=r"\*\*\*") as raised:
        raises(error)({}, CONTEXT)
    assert type(raised.value).__name__ == type(error).__name__
    assert KEY not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert Path(raised.traceback[-1].path).name == "test_door.py"


def test_what_is_logged_of_an_exception_and_its_causes_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", written)

    @door
    def handler(event: Any, context: LambdaContext) -> None:
        keep_secret(KEY)
        logger.append_keys(run_queue_item_id="item")
        try:
            raise TrainingJobRejected("no") from ClientError(cast(Any, ECHO), "CreateTrainingJob")  # noqa: TRY301
        except TrainingJobRejected:
            Logger(child=True).exception("the queue item could not be warned", request={"Environment": {"K": [KEY]}})

    handler({}, CONTEXT)
    (line,) = written.getvalue().splitlines()
    logged = json.loads(line)
    assert KEY not in line
    assert (logged["message"], logged["exception_name"]) == (
        "the queue item could not be warned",
        "TrainingJobRejected",
    )
    assert logged["request"] == {"Environment": {"K": ["***"]}}
    assert logged["run_queue_item_id"] == "item"


def test_an_invocation_knows_only_its_own_secrets() -> None:
    @door
    def handler(event: Any, context: LambdaContext) -> str:
        return safe(KEY)

    keep_secret(KEY)
    assert handler({}, CONTEXT) == KEY
