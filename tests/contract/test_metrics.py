"""Metrics: what the code can write, the dashboard shows, the alarms watch and the documentation explains."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from launch_agent.clients.metrics import Metrics
from launch_agent.operations.metrics import NAMESPACE, UNITS, Metric
from tests.documents import ROOT, resources

PAGE = (ROOT / "docs/metrics.md").read_text()
ALARMS = resources("AWS::CloudWatch::Alarm")
BODY = resources("AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"]["Fn::Sub"]
DASHBOARD = json.loads(BODY.replace("${!", "${"))


def shown() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Namespace, name and dimensions of each metric on the dashboard."""
    for widget in DASHBOARD["widgets"]:
        above: list[str] = []
        for each in widget["properties"]["metrics"]:
            if isinstance(each[0], dict):
                found = re.search(r"SEARCH\('\{(\w+),.*\} .*MetricName=\"(\w+)\"'", each[0]["expression"])
                assert found
                yield found[1], found[2], {"service": "${AWS::StackName}"}
                continue
            words = [word for word in each if isinstance(word, str)]
            words = above if words == ["..."] else [above[at] if word == "." else word for at, word in enumerate(words)]
            above = words
            yield words[0], words[1], dict(zip(words[2::2], words[3::2], strict=True))


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    assert {name for namespace, name, _ in shown() if namespace == NAMESPACE} == set(Metric)


def test_the_dashboard_looks_for_metrics_under_the_dimension_that_they_have(capsys: pytest.CaptureFixture[str]) -> None:
    Metrics("stack").count(Metric.RUNS_FINISHED)
    (written,) = json.loads(capsys.readouterr().out)["_aws"]["CloudWatchMetrics"]
    for namespace, name, dimensions in shown():
        if namespace == written["Namespace"]:
            assert dimensions == {"service": "${AWS::StackName}"}, name
    assert written["Dimensions"] == [["service"]]


def test_the_dashboard_and_the_alarms_watch_resources_that_exist() -> None:
    every = {"PollQueuesFunction", "LaunchRun", "FailedEvents"}
    named = set(re.findall(r"\$\{(\w+)(?:\.\w+)?\}", BODY))
    assert named == every


def test_widgets_do_not_overlap_and_fit_on_the_dashboard() -> None:
    taken: set[tuple[int, int]] = set()
    for widget in DASHBOARD["widgets"]:
        x, y, width, height = (widget[name] for name in ("x", "y", "width", "height"))
        cells = {(column, row) for column in range(x, x + width) for row in range(y, y + height)}
        assert x + width <= 24
        assert not cells & taken
        taken |= cells


def test_an_alarm_watches_a_metric_as_it_is_written() -> None:
    for name, alarm in ALARMS.items():
        if alarm["Namespace"] == NAMESPACE:
            assert alarm["MetricName"] in set(Metric), name
            assert alarm["Dimensions"] == [{"Name": "service", "Value": {"Ref": "AWS::StackName"}}]


def test_every_metric_is_explained_with_its_unit() -> None:
    rows = [row.split(" | ") for row in PAGE.splitlines() if row.startswith("| `")]
    explained = {name: row[1] for row in rows if len(row) == 4 for name in re.findall(r"`(\w+)`", row[0])}
    assert explained == {metric.value: UNITS.get(metric, "Count") for metric in Metric}


def test_every_alarm_is_explained() -> None:
    (part,) = re.findall(r"## Alarms\n(.*)", PAGE, re.DOTALL)
    rows = [row for row in part.splitlines() if row.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])} == set(ALARMS)


def line(written: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(written)
    return found


def test_a_line_of_metrics_is_one_that_cloudwatch_takes(capsys: pytest.CaptureFixture[str]) -> None:
    Metrics("stack").put({Metric.OPEN_RUNS: 3}, queue="große gpus", state="training")
    found = line(capsys.readouterr().out)
    (metrics,) = found["_aws"]["CloudWatchMetrics"]
    assert isinstance(found["_aws"]["Timestamp"], int)
    assert metrics["Metrics"] == [{"Name": "OpenRuns", "Unit": "Count"}]
    (dimensions,) = metrics["Dimensions"]
    assert {name: found[name] for name in dimensions} == {
        "service": "stack",
        "queue": "gro\\xdfe gpus",
        "state": "training",
    }
    assert found["OpenRuns"] == [3.0]


def test_nothing_is_written_for_no_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    Metrics("stack").put({})
    assert capsys.readouterr().out == ""
