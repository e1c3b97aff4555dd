"""No outgoing text contains a secret, even if others have encoded or cut it."""

import json
import re
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.safe_text import MAX_TEXT, forget_secrets, keep_secret, safe, safe_json

KEY = "local-8d3f0a6b5c1e29f7a4"
AWKWARD = "p\"ä\\s/s w+ö=rd'%"
SEVERAL_LINES = "-----BEGIN KEY-----\nMIIEvQIBADAN\nBgkqhkiG9w0B\n"


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    forget_secrets()
    yield
    forget_secrets()


def in_json_in_json(secret: str) -> str:
    return json.dumps({"errorMessage": json.dumps({"Environment": {"K": secret}})})


def in_an_address(secret: str) -> str:
    return re.sub("%..", lambda byte: byte[0].lower(), quote(secret, safe=""))


@pytest.mark.parametrize("secret", [KEY, AWKWARD, "90210123", SEVERAL_LINES])
@pytest.mark.parametrize(
    "write",
    [str, repr, json.dumps, in_json_in_json, quote, quote_plus, in_an_address],
    ids=lambda write: write.__name__,
)
def test_a_secret_is_hidden_however_it_is_written(secret: str, write: Callable[[str], str]) -> None:
    keep_secret(secret)
    text = safe(f"Value '{{A=b, K={write(secret)}}}' at 'environment' failed")
    assert not any(part in text for part in [write(secret), *secret.splitlines()])
    assert text.startswith("Value '{A=b, K=")
    assert text.endswith("}' at 'environment' failed")


@pytest.mark.parametrize("secret", [KEY, AWKWARD + KEY])
@pytest.mark.parametrize("cut", ["", "...", "…", "\nThe end of its log is in error.log.", '"}', "' at 'environment'"])
def test_what_is_left_of_a_secret_where_a_text_was_cut_is_hidden(secret: str, cut: str) -> None:
    keep_secret(secret)
    for length in range(8, len(secret)):
        beginning = f"K={secret[:length]}{cut}"
        assert safe(beginning) == f"K=***{cut}"
        for before in ("", '"', "...", "\n"):
            text = safe(f"{before}{secret[-length:]}, A=b")
            assert secret[-length:] not in text
            assert text.endswith("***, A=b")


def test_each_line_of_a_secret_is_a_secret() -> None:
    keep_secret(SEVERAL_LINES)
    assert safe("12:01 MIIEvQIBADAN\n12:02 BgkqhkiG9w0B") == "12:01 ***\n12:02 ***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mylib @ git+https://oauth2:ghp_x@github.com/a/b.git@1a2b", "mylib @ git+https://github.com/a/b.git@1a2b"),
        ("clone https://ghp_x@github.com/a", "clone https://github.com/a"),
        ("see https://pypi.org/simple, or mail a@b.org", "see https://pypi.org/simple, or mail a@b.org"),
        ("https://u:p@ss@host/x", "https://host/x"),
        ("s3://bucket/key@1", "s3://bucket/key@1"),
        ("https://s3/x?X-Amz-Date=1&X-Amz-Signature=f00&y=1", "https://s3/x?X-Amz-Date=1&X-Amz-Signature=***&y=1"),
        ("https://host/simple?access_token=f00", "https://host/simple?access_token=***"),
    ],
)
def test_who_signs_in_to_an_address_and_what_signs_it_is_hidden(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_what_is_no_text_is_replaced() -> None:
    text = safe("a\ud800b\x00c\x1bd\te\nf\u00e9\U0001f600")
    assert text == "a\ufffdb\ufffdc\ufffdd\te\nf\u00e9\U0001f600"
    assert text.encode()


def test_what_is_no_secret_stays() -> None:
    keep_secret(KEY, "abc", "")
    text = "local- is how abc and localhost begin, and it ends with f7a4 or 8d3f0a6b5c"
    assert safe(text) == text


def test_a_text_is_bounded_and_cut_after_its_secrets_are_hidden() -> None:
    keep_secret(KEY)
    text = safe("x" * (MAX_TEXT - 10) + KEY + "y" * 100)
    assert len(text) <= MAX_TEXT
    assert "local" not in text


def test_what_one_invocation_knew_the_next_does_not() -> None:
    keep_secret(KEY)
    forget_secrets()
    assert safe(KEY) == KEY


def test_the_texts_of_a_json_value_are_safe_and_the_rest_stays() -> None:
    keep_secret(KEY, "90210123")
    value = {"message": f"no {KEY}", "more": [{"cause": KEY}, 7, None, True], "number": 90210123}
    assert safe_json(value) == {"message": "no ***", "more": [{"cause": "***"}, 7, None, True], "number": 90210123}


@given(st.text(min_size=8), st.text(), st.text(max_size=200))
def test_no_text_has_a_secret_whatever_both_are(secret: str, before: str, after: str) -> None:
    forget_secrets()
    keep_secret(secret)
    if len(secret.strip()) >= 4 and secret not in f"{before}***{after}":
        assert secret not in safe(f"{before}{secret}{after}")


@given(st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/?&"), max_size=MAX_TEXT))
def test_a_text_in_which_nothing_is_secret_stays_as_it_is(text: str) -> None:
    forget_secrets()
    assert safe(text) == text


@pytest.mark.parametrize(
    "text", ["//" * 100_000, "/" * 200_000, "//a" * 70_000, KEY[:8] * 25_000, (KEY[:9] + "\n") * 20_000]
)
def test_a_long_text_takes_no_longer_than_its_length(text: str) -> None:
    keep_secret(KEY, KEY[:8] * 60)
    assert len(safe(text)) <= MAX_TEXT
