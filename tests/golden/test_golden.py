"""All golden cases: the plans, the messages, and the differences from the reference launch agent."""

from contextlib import suppress

import pytest

from launch_agent.errors import LaunchError
from tests.golden.cases import CASES, HERE, differences, load, plan, planned


@pytest.mark.parametrize("case", CASES)
def test_a_run_spec_becomes_the_expected_plan_or_the_expected_words(case: str) -> None:
    expected = load(case, "plan.json")
    if expected is not None:
        assert plan(case).model_dump(mode="json") == expected
        return
    with pytest.raises(LaunchError) as raised:
        plan(case)
    assert f"{type(raised.value).__name__}: {raised.value}\n" == (HERE / case / "error.txt").read_text()


@pytest.mark.parametrize("case", planned())
def test_the_request_is_the_references_but_for_the_known_differences(case: str) -> None:
    assert differences(case) == (load(case, "differences.json") or {})


@pytest.mark.parametrize("case", CASES)
def test_planning_changes_nothing_of_the_queues_configuration(case: str) -> None:
    raw = load(case, "run_spec.json")
    with suppress(LaunchError):
        plan(case, raw)
    assert raw == load(case, "run_spec.json")
