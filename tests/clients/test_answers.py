"""W&B's answers as bytes: every readable part of an answer is read, and each part that is read is valid."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.clients.answers import MAX_BYTES, MAX_PART_VALUES, Unreadable, read_answer, read_json, text_in

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@given(JSON)
def test_json_is_read_as_it_is(value: Any) -> None:
    whole = json.loads(json.dumps(value).encode("utf-16", "surrogatepass").decode("utf-16"))
    if "\\ud" not in json.dumps(value).lower():
        assert read_json(json.dumps(value).encode()) == whole


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"1" * 5_000, "1" * 5_000),
        (b"-" + b"9" * 300, "-" + "9" * 300),
        (b"9" * 300, int("9" * 300)),
        (b"1e999", "1e999"),
        (b"-1e999", "-1e999"),
        (b"NaN", "NaN"),
        (b"-Infinity", "-Infinity"),
        (b'"\xff"', "\ufffd"),
        (b'"\\ud800"', "\ufffd"),
        (b'"\\ud83d\\ude00 \\udc00"', "\U0001f600 \ufffd"),
        (b'{"\\udfff": ["\\uD900x"]}', {"\ufffd": ["\ufffdx"]}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'"\\u0000"', "\0"),
    ],
)
def test_what_python_would_stumble_over_later_is_read_as_something_else(text: bytes, value: Any) -> None:
    read = read_json(text)
    assert read == value
    assert json.loads(json.dumps(read, allow_nan=False, ensure_ascii=False).encode()) == read


@given(st.lists(st.sampled_from(["\\\\", "\\ud83d", "\\uDE00", "\\n", "x", "u", "d83d"]), max_size=12).map("".join))
def test_only_half_a_pair_of_surrogates_is_replaced(text: str) -> None:
    read = json.loads(f'"{text}"')
    assert read_json(f'"{text}"'.encode()) == read.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


FILLINGS = [b"[]", b"[[]]", b"{}", b'{"":0}', b"1.5", b"999", b'"\\""', b'"\\ud800"', b'"\\ud83d\\ude00"', b"9" * 299]


@pytest.mark.parametrize("first", [b"0", b'"\\ud800"', b'"\xff"'], ids=["plain", "half a pair", "no UTF-8"])
@pytest.mark.parametrize("filling", FILLINGS, ids=range(len(FILLINGS)))
def test_an_answer_takes_no_more_memory_than_is_stated(first: bytes, filling: bytes) -> None:
    """The limit of an answer's bytes is chosen by this, so that a poll fits into the memory of its function."""
    content = b'{"data": {"pop0": [' + b",".join([first, *[filling] * (20_000 // len(filling))]) + b"]}}"
    # Other threads of this process can only add to what is measured.
    assert min(peak_while_reading(content) for _ in range(5)) < 40 * len(content)


def peak_while_reading(content: bytes) -> int:
    """The most memory, in bytes, that this process took in addition while an answer was read."""
    tracemalloc.start()
    try:
        read_answer(content)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("levels", [101, 994, 2_000, 100_000])
def test_deep_nesting_is_not_read(levels: int) -> None:
    with pytest.raises(Unreadable, match="more than 100 levels"):
        read_json(nested(levels))


def test_a_part_with_too_many_values_is_said_so_although_its_end_and_all_after_it_are_missing() -> None:
    answer = read_answer(b'{"data": {"first": 1, "second": [' + b"0," * (5 * MAX_PART_VALUES + 1))
    assert answer
    assert (answer.data, answer.is_cut) == ({"first": 1}, True)
    assert answer.unread["second"].why == "it has more than 1000000 bytes or 30000 values"


@pytest.mark.parametrize("text", [b"", b"<html>", b"{", b'{"a" 1}', b"1" * 10 + b"x", b"\xff", b"\x00"])
def test_what_is_no_json_is_not_read(text: bytes) -> None:
    with pytest.raises(Unreadable, match="not JSON"):
        read_json(text)


POISON = [nested(1_000), nested(100_000), b"{]", b'"never ends', b"[1,,2]", b'{"a":' * 500 + b"1" + b"}" * 500]


@pytest.mark.parametrize("poison", POISON, ids=range(len(POISON)))
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_part_that_cannot_be_read_keeps_no_other_from_being_read(poison: bytes, place: int) -> None:
    specs = [b'{"n": 1}', b'{"x": ["}", "{\\"pop9\\": 1}"]}', b"null"]
    specs[place] = poison
    pops = [b'"pop%d": {"runQueueItemId": "item%d", "runSpec": %s}' % (n, n, spec) for n, spec in enumerate(specs)]
    answer = read_answer(b'{"errors": [{"message": "odd"}], "data": {' + b", ".join(pops) + b"}}")
    assert answer
    assert answer.errors == ("odd",)
    assert list(answer.unread) == [f"pop{place}"]
    assert text_in(answer.unread[f"pop{place}"].raw, "runQueueItemId") == f"item{place}"
    # If its end cannot be found, or not soon, it is the last part.
    others = place if poison in (nested(100_000), b'"never ends') else 2
    assert len(answer.data) == others


def test_a_string_that_does_not_end_makes_up_no_other_part() -> None:
    spec = b'{"junk": "\\"}}, \\"pop1\\": {\\"runQueueItemId\\": \\"of another\\"}}'
    whole = b'{"data": {"pop0": {"runQueueItemId": "mine", "runSpec": ' + spec
    for cut in range(len(whole)):
        answer = read_answer(whole[:cut])
        assert not answer or not answer.data
        for part in answer.unread.values() if answer else ():
            assert text_in(part.raw, "runQueueItemId") in ("mine", None)


def test_of_an_answer_that_broke_off_no_part_is_at_fault() -> None:
    answer = read_answer(
        b'{"data": {"pop0": {"runQueueItemId": "a", "runSpec": {}}, "pop1": {"runQueueItemId": "b", "runS'
    )
    assert answer
    assert answer.is_cut
    assert (list(answer.data), list(answer.unread)) == (["pop0"], [])


@pytest.mark.parametrize("end", [b",", b', "', b', "pop1', b', "pop1"', b', "pop1":', b', "pop1": {', b"}"])
def test_a_whole_part_is_read_wherever_the_answer_broke_off_behind_it(end: bytes) -> None:
    answer = read_answer(b'{"data": {"pop0": {"runQueueItemId": "a", "runSpec": {}}' + end)
    assert answer
    assert answer.data == {"pop0": {"runQueueItemId": "a", "runSpec": {}}}
    assert answer.unread == {}


def test_an_id_is_taken_from_its_own_level_only() -> None:
    part = b'{"runSpec": {"runQueueItemId": "of another", "x": ' + nested(300) + b'}, "runQueueItemId": "mine"}'
    assert text_in(part, "runQueueItemId") == "mine"
    assert text_in(b'{"runQueueItemId": 5, "x": {', "runQueueItemId") is None
    assert text_in(b'{"runSpec": {"runQueueItemId": "of another"}}', "runQueueItemId") is None


def test_an_answer_that_is_too_long_is_read_as_far_as_it_goes() -> None:
    long = b'"' + b"x" * MAX_BYTES + b'"'
    pops = b'"pop0": {"runQueueItemId": "a", "runSpec": {}}, "pop1": {"runQueueItemId": "b", "runSpec": ' + long
    answer = read_answer((b'{"data": {' + pops)[: MAX_BYTES + 1])
    assert answer
    assert answer.is_cut
    assert (list(answer.data), list(answer.unread)) == (["pop0"], ["pop1"])


@pytest.mark.parametrize(
    "text", [b"<html>maintenance</html>", b"[]", b"5", b'"data"', b"", b'{"data', b"nope", b"[{}]"]
)
def test_what_is_no_answer_of_graphqls_is_none(text: bytes) -> None:
    assert read_answer(text) is None


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda junk: b'{"data": {"a": ' + junk + b"}}"))
def test_any_bytes_are_an_answer_or_none(content: bytes) -> None:
    answer = read_answer(content)
    assert answer is None or isinstance(answer.data, dict)


def test_an_answer_of_nothing_but_brackets_is_read_in_no_time() -> None:
    assert read_answer(b'{"data": {"a": ' + nested(3_000_000) + b"}}")
