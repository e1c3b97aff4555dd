"""The builder's messages contain no secrets."""

import pytest

from launch_agent.builder.__main__ import say


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
            "GET https://s3/x?X-Amz-Credential=***&X-Amz-Signature=***&partNumber=1",
        ),
        ("https://host/x?private_token=abc", "https://host/x?private_token=***"),
        ("one\rlaunch-agent: error: forged\x1b[2J", "one\ufffdlaunch-agent: error: forged\ufffd[2J"),
        ("tab\tand lone surrogate \udcff", "tab\tand lone surrogate \ufffd"),
    ],
)
def test_no_credential_and_no_line_made_by_others_is_said(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    say(line)
    assert capsys.readouterr().out == f"{said}\n"


def test_a_line_without_end_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    say("//" * 1_000_000)
    assert len(capsys.readouterr().out) < 5_000
