"""A limited number of examples for each parser; `make fuzz` uses more."""

import pytest
from hypothesis import strategies as st

from tests.fuzz.__main__ import Parser, fuzz, parsers


@pytest.mark.parametrize("parser", list(parsers()), ids=lambda parser: parser.name)
def test_a_parser_raises_nothing_but_our_own_errors(parser: Parser) -> None:
    assert fuzz(parser, examples=30, seeded=1).foreign == ""


def test_a_foreign_exception_is_found_and_shown() -> None:
    found = fuzz(Parser("division", st.integers(), lambda value: 1 // value), examples=50, seeded=1)
    assert found.foreign.startswith("ZeroDivisionError")
    assert "value=0" in found.foreign
