"""Messages of SageMaker and botocore, without what they repeat of a request."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from launch_agent.training.echoes import without_echoes, without_shown_values

ECHO = re.compile(
    r"Value '(?:[\[{].*[\]}]|.*(?=' at '(?:environment|hyperParameters)\b))' at '", re.IGNORECASE | re.DOTALL
)
SHOWN = re.compile(r", value: .*, (?=type: |valid )", re.DOTALL)
"""The same in one pattern each, whose time grows with the square of the text."""

PIECES = ["Value '", "value '", "{", "}", "[", "]", "' at '", "'", "environment", "hyperParameters", "ENVIRONMENT", "x"]
PIECES += [" ", "\n", ".k.member", ", value: ", ", type: ", ", valid ", ", "]
MESSAGES = st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=14).map("".join)


@given(MESSAGES)
@example("Value '{a}' at 'x'; Value 'b' at 'environment'; Value '[c' at 'hyperParameters'")
@example("Value '{' at 'x}' at 'environment.k' at 'y'")
@example("Value 'Value '[]' at 'environment")
def test_the_echo_of_a_request_ends_where_one_pattern_would_end_it(message: str) -> None:
    assert without_echoes(message) == ECHO.sub("The value at '", message)


@given(MESSAGES)
@example("K, value: a, type: b, value: c, valid types")
@example(", value: , type: ")
@example(", type: , value: ")
def test_a_value_that_botocore_shows_ends_where_one_pattern_would_end_it(message: str) -> None:
    assert without_shown_values(message) == SHOWN.sub(", ", message)
