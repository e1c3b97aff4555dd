"""DynamoDB's attribute values."""

from decimal import Decimal

import pytest

from launch_agent.clients.attribute_values import attribute_value, plain_value


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (None, {"NULL": True}),
        (True, {"BOOL": True}),
        ("", {"S": ""}),
        (-1, {"N": "-1"}),
        (Decimal("0.5"), {"N": "0.5"}),
        (b"\0", {"B": b"\0"}),
        ({"a": [1, {}]}, {"M": {"a": {"L": [{"N": "1"}, {"M": {}}]}}}),
        ({"b", "a"}, {"SS": ["a", "b"]}),
    ],
)
def test_a_value_is_stored_and_read_back(value: object, stored: object) -> None:
    assert attribute_value(value) == stored
    assert plain_value(attribute_value(value)) == value


@pytest.mark.parametrize("value", [set(), {1}, frozenset({"a", 1}), 0.5, object()])
def test_dynamodb_has_no_empty_sets_and_floats_are_not_stored(value: object) -> None:
    with pytest.raises(TypeError, match="is not stored"):
        attribute_value(value)
