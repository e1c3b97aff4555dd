"""DynamoDB: reads items, and changes them under conditions, one by one or several in one transaction."""

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

from botocore.exceptions import ClientError

from launch_agent.clients.attribute_values import attribute_value, plain_value
from launch_agent.clients.aws import aws_client, error_code, error_message, refused, translated
from launch_agent.errors import AwsRefused, AwsThrottled

_KEY = "pk"
_NOT_HELD = "ConditionalCheckFailedException"
_CANCELED = "TransactionCanceledException"
_CONFLICT = "TransactionConflictException"
_INVALID = "ValidationException"
_PASSING = frozenset({"ProvisionedThroughputExceeded", "ThrottlingError"})
_TOO_LARGE = "exceeded the maximum allowed size"
_TRIES = 5
_FIRST_PAUSE_SECONDS = 0.01


class ItemTooLarge(AwsRefused):
    """An item would be larger than 400 KB, DynamoDB's limit."""


class Table:
    """One table with the string key `pk`. Every method may raise AwsThrottled and AwsRefused."""

    def __init__(self, name: str) -> None:
        """Create the AWS client; nothing is sent yet."""
        self._name = name
        self._dynamodb = aws_client("dynamodb")
        self._dynamodb.meta.events.register("before-parse.dynamodb.Query", _take_items, unique_id="items")

    def get(self, key: str) -> dict[str, Any] | None:
        """Return an item without its key, or None."""
        with translated():
            answer = self._dynamodb.get_item(TableName=self._name, Key=_key(key), ConsistentRead=True)
        item = answer.get("Item")
        return _plain(item) if item else None

    def query(
        self,
        index: str,
        name: str,
        value: str,
        *,
        only: tuple[str, ...] = (),
        condition: str | None = None,
        known: Mapping[str, Any] | None = None,
        names: tuple[str, ...] = (),
    ) -> Iterator[dict[str, Any]]:
        """Yield the items of an index whose attribute `name` has a value. An item just written may be missing.

        Of each item, `only` these attributes are read, by default all; `a.b` is the attribute b of a map a. `condition`
        is one that the items fulfill, with words as in `change`.
        """
        paths = [path.split(".") for path in only]
        asked: Any = {
            "TableName": self._name,
            "IndexName": index,
            "KeyConditionExpression": f"#{name} = :{name}",
            **_words((name, *names, *(part for path in paths for part in path)), {name: value, **(known or {})}),
            "ProjectionExpression": ", ".join(".".join(f"#{part}" for part in path) for path in paths),
            "FilterExpression": condition,
        }
        asked = {name: value for name, value in asked.items() if value}
        with translated():
            for page in self._dynamodb.get_paginator("query").paginate(**asked):
                yield from (_plain(item) for item in page["Items"])

    def change(
        self,
        key: str,
        *,
        set_: Mapping[str, Any] | None = None,
        add: Mapping[str, int | set[str]] | None = None,
        delete: Mapping[str, set[str]] | None = None,
        remove: tuple[str, ...] = (),
        condition: str | None = None,
        known: Mapping[str, Any] | None = None,
        names: tuple[str, ...] = (),
    ) -> Any:
        """Return a change for `make`. In `condition`, `#x` is the attribute x, and `:x` its new or its known value.

        `names` are attributes that only the condition uses.
        """
        set_, add, delete = set_ or {}, add or {}, delete or {}
        clauses = [
            "SET " + ", ".join(f"#{name} = :{name}" for name in set_) if set_ else "",
            "ADD " + ", ".join(f"#{name} :{name}" for name in add) if add else "",
            "DELETE " + ", ".join(f"#{name} :{name}" for name in delete) if delete else "",
            "REMOVE " + ", ".join(f"#{name}" for name in remove) if remove else "",
        ]
        return {
            "TableName": self._name,
            "Key": _key(key),
            "UpdateExpression": " ".join(filter(None, clauses)),
            **_words((*set_, *add, *delete, *remove, *names), {**set_, **add, **delete, **(known or {})}),
            **({"ConditionExpression": condition} if condition else {}),
        }

    def make(self, *changes: Any) -> bool:
        """Make all of the changes. If a condition does not hold, make none and return False.

        Raises ItemTooLarge. If another write changes the same items, tries again for about a tenth of a second.
        """
        if len(changes) == 1:
            return _made(lambda: self._dynamodb.update_item(**changes[0]))
        updates: Any = [{"Update": change} for change in changes]
        return _made(lambda: self._dynamodb.transact_write_items(TransactItems=updates))

    def put(
        self,
        key: str,
        values: Mapping[str, Any],
        *,
        condition: str,
        known: Mapping[str, Any] | None = None,
        names: tuple[str, ...] = (),
    ) -> bool:
        """Store an item, and replace an existing one. Return False if the condition does not hold."""
        item: Any = {**_key(key), **{name: attribute_value(value) for name, value in values.items()}}
        words = _words(names, known or {})
        return _made(
            lambda: self._dynamodb.put_item(TableName=self._name, Item=item, ConditionExpression=condition, **words)
        )

    def delete(self, key: str, *, condition: str, known: Mapping[str, Any], names: tuple[str, ...]) -> bool:
        """Delete an item. Return False if the condition does not hold."""
        words = _words(names, known)
        return _made(
            lambda: self._dynamodb.delete_item(
                TableName=self._name, Key=_key(key), ConditionExpression=condition, **words
            )
        )


