"""A bounded number of examples for each parser; `make fuzz` takes more."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launch_agent.errors import LaunchError
from tests.fuzz import events, plans

PARSERS = plans.PARSERS | events.PARSERS


@pytest.mark.parametrize("parser", PARSERS)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_a_parser_raises_nothing_but_our_own_errors(parser: str, data: Any) -> None:
    strategy, parse = PARSERS[parser]
    with suppress(LaunchError):
        parse(data.draw(strategy))
