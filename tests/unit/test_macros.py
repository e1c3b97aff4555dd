"""Macros: a closed list, replaced only in strings."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from launch_agent.plan.macros import Macros, macros_in

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


def test_known_macros_are_replaced_in_every_string_and_in_no_key() -> None:
    source = {"${run_id}": ["s3://bucket/${entity_name}/${run_id}", 3, None, {"deep": "${run_id}-${run_id}"}]}
    rendered = Macros(run_id="abc", entity_name="team").render(source)
    assert rendered == {"${run_id}": ["s3://bucket/team/abc", 3, None, {"deep": "abc-abc"}]}


def test_unknown_macros_and_macros_without_a_value_stay_visible() -> None:
    assert Macros(run_id="abc").render("${HOME} ${author} ${run_id}") == "${HOME} ${author} abc"


def test_a_value_that_looks_like_a_macro_is_not_expanded_again() -> None:
    assert Macros(run_name="${run_id}", run_id="abc").render("${run_name}") == "${run_id}"


def test_the_macros_in_a_value_are_named() -> None:
    assert macros_in({"a": ["${x} ${y}"], "${z}": 1}) == {"x", "y"}


@given(JSON)
def test_a_value_without_macros_is_not_changed(source: Any) -> None:
    if not macros_in(source):
        assert Macros(run_id="abc").render(source) == source
