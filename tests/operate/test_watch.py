"""The runs of a stack, as `make watch` and `make local` show them in terminals of several widths and without one."""

import io
import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pyte
import pytest
from rich.console import Console, RenderableType

from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.wandb import Wandb
from local.demo import screen
from local.demo.screen import Details, Line
from local.progress import timed
from local.wandb import WandbServer
from operate.runs import Runs, WatchedRun
from operate.waiting import WaitingItems
from operate.watch import elapsed, line_of, runs_table, with_waiting

BEGAN = datetime(2026, 11, 26, 12, tzinfo=UTC)
URL = "https://wandb.ai/my-team/a-rather-long-project-name/runs/limzn0a6"
REASON = "FileNotFoundError: [Errno 2] No such file or directory: '/opt/ml/input/data/train.csv'\nmore"
RUN = WatchedRun("arn:e", "item", "limzn0a6", "my-run", BEGAN, None, "training", url=URL, instance="ml.m5.large spot")
FAILED = RUN._replace(phase="failed", reason=REASON, ended=BEGAN + timedelta(seconds=90))
LINES = [
    Line("trains a classifier of digits", "finished", 34),
    Line("comes as the same code again", "not launched", 3700, REASON),
    Line("fails in user code", "failed", 5, REASON, as_expected=False),
]


def shown(what: RenderableType, width: int, *, terminal: bool = False) -> str:
    file = io.StringIO()
    colors: Any = {"force_terminal": True, "color_system": "standard"} if terminal else {}
    Console(file=file, width=width, highlight=False, **colors).print(what)
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_table_has_a_line_for_each_run_that_fits_the_terminal(width: int) -> None:
    for what in (runs_table([RUN, FAILED], BEGAN + timedelta(hours=2, minutes=5)), screen.table(LINES)):
        lines = shown(what, width).splitlines()
        assert len(lines) == 3
        assert max(map(len, lines)) <= width
    assert "ml.m5.large spot" in shown(runs_table([RUN, FAILED], BEGAN), width)
    text = shown(screen.table(LINES), width)
    assert all(line.name in text and line.phase in text for line in LINES)
    assert re.search(r"^trains a classifier of digits +finished +34 s", text, re.MULTILINE)
    assert re.search(r"^fails in user code +failed +5 s +not as expected  ", text, re.MULTILINE)


def test_a_verdict_has_its_colour_where_there_is_a_terminal_and_none_elsewhere() -> None:
    assert "\x1b[32mfinished" in shown(screen.table(LINES), 80, terminal=True)
    assert "\x1b[31mfailed" in shown(runs_table([FAILED], BEGAN), 80, terminal=True)
    assert "\x1b" not in shown(screen.table(LINES), 80)


@pytest.mark.parametrize("fails", [False, True])
def test_a_step_is_one_line_in_a_terminal_that_changes_while_it_lasts(fails: bool) -> None:
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True)
    with suppress(KeyboardInterrupt), timed("a step", console):
        console.print("what it says")
        if fails:
            raise KeyboardInterrupt
    terminal = pyte.Screen(80, 10)
    pyte.Stream(terminal).feed(file.getvalue().replace("\n", "\r\n"))
    lines = [line.partition(":")[0].rstrip() for line in terminal.display if line.strip()]
    assert lines == ["what it says", *([] if fails else ["a step"])]
    assert "a step ... " in file.getvalue()
    assert not terminal.cursor.hidden


def test_a_step_is_a_line_at_its_beginning_and_one_at_its_end_without_a_terminal() -> None:
    file = io.StringIO()
    with timed("a step", Console(file=file, width=20)):
        assert re.fullmatch(r"a step \.\.\. \d+ s\n", file.getvalue())
    assert re.fullmatch(r"(a step \.\.\. \d+ s\n)+a step: [\d.]+ s\n", file.getvalue())


def test_details_have_the_whole_reason_and_links_that_can_be_copied() -> None:
    file = io.StringIO()
    screen.show_details(Console(file=file, width=80), [Details("fails in user code", REASON, {"run": URL * 2})])
    text = file.getvalue()
    assert " ".join(REASON.split()) in " ".join(text.split())
    assert f"  run           {URL * 2}\n" in text


def test_without_a_terminal_a_run_is_a_line_with_its_whole_link() -> None:
    line = line_of(RUN, BEGAN + timedelta(hours=2, minutes=5)).plain
    assert re.fullmatch(rf"\d\d:\d\d:\d\d  my-run  training  2 h 5 min  ml\.m5\.large spot  {URL}", line)
    assert line_of(FAILED, BEGAN).plain.endswith("'/opt/ml/input/data/train.csv'")


def test_items_that_wait_in_wandb_are_shown_until_they_are_runs() -> None:
    server = WandbServer(entity="team", api_key="k" * 40)
    for queue in ("one", "two"):
        server.create_queue(queue, config={})
    item = server.push("two", {"entity": "team", "project": "p", "name": "my-run"})
    named = server.push("one", {"entity": "team", "project": "p"})
    with server.running() as url:
        waiting = WaitingItems(Wandb(GraphqlClient(url, lambda: "k" * 40)), "team", ["one", "two"])
        assert {each.name: each.phase for each in waiting.now()} == {"my-run": "in the queue", named: "in the queue"}
    assert [each.item_id for each in with_waiting([RUN._replace(item_id=item)], waiting.now())] == [item, named]


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7260, "2 h 1 min")])
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text


