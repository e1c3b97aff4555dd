"""What the builder says, without what has to stay secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.builder.log import LONGEST_LINE, Log


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "#12 3.141 launch-agent: not installed: mylib @ git+https://oauth2:ghp_SECRETTOKEN@github.com/acme/mylib.git",
            "#12 3.141 launch-agent: not installed: mylib @ git+https://github.com/acme/mylib.git",
        ),
        ("fatal: unable to access 'https://user:to@ken@host/x'", "fatal: unable to access 'https://host/x'"),
        ("ssh://git@host/x and https://host/path@v1", "ssh://host/x and https://host/path@v1"),
        (
            "GET https://s3/x?X-Amz-Credential=AKIA&X-Amz-Signature=abc&partNumber=1",
            "GET https://s3/x?X-Amz-Credential=[removed]&X-Amz-Signature=[removed]&partNumber=1",
        ),
        ("https://host/x?private_token=abc", "https://host/x?private_token=[removed]"),
        ("one\rlaunch-agent: error: forged\x1b[2J", "one launch-agent: error: forged [2J"),
        ("tab\tand lone surrogate \udcff", "tab\tand lone surrogate \\udcff"),
    ],
)
def test_no_credential_and_no_line_of_somebody_elses_making_is_said(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Log().say(line)
    assert capsys.readouterr().out == f"{said}\n"


def test_the_secrets_that_it_knows_are_not_said_in_any_form() -> None:
    log = Log()
    log.keep_out(["pa:ss/w@rd1", "-----BEGIN KEY-----\nline-of-a-key\n", "short"])
    said = log.cleaned("pa:ss/w@rd1 pa%3Ass%2Fw%40rd1 line-of-a-key short")
    assert said == "[removed] [removed] [removed] short"


def test_a_line_without_end_is_cut() -> None:
    assert len(Log().cleaned("//" * 1_000_000)) == LONGEST_LINE
    assert Log().cleaned("x" * 20, at_most=10) == "xxxxxx ..."


@given(st.text(max_size=60), st.text(min_size=8, max_size=20))
def test_whatever_the_text_the_secret_is_not_in_it_and_it_can_be_printed(text: str, secret: str) -> None:
    log = Log()
    log.keep_out([secret])
    cleaned = log.cleaned(f"{text}{secret}{text}")
    for line in secret.splitlines():
        assert len(line) < 8 or line not in cleaned or line in "[removed]"
    cleaned.encode()
