"""Log lines about a run, formatted for people."""

import json
from datetime import timedelta

import pytest

from operate.errors import CannotOperate
from operate.logs import duration, line_for_people, line_of_source

AT = 1_700_000_000_000
LINE = {
    "level": "INFO",
    "location": "plan_run:140",
    "message": "run planned",
    "timestamp": "2026-01-01 00:00:00,000+0000",
    "service": "launch-agent",
    "cold_start": True,
    "function_name": "wandb-launch-PlanRunFunction-1X2Y",
    "function_request_id": "9a8b",
    "run_queue_item_id": "item-1",
    "run_id": "run-1",
}


def test_a_line_says_when_and_where_and_what() -> None:
    words = line_for_people(AT, json.dumps(LINE)).split()
    assert words[1:] == ["INFO", "PlanRun", "run", "planned", "run_queue_item_id=item-1", "run_id=run-1"]


def test_an_exception_is_one_line_with_its_reason() -> None:
    failed = {
        "exception_name": "AwsThrottled",
        "exception": "Traceback ...\n  File\nlaunch_agent.errors.AwsThrottled: slow\n",
    }
    line = line_for_people(AT, json.dumps({**LINE, "level": "ERROR", "message": "two\nlines", **failed}))
    assert "\n" not in line
    assert "two lines  launch_agent.errors.AwsThrottled: slow" in line


def test_what_is_no_json_is_shown_as_it_is() -> None:
    assert line_for_people(AT, "Task timed out\nafter 60 s").endswith("  Task timed out after 60 s")


def test_a_line_of_a_training_job_keeps_its_indent_and_nothing_that_only_a_terminal_understands() -> None:
    assert line_of_source("training", AT, '  File "train.py", line 3\n').endswith(
        '  training    File "train.py", line 3'
    )
    assert line_of_source("build", AT, "\x1b[32mdone\x1b[0m\n\n").endswith("  build     done")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1hour", timedelta(hours=1)),
        ("2 days", timedelta(days=2)),
        ("30min", timedelta(minutes=30)),
        ("90m", timedelta(minutes=90)),
        ("1 D", timedelta(days=1)),
    ],
)
def test_a_time_is_written_as_people_do(text: str, expected: timedelta) -> None:
    assert duration(text) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "hour", "1 fortnight", "-1h"])
def test_another_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(CannotOperate, match="Write, for example, 30min, 1hour or 2days"):
        duration(text)
