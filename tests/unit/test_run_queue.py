"""Run queue items and run specs, valid and invalid."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.errors import InvalidRunSpec
from launch_agent.run_queue.items import ItemRef, QueueItem, Slot, derived_run_id, next_pops, parse_run_spec
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
    assert parse_run_spec({"entity": "e", "project": "p", "run_id": ""}).run_id is None


ILLEGAL_RUN_IDS = [*(f"a{char}b" for char in ":;,#?/'\\%\0\n\t\ud800\u202e"), " a", "a ", " ", "x" * 129, "x" * 500_000]


@pytest.mark.parametrize("asked", ILLEGAL_RUN_IDS, ids=lambda asked: ascii(asked[:9]))
def test_an_item_that_asks_for_an_illegal_run_id_has_the_derived_one_and_is_refused_in_words(asked: str) -> None:
    item = QueueItem(id="item", run_spec={"entity": "e", "project": "p", "run_id": asked})
    assert ItemRef(id=item.id, queue="q", entity="e", run_id=item.run_id).run_id == derived_run_id("item")
    with pytest.raises(InvalidRunSpec) as raised:
        parse_run_spec(item.run_spec)
    assert "run_id" in str(raised.value)
    assert len(str(raised.value)) < 400
    assert str(raised.value).replace("\n", " ").isprintable()


@pytest.mark.parametrize("asked", [5, ["a"], {}, True])
def test_a_run_id_that_is_no_text_is_refused_in_words_too(asked: Any) -> None:
    assert QueueItem(id="item", run_spec={"run_id": asked}).run_id == derived_run_id("item")
    with pytest.raises(InvalidRunSpec, match=r"run_id is .*: expected a string"):
        parse_run_spec({"entity": "e", "project": "p", "run_id": asked})


@pytest.mark.parametrize("asked", ["limzn0a6", "a.b_c-d", "lr=0.1 (big)", "Größe-3", "x" * 128])
def test_run_ids_that_w_and_b_takes_are_kept(asked: str) -> None:
    assert QueueItem(id="item", run_spec={"run_id": asked}).run_id == asked
    assert parse_run_spec({"entity": "e", "project": "p", "run_id": asked}).run_id == asked


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ({"resource_args": {"sagemaker": nested(990)}}, "resource_args.sagemaker.0.0"),
        ({"overrides": {"run_config": {"seed": 10**5000}}}, "overrides.run_config.seed has more than 1024 bits."),
        ({"overrides": {"run_config": {"note": "\ud800"}}}, "overrides.run_config.note is not valid Unicode."),
        ({"overrides": {"run_config": {"a\ud800": 1}}}, "overrides.run_config.a\\ud800 is a key that is not valid"),
        ({"overrides": {"args": ["a\0b"]}}, "overrides.args.0 has a NUL character."),
        ({"junk": [0] * 300_000}, "it has more than 200,000 values."),
        ({"name": "x" * 513}, "name is "),
        ({"docker": {"docker_image": "x" * 513}}, "docker.docker_image is "),
    ],
)
def test_what_later_steps_cannot_handle_is_refused_at_the_door(block: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidRunSpec) as raised:
        parse_run_spec({"entity": "e", "project": "p", **block})
    assert why in str(raised.value)


def test_a_seed_of_128_bits_is_no_fault() -> None:
    assert parse_run_spec({"entity": "e", "project": "p", "overrides": {"run_config": {"seed": 2**128}}})


def test_a_run_spec_with_ten_thousand_faults_says_the_first_of_them() -> None:
    with pytest.raises(InvalidRunSpec) as raised:
        parse_run_spec({"entity": "e", "project": "p", "overrides": {"args": [1] * 10_000}})
    assert len(str(raised.value)) < 10_000
    assert "and 9,970 more" in str(raised.value)


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


@pytest.mark.parametrize(
    "overrides",
    [
        {"args": "--token=ghp_0123456789"},
        {"entry_point": {"token": "ghp_0123456789"}},
        {"args": [["ghp_0123456789"]]},
        {"run_config": "ghp_0123456789"},
        {"files": ["ghp_0123456789"]},
    ],
)
def test_a_fault_in_the_overrides_shows_no_value(overrides: Any) -> None:
    with pytest.raises(InvalidRunSpec) as raised:
        parse_run_spec({"entity": "e", "project": "p", "overrides": overrides})
    assert "overrides." in str(raised.value)
    assert "ghp_" not in str(raised.value)


def test_the_first_request_of_a_tick_pops_each_queue_once() -> None:
    assert next_pops(["a", "b", "c"], room=9, hits=0) == ["a", "b", "c"]


def test_requests_grow_while_queues_are_full_and_stop_at_the_room_left() -> None:
    assert next_pops(["a", "b"], room=9, hits=2) == ["a", "b", "a", "b"]
    assert next_pops(["a", "b"], room=3, hits=2) == ["a", "b", "a"]
    assert len(next_pops(["a"], room=70, hits=50)) == 70


def test_a_queue_with_a_limit_of_its_own_is_asked_for_no_more_and_the_others_take_its_turns() -> None:
    assert next_pops(["a", "b"], room=9, hits=3, rooms={"a": 1}) == ["a", "b", "b", "b", "b", "b"]
    assert next_pops(["a", "b"], room=9, hits=0, rooms={"a": 0}) == ["b", "b"]
    assert next_pops(["a"], room=9, hits=3, rooms={"a": 0}) == []