def _made(write: Callable[[], object]) -> bool:
    """Call `write`; return whether all conditions hold."""
    for number in range(_TRIES):
        try:
            with translated(_NOT_HELD, _CANCELED, _CONFLICT, _INVALID):
                write()
        except ClientError as error:
            reasons = _reasons_in(error)
            if "ConditionalCheckFailed" in reasons:
                return False
            if "TransactionConflict" not in reasons:
                raise _error_of(error, reasons) from None
        else:
            return True
        # Nothing retries a poll, and so short a wait costs less than a retry by the state machine.
        time.sleep(random.uniform(0, _FIRST_PAUSE_SECONDS * 2**number))  # noqa: S311 - only separates two writers
    raise AwsThrottled("DynamoDB: every try conflicted with other writes of the same items")


def _reasons_in(error: ClientError) -> dict[str, str]:
    """Return why a write failed, as codes with messages; a canceled transaction can have several."""
    alone = {_NOT_HELD: "ConditionalCheckFailed", _CONFLICT: "TransactionConflict", _INVALID: "ValidationError"}
    code = error_code(error)
    if code in alone:
        return {alone[code]: error_message(error)}
    listed = cast(Any, error.response).get("CancellationReasons", [])
    return {str(reason.get("Code")): str(reason.get("Message", "")) for reason in listed}


def _error_of(error: ClientError, reasons: Mapping[str, str]) -> AwsRefused | AwsThrottled:
    if _TOO_LARGE in reasons.get("ValidationError", ""):
        return ItemTooLarge(f"{error.operation_name}: {reasons['ValidationError']}")
    if _PASSING & reasons.keys():
        return AwsThrottled(f"{error.operation_name}: {', '.join(sorted(reasons))}")
    return refused(error)


def _take_items(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Take the items out of the answer to a query before botocore parses it.

    botocore takes a quarter of a second of a processor for 10,000 runs: it looks for each of the ten types that each
    attribute could have. It would return the same, as the attributes of an index are not binary.
    """
    if response_dict["status_code"] == 200:
        answer = json.loads(response_dict["body"])
        customized_response_dict["Items"] = answer.pop("Items")
        response_dict["body"] = json.dumps(answer).encode()


def _words(names: Iterable[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names and values in the expressions of a write. DynamoDB does not accept empty ones."""
    words = {
        "ExpressionAttributeNames": {f"#{name}": name for name in names},
        "ExpressionAttributeValues": {f":{name}": attribute_value(value) for name, value in values.items()},
    }
    return {kind: known for kind, known in words.items() if known}


def _key(key: str) -> Any:
    return {_KEY: attribute_value(key)}


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain_value(value) for name, value in item.items() if name != _KEY}
