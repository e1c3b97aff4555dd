"""A DynamoDB table in memory, with the operations, expressions and limits that the application needs.

moto copies its whole table for each transaction, which is too slow for thousands of runs. The tests of the table's
client use both.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from itertools import accumulate
from typing import Any

Item = dict[str, dict[str, Any]]
Names = Mapping[str, str]
Values = Mapping[str, dict[str, Any]]
Condition = Callable[[Item, Names, Values], bool]

_TOKEN = re.compile(r"\s*(\(|\)|,|<=|>=|<>|<|>|=|[#:]?\w+)")
_CLAUSE = re.compile(r"\b(SET|ADD|DELETE|REMOVE)\b")
_MAX_ITEM = 400 * 1024
_MAX_PAGE = 1024 * 1024
_MAX_KEY = 2048
_KEY_TOO_LONG = (
    "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes"
)


class Refused(Exception):
    """An error from DynamoDB, with the additional fields of its answer."""

    def __init__(self, code: str, message: str = "", **more: Any) -> None:
        super().__init__(message or code)
        self.code, self.more = code, more


class Table:
    """One table, with a string `pk` as its key and sparse indexes."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        """Create a table with these properties from the template."""
        (key,) = properties["KeySchema"]
        self._key = key["AttributeName"]
        self._indexes = {
            index["IndexName"]: (
                index["KeySchema"][0]["AttributeName"],
                {self._key, *index["Projection"].get("NonKeyAttributes", [])},
            )
            for index in properties.get("GlobalSecondaryIndexes", [])
        }
        self.items: dict[str, Item] = {}
        self._indexed: dict[str, dict[str, Item]] = {name: {} for name in self._indexes}

    def answer(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one request. Raises Refused."""
        if operation == "GetItem":
            found = self.items.get(asked["Key"][self._key]["S"])
            return {"Item": found} if found else {}
        if operation == "Query":
            return self._query(asked)
        if operation == "TransactWriteItems":
            return self._transact([next(iter(each.items())) for each in asked["TransactItems"]])
        kind = operation.removesuffix("Item")
        if not self._holds(asked, self._key_of(kind, asked)):
            raise Refused("ConditionalCheckFailedException", "The conditional request failed")
        written = self._written(kind, asked)
        if problem := _problem(kind, written):
            raise Refused("ValidationException", problem)
        self._store(self._key_of(kind, asked), written)
        return {}

    def _query(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        hash_key, projected = self._indexes[asked["IndexName"]]
        name, _, value = asked["KeyConditionExpression"].split()
        if asked["ExpressionAttributeNames"][name] != hash_key:
            raise Refused("ValidationException", "Query condition missed key schema element")
        wanted = asked["ExpressionAttributeValues"][value]
        found = (item for item in self._indexed[asked["IndexName"]].values() if item.get(hash_key) == wanted)
        shown = [{k: v for k, v in item.items() if k in projected or k == hash_key} for item in found]
        after = asked.get("ExclusiveStartKey")
        start = next(n for n, item in enumerate(shown, 1) if item[self._key] == after[self._key]) if after else 0
        page = self._page(shown[start:], hash_key)
        # Only after the page was read: what is left out is read, and paid for.
        return {**page, "Items": [_asked_of(item, asked) for item in page["Items"] if _fulfills(item, asked)]}

    def _page(self, items: list[Item], hash_key: str) -> dict[str, Any]:
        """Return the first items of a query, as many as DynamoDB reads at a time, and where the next page begins."""
        sizes = accumulate(map(size_of, items))
        page = [item for item, size in zip(items, sizes, strict=True) if size <= _MAX_PAGE]
        more = {name: page[-1][name] for name in (self._key, hash_key)} if len(page) < len(items) else None
        return {"Items": page, **({"LastEvaluatedKey": more} if more else {})}

    def _transact(self, writes: list[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
        keys = [self._key_of(kind, asked) for kind, asked in writes]
        written = [self._written(kind, asked) for kind, asked in writes]
        reasons = [self._reason_against(*write, item) for write, item in zip(writes, written, strict=True)]
        if any(reasons):
            raise canceled(reasons)
        for key, item in zip(keys, written, strict=True):
            self._store(key, item)
        return {}

    def _reason_against(self, kind: str, asked: Mapping[str, Any], item: Item) -> dict[str, str] | None:
        """Return why a transaction cannot make a write; None if it can."""
        if not self._holds(asked, self._key_of(kind, asked)):
            return {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
        problem = _problem(kind, item)
        return {"Code": "ValidationError", "Message": problem} if problem else None

    def _key_of(self, kind: str, asked: Mapping[str, Any]) -> str:
        key: str = (asked["Item"] if kind == "Put" else asked["Key"])[self._key]["S"]
        if len(key.encode()) > _MAX_KEY:
            raise Refused("ValidationException", _KEY_TOO_LONG)
        return key

    def _holds(self, asked: Mapping[str, Any], key: str) -> bool:
        text = asked.get("ConditionExpression")
        if not text:
            return True
        names, values = asked.get("ExpressionAttributeNames", {}), asked.get("ExpressionAttributeValues", {})
        return condition(text)(self.items.get(key, {}), names, values)

    def _written(self, kind: str, asked: Mapping[str, Any]) -> Item:
        """Return the item after a write; empty if the write deletes it."""
        if kind == "Delete":
            return {}
        if kind == "Put":
            return dict(asked["Item"])
        key = self._key_of(kind, asked)
        item = dict(self.items.get(key) or {self._key: {"S": key}})
        update(item, asked)
        return item

    def _store(self, key: str, item: Item) -> None:
        if item:
            self.items[key] = item
        else:
            self.items.pop(key, None)
        for name, (hash_key, _) in self._indexes.items():
            if hash_key in item:
                self._indexed[name][key] = item
            else:
                self._indexed[name].pop(key, None)


def _fulfills(item: Item, asked: Mapping[str, Any]) -> bool:
    text = asked.get("FilterExpression")
    return not text or condition(text)(item, asked["ExpressionAttributeNames"], asked["ExpressionAttributeValues"])


def _asked_of(item: Item, asked: Mapping[str, Any]) -> Item:
    """Return the attributes of an item that the ProjectionExpression names; all without one."""
    text = asked.get("ProjectionExpression")
    if not text:
        return item
    names, shown = asked["ExpressionAttributeNames"], Item()
    for path in text.split(","):
        name, *inner = (names.get(part, part) for part in path.strip().split("."))
        if name not in item:
            continue
        if not inner:
            shown[name] = item[name]
        elif inner[0] in item[name].get("M", {}):
            (key,) = inner
            shown.setdefault(name, {"M": {}})["M"][key] = item[name]["M"][key]
    return shown


def canceled(reasons: Sequence[Mapping[str, str] | None]) -> Refused:
    """Return the error of a canceled transaction, with the reason for each of its writes."""
    each = [reason or {"Code": "None"} for reason in reasons]
    codes = ", ".join(reason["Code"] for reason in each)
    words = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
    return Refused("TransactionCanceledException", words, CancellationReasons=each)


def conflict(operation: str) -> Refused:
    """Return the error of a write that conflicts with another write of the same item."""
    words = "Transaction is ongoing for the item"
    if operation == "TransactWriteItems":
        return canceled([{"Code": "TransactionConflict", "Message": words}, None])
    return Refused("TransactionConflictException", words)


def _problem(kind: str, item: Item) -> str:
    """Return what is wrong with an item to store; empty if nothing is."""
    if size_of(item) > _MAX_ITEM:
        return f"Item size {'to update ' if kind == 'Update' else ''}has exceeded the maximum allowed size"
    return ""


def size_of(item: Item) -> int:
    """Return the size of an item as DynamoDB counts it: the attribute names and the values."""
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(value: dict[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "N":
        return len(content) // 2 + 1
    if kind == "B":
        return len(content) * 3 // 4  # it is in base64
    if kind == "M":
        return 3 + len(content) + size_of(content)
    if kind == "L":
        return 3 + len(content) + sum(map(_value_size, content))
    if kind in ("SS", "NS", "BS"):
        return sum(_value_size({kind[0]: member}) for member in content)
    return 1


def update(item: Item, asked: Mapping[str, Any]) -> None:
    """Apply an UpdateExpression to an item."""
    names, values = asked["ExpressionAttributeNames"], asked.get("ExpressionAttributeValues", {})
    parts = _CLAUSE.split(asked["UpdateExpression"])[1:]
    for verb, clause in zip(parts[::2], parts[1::2], strict=True):
        for each in clause.split(","):
            name, _, value = each.strip().partition(" = " if verb == "SET" else " ")
            target = names.get(name, name)
            given = values.get(value.strip(), {})
            if verb == "SET":
                item[target] = given
            elif verb == "REMOVE":
                item.pop(target, None)
            elif "N" in given:
                item[target] = {"N": str(Decimal(item.get(target, {"N": "0"})["N"]) + Decimal(given["N"]))}
            else:
                _change_set(item, target, set(given["SS"]), verb)


def _change_set(item: Item, target: str, members: set[str], verb: str) -> None:
    present = set(item.get(target, {"SS": []})["SS"])
    left = present | members if verb == "ADD" else present - members
    if left:
        item[target] = {"SS": sorted(left)}
    else:
        item.pop(target, None)


@cache
def condition(text: str) -> Condition:
    """Compile a ConditionExpression."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != re.sub(r"\s", "", text):
        raise Refused("ValidationException", f"Invalid ConditionExpression: {text}")
    compiled = _or(tokens)
    if tokens:
        raise Refused("ValidationException", f"Invalid ConditionExpression: {text}")
    return compiled


def _or(tokens: list[str]) -> Condition:
    parts = [_and(tokens)]
    while tokens and tokens[0] == "OR":
        tokens.pop(0)
        parts.append(_and(tokens))
    return lambda item, names, values: any(part(item, names, values) for part in parts)


def _and(tokens: list[str]) -> Condition:
    parts = [_not(tokens)]
    while tokens and tokens[0] == "AND":
        tokens.pop(0)
        parts.append(_not(tokens))
    return lambda item, names, values: all(part(item, names, values) for part in parts)


def _not(tokens: list[str]) -> Condition:
    if tokens[0] == "NOT":
        tokens.pop(0)
        inner = _not(tokens)
        return lambda item, names, values: not inner(item, names, values)
    return _simple(tokens)


def _simple(tokens: list[str]) -> Condition:
    first = tokens.pop(0)
    if first == "(":
        inner = _or(tokens)
        tokens.pop(0)
        return inner
    if first in ("attribute_exists", "attribute_not_exists", "contains"):
        end = tokens.index(")")
        arguments = [token for token in tokens[1:end] if token != ","]
        del tokens[: end + 1]
        return _function(first, arguments)
    sign, second = tokens.pop(0), tokens.pop(0)
    return lambda item, names, values: _compare(
        _operand(first, item, names, values), sign, _operand(second, item, names, values)
    )


def _function(name: str, arguments: list[str]) -> Condition:
    if name == "contains":

        def contains(item: Item, names: Names, values: Values) -> bool:
            held = _operand(arguments[0], item, names, values) or {}
            member = _operand(arguments[1], item, names, values) or {}
            return member.get("S") in held.get("SS", [])

        return contains
    expected = name == "attribute_exists"
    return lambda item, names, values: (_operand(arguments[0], item, names, values) is not None) is expected


def _operand(token: str, item: Item, names: Names, values: Values) -> dict[str, Any] | None:
    return values[token] if token.startswith(":") else item.get(names.get(token, token))


def _compare(left: dict[str, Any] | None, sign: str, right: dict[str, Any] | None) -> bool:
    """Compare as DynamoDB does: missing values and values of different types differ."""
    if left is None or right is None or left.keys() != right.keys():
        return sign == "<>"
    (kind, a), (_, b) = *left.items(), *right.items()
    if kind == "N":
        a, b = Decimal(a), Decimal(b)
    return bool({"=": a == b, "<>": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[sign])
