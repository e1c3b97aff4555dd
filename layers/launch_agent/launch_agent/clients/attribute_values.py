"""DynamoDB's attribute values: a key for the type, and the value
(https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html).

boto3 converts them too, but importing it makes every cold start longer.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any


def attribute_value(value: object) -> Any:
    """Return a value as DynamoDB takes it. Raises TypeError for a type that is not stored."""
    if value is None:
        return {"NULL": True}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, str):
        return {"S": str(value)}
    if isinstance(value, (int, Decimal)):
        return {"N": str(value)}
    if isinstance(value, bytes):
        return {"B": value}
    return _several(value)


def _several(value: object) -> Any:
    if isinstance(value, Mapping):
        return {"M": {key: attribute_value(each) for key, each in value.items()}}
    if isinstance(value, (list, tuple)):
        return {"L": [attribute_value(each) for each in value]}
    if isinstance(value, (set, frozenset)) and value and all(isinstance(each, str) for each in value):
        return {"SS": sorted(value)}
    raise TypeError(f"{type(value).__name__} is not stored")


def plain_value(stored: Mapping[str, Any]) -> Any:
    """Return the value in an attribute value; a number is an int, or a Decimal if it has a fraction."""
    ((kind, value),) = stored.items()
    if kind == "NULL":
        return None
    if kind == "N":
        number = Decimal(value)
        return int(number) if number == number.to_integral_value() else number
    if kind == "M":
        return {key: plain_value(each) for key, each in value.items()}
    if kind == "L":
        return [plain_value(each) for each in value]
    return set(value) if kind in ("SS", "NS", "BS") else value
