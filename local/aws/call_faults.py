"""Injects faults into the functions' calls: the function dies, gets no answer, or gets a transaction conflict."""

import json
from collections.abc import Mapping
from typing import Any

from local.aws.functions import Functions
from local.loopback import Application, Message, Receive, body_of

_OF_S3 = {"DELETE": "DeleteObject", "GET": "ListObjectsV2", "HEAD": "HeadBucket", "PUT": "PutObject"}
"""The functions' calls of S3, whose requests do not name their operation."""


class CallFaults:
    """The planned faults, each {"function", "operation", "how", "times"}.

    `function` is a part of the function's name. `how` is `killed before`, `killed after`, `answer lost` or `conflict`.
    """

    def __init__(self, functions: Functions) -> None:
        """Plan no faults yet for the calls of these functions."""
        self._functions = functions
        self.planned: list[dict[str, Any]] = []

    def due(self, method: str, headers: Mapping[str, str]) -> dict[str, Any] | None:
        """Return the planned fault for a call, or None; count it as used."""
        environment = self._environment(headers)
        operation = headers.get("x-amz-target", "").rpartition(".")[2] or _OF_S3.get(method)
        for fault in self.planned:
            mine = environment and fault["function"] in environment.function and fault["operation"] == operation
            if mine and fault.get("times", 1) > 0:
                fault["times"] = fault.get("times", 1) - 1
                return fault
        return None

    async def fail(
        self, fault: Mapping[str, Any], headers: Mapping[str, str], app: Application, scope: Message, receive: Receive
    ) -> tuple[int, dict[str, Any]]:
        """Make a call fail; return the status and body of the answer."""
        if fault["how"] == "conflict":
            return 400, _conflict(json.loads(await body_of(receive)))
        if fault["how"] != "killed before":
            await app(scope, receive, _unheard)
        environment = self._environment(headers)
        if environment and fault["how"].startswith("killed"):
            environment.kill()
        return 503, {"__type": "ServiceUnavailable", "message": "the answer was lost on purpose"}

    def _environment(self, headers: Mapping[str, str]) -> Any:
        return self._functions.running.get(headers.get("x-amzn-trace-id", ""))


def _conflict(asked: dict[str, Any]) -> dict[str, Any]:
    """Return DynamoDB's error for a write that conflicts with another caller's transaction.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
    """
    message = "Transaction is ongoing for the item"
    if "TransactItems" not in asked:
        return {"__type": "com.amazonaws.dynamodb.v20120810#TransactionConflictException", "message": message}
    reasons = [
        {"Code": "TransactionConflict", "Message": message},
        *({"Code": "None"} for _ in asked["TransactItems"][1:]),
    ]
    codes = ", ".join(reason["Code"] for reason in reasons)
    return {
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]",
        "CancellationReasons": reasons,
    }


async def _unheard(message: Message) -> None:
    """Discard a message of the answer."""
