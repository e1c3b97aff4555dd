"""The request units that DynamoDB charges for the requests to a table."""

import math
from collections.abc import Mapping
from typing import Any

from tests.documents import runs_table
from tests.simulation.dynamodb import Item, Table, size_of

_READ_BYTES, _WRITE_BYTES = 4096, 1024
_LEFT_OUT = ("FilterExpression", "ProjectionExpression")
"""What changes the answer to a query, and not its price."""
(_INDEX,) = runs_table()["GlobalSecondaryIndexes"]
_INDEX_KEY = _INDEX["KeySchema"][0]["AttributeName"]
_PROJECTED = {"pk", _INDEX_KEY, *_INDEX["Projection"]["NonKeyAttributes"]}


class Units:
    """The units of all requests to a table since this was made."""

    def __init__(self, table: Table) -> None:
        """Count the requests to a table from now on."""
        self.read = self.written = 0.0
        self._items, self._answer = table.items, table.answer
        table.answer = self.answer  # type: ignore[method-assign]

    def answer(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a request to the table. Raises Refused; a refused write is not free, and counts as if it were made."""
        if operation in ("GetItem", "Query"):
            whole = self._answer(operation, {name: value for name, value in asked.items() if name not in _LEFT_OUT})
            size = sum(map(size_of, whole.get("Items", [whole.get("Item", {})])))
            self.read += max(1, math.ceil(size / _READ_BYTES)) / (1 if asked.get("ConsistentRead") else 2)
            return self._answer(operation, asked)
        writes = [next(iter(each.values())) for each in asked.get("TransactItems", [])]
        keys = [(each.get("Key") or each["Item"])["pk"]["S"] for each in writes or [asked]]
        before = [self._items.get(key, {}) for key in keys]
        try:
            return self._answer(operation, asked)
        finally:
            for key, former in zip(keys, before, strict=True):
                self.written += _units(former, self._items.get(key, {})) * (2 if writes else 1)


def _units(before: Item, after: Item) -> int:
    """Return the units of a write to an item, which may change the index too."""
    units = _writes(max(size_of(before), size_of(after)))
    shown = [_shown(before), _shown(after)]
    return units + (_writes(max(map(size_of, shown))) if shown[0] != shown[1] else 0)


def _shown(item: Item) -> Item:
    """Return the part of an item that the index has."""
    return {name: value for name, value in item.items() if name in _PROJECTED} if _INDEX_KEY in item else {}


def _writes(size: int) -> int:
    return max(1, math.ceil(size / _WRITE_BYTES))
