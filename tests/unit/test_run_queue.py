"""Run queue items and run specs, as they come and as they should."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.errors import InvalidRunSpec
from launch_agent.run_queue.items import QueueItem, Slot, derived_run_id, next_pops, parse_run_spec
from tests.unit.test_macros import JSON


@given(JSON)
def test_an_item_with_any_run_spec_has_a_run_id_and_a_slot(spec: Any) -> None:
    item = QueueItem(id="item", run_spec=spec)
    assert item.run_id
    assert item.slot in Slot


@given(JSON)
def test_parsing_a_run_spec_raises_nothing_but_invalid_run_spec(raw: Any) -> None:
    with suppress(InvalidRunSpec):
        assert parse_run_spec(raw).entity


def test_the_run_id_is_the_one_asked_for_or_derived_from_the_item() -> None:
    assert QueueItem(id="item", run_spec={"run_id": "mine"}).run_id == "mine"
    assert QueueItem(id="item", run_spec={"run_id": ""}).run_id == derived_run_id("item")


@given(st.text(min_size=1))
def test_a_derived_run_id_is_always_the_same_eight_letters_and_digits(item_id: str) -> None:
    run_id = derived_run_id(item_id)
    assert run_id == derived_run_id(item_id)
    assert len(run_id) == 8
    assert run_id.isascii()
    assert run_id.isalnum()
    assert run_id == run_id.lower()


def test_a_sweep_scheduler_takes_a_slot_of_its_own_kind() -> None:
    assert QueueItem(id="item", run_spec={"uri": "placeholder-uri-scheduler"}).slot is Slot.SCHEDULER
    assert QueueItem(id="item", run_spec={"job": "a/b/c"}).slot is Slot.JOB


def test_null_blocks_are_taken_for_absent_ones() -> None:
    spec = parse_run_spec({"entity": "e", "project": "p", "docker": None, "overrides": None, "resource_args": None})
    assert spec.image is None
    assert spec.overrides.args is None
    assert spec.resource_args == {}


def test_the_api_key_of_a_run_spec_is_in_no_text_of_it() -> None:
    spec = parse_run_spec({"entity": "e", "project": "p", "_wandb_api_key": "sekret"})
    assert spec.api_key
    assert spec.api_key.get_secret_value() == "sekret"
    assert "sekret" not in f"{spec!r} {spec} {spec.model_dump_json()}"


def test_a_fault_in_a_run_spec_does_not_show_the_api_key() -> None:
    with pytest.raises(InvalidRunSpec) as raised:
        parse_run_spec({"entity": "e", "_wandb_api_key": ["sekret"]})
    assert "sekret" not in str(raised.value)


def test_the_first_request_of_a_tick_pops_each_queue_once() -> None:
    assert next_pops(["a", "b", "c"], room=9, hits=0) == ["a", "b", "c"]


def test_requests_grow_while_queues_are_full_and_stop_at_the_room_left() -> None:
    assert next_pops(["a", "b"], room=9, hits=2) == ["a", "b", "a", "b"]
    assert next_pops(["a", "b"], room=3, hits=2) == ["a", "b", "a"]
    assert len(next_pops(["a"], room=100, hits=50)) == 10