def test_progress_without_a_terminal_is_a_line_for_each_change() -> None:
    file, looks = io.StringIO(), iter([["planning"], ["planning"], ["training"]])
    phases: list[list[str]] = []

    def look() -> list[Line]:
        phases.append(next(looks))
        return [Line("a run", phases[-1][0], 1)]

    screen.follow(Console(file=file, width=80), look, lambda: len(phases) == 3)
    assert re.sub(r"\d\d:\d\d:\d\d  ", "", file.getvalue()) == "a run: planning, 1 s\na run: training, 1 s\n"


# --- what executions say
class Aws:
    """Step Functions with one execution, and SageMaker with its training job."""

    def __init__(self, execution: dict[str, Any], *events: dict[str, Any], **job: Any) -> None:
        self._execution, self._events, self._job = execution, list(events), job
        self.described = 0

    def list_executions(self, **_: Any) -> dict[str, Any]:
        return {"executions": [{"executionArn": "arn:x:e"}]}

    def describe_execution(self, **_: Any) -> dict[str, Any]:
        self.described += 1
        asked = {"run_queue_item_id": "item", "run_id": "run"}
        return {"executionArn": "arn:x:e", "startDate": BEGAN, "input": json.dumps(asked), **self._execution}

    def get_execution_history(self, **_: Any) -> dict[str, Any]:
        return {"events": self._events[::-1]}

    def describe_training_job(self, **_: Any) -> dict[str, Any]:
        return self._job


def entered(name: str) -> dict[str, Any]:
    return {"type": "TaskStateEntered", "stateEnteredEventDetails": {"name": name}}


def failed(error: str, message: str) -> dict[str, Any]:
    details = {"error": error, "cause": json.dumps({"errorMessage": message})}
    return {"type": "TaskFailed", "taskFailedEventDetails": details}


SUBMITTED = {
    "type": "TaskSubmitted",
    "taskSubmittedEventDetails": {
        "resourceType": "lambda",
        "output": json.dumps({"Payload": {"training_job_name": "job"}}),
    },
}
PLANNED = {
    "type": "TaskStateExited",
    "stateExitedEventDetails": {"name": "Plan run", "output": json.dumps({"run_url": URL, "image": "given"})},
}
RUNNING, ENDED = {"status": "RUNNING"}, {"stopDate": BEGAN + timedelta(seconds=5)}
JOB = {
    "SecondaryStatus": "Downloading",
    "EnableManagedSpotTraining": True,
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2},
}
FAILED_JOB = {**JOB, "TrainingJobStatus": "Failed", "SecondaryStatus": "Failed"}


@pytest.mark.parametrize(
    ("aws", "phase", "reason"),
    [
        (Aws(RUNNING), "planning", ""),
        (
            Aws(RUNNING, entered("Plan run"), failed("ImageBeingBuilt", "item 2 builds")),
            "waiting for the image",
            "item 2 builds",
        ),
        (Aws(RUNNING, PLANNED, entered("Build image")), "building the image", ""),
        (
            Aws(RUNNING, entered("Train"), failed("CapacityUnavailable", "none left")),
            "waiting for capacity",
            "none left",
        ),
        (Aws(RUNNING, entered("Train"), failed("AwsThrottled", "slow")), "starting, again", "slow"),
        (Aws(RUNNING, PLANNED, entered("Train"), SUBMITTED, **JOB), "downloading", ""),
        (Aws(RUNNING, PLANNED, entered("Train"), SUBMITTED, **FAILED_JOB), "reporting", ""),
        (Aws(RUNNING, entered("Report outcome")), "reporting", ""),
        (
            Aws({"status": "SUCCEEDED", **ENDED, "output": json.dumps({"verdict": "failed", "reason": "no"})}),
            "failed",
            "no",
        ),
        (Aws({"status": "SUCCEEDED", **ENDED, "output": "{}"}), "taken by another launch agent", ""),
        (Aws({"status": "FAILED", **ENDED, "error": "LaunchFailed", "cause": "no role"}), "not launched", "no role"),
        (Aws({"status": "ABORTED", **ENDED, "error": "Stopped", "cause": "by hand"}), "stopped", "by hand"),
        (Aws({"status": "ABORTED", **ENDED}), "stopped", "The execution was stopped in Step Functions."),
    ],
)
def test_a_phase_is_that_of_the_state_or_of_what_it_waits_for(aws: Aws, phase: str, reason: str) -> None:
    runs = Runs(lambda _: aws, "arn")
    (run,) = runs.newest(5)
    assert (run.phase, run.reason) == (phase, reason)
    if run.training_job:
        assert (run.instance, run.url) == ("2 x ml.m5.large spot", URL)
    runs.newest(5)
    assert aws.described == (1 if run.ended else 2)
