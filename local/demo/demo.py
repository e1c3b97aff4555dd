"""Queues runs of images and of code, shows their progress, and compares W&B's data with the expected outcomes."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from local.demo.git_server import GitServer, git_server, make_repository
from local.stack import ROOT, WANDB_PYTHON, Deployed, printed_by

JOB = ROOT / "local/demo/job"

_PROJECT = "demo"
_PATIENCE_SECONDS = 300
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_WANDB = WANDB_PYTHON.with_name("wandb")


@dataclass(frozen=True)
class Order:
    """One run to queue: its source, its options of `wandb launch`, and its expected outcome."""

    name: str
    source: tuple[str, str]
    """The option of `wandb launch`, -d for an image or -j for a job, and the name of a demo image or job."""
    image: str | None
    """The plan's word for the image: given, to be built, or reused; None if planning fails."""
    item_state: str
    verdict: str
    options: tuple[str, ...] = ()
    epochs: int = 0
    """The run's number of rows of metrics; 0 if the run must not exist."""
    words: str = ""
    """Words that the item's error.log must contain; empty if it must not exist."""


TRAINS = Order(
    name="trains a classifier of digits",
    source=("-d", "train"),
    options=("-c", json.dumps({"overrides": {"run_config": {"epochs": 8, "learning_rate": 0.02}}})),
    image="given",
    item_state="claimed",
    verdict="finished",
    epochs=8,
)
BREAKS = Order(
    name="fails in user code",
    source=("-d", "broken"),
    image="given",
    item_state="failed",
    verdict="failed",
    words="FileNotFoundError",
)
MISTAKES = Order(
    name="overrides the queue wrongly",
    source=("-d", "train"),
    options=("-R", json.dumps({"sagemaker": {"StoppingConditions": {"MaxRuntimeInSeconds": 60}}})),
    image=None,
    item_state="failed",
    verdict="not launched",
    words="Did you mean StoppingCondition?",
)
COMES_AS_CODE = Order(
    name="comes as code", source=("-j", "code"), image="to be built", item_state="claimed", verdict="finished", epochs=5
)
COMES_FROM_GIT = Order(
    name="comes from git", source=("-j", "git"), image="to be built", item_state="claimed", verdict="finished", epochs=5
)
COMES_AGAIN = Order(
    name="comes as the same code again",
    source=("-j", "code"),
    image="reused",
    item_state="claimed",
    verdict="finished",
    epochs=5,
)


@dataclass
class Row:
    """The known facts about one order's run."""

    order: Order
    item: str = ""
    run_id: str = ""
    execution: str = ""
    execution_status: str = ""
    training_job: str | None = None
    training_status: str = ""
    image: str | None = None
    verdict: str = ""
    reason: str = ""
    read_back: dict[str, Any] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether its execution has ended."""
        return self.execution_status not in ("", "RUNNING")

    @property
    def as_expected(self) -> bool:
        """Whether W&B's data matches the expected outcome."""
        seen, log = self.read_back, self.read_back.get("error_log") or ""
        run_state = "finished" if self.order.epochs else None
        learned = not run_state or (
            (seen["summary"] or {}).get("accuracy", 0) > 0.8 and seen["history"] == self.order.epochs
        )
        launched = self.training_job is not None or self.verdict == "not launched"
        return (
            (seen["item_state"], seen["run_state"]) == (self.order.item_state, run_state)
            and (self.verdict, self.image) == (self.order.verdict, self.order.image)
            and (self.order.words in log if self.order.words else not log)
            and learned
            and launched
        )

    def as_json(self) -> dict[str, Any]:
        """Return the facts for scripts."""
        return {
            "item": self.item,
            "run_id": self.run_id,
            "execution": self.execution,
            "training_job": self.training_job,
            "image": self.image,
            "verdict": self.verdict,
            "reason": self.reason,
        }


def image_of(script: str) -> dict[str, Any]:
    """Return the description of an image that runs one of the demo's scripts with the training environment's Python."""
    return {"entrypoint": [str(WANDB_PYTHON), str(ROOT / "local/demo" / script)], "env": {"PYTHONUNBUFFERED": "1"}}


def run_demo(deployed: Deployed, home: Path, git: GitServer | None, console: Console, only: str = "") -> list[Row]:
    """Queue the orders, wait for them to end, and return a row for each. Without `git`, leave out the order from git.

    `only` selects the orders whose names contain these words. Raises SystemExit if no name does.
    """
    orders = [TRAINS, BREAKS, MISTAKES, COMES_AS_CODE, *([COMES_FROM_GIT] if git else [])]
    chosen = [order for order in orders if only in order.name]
    if not chosen:
        raise SystemExit(f'No run has "{only}" in its name. The runs are: {", ".join(order.name for order in orders)}')
    _configure_queue(deployed, home)
    sources = {name: deployed.cloud.put_image(f"demo:{name}", image_of(f"{name}.py")) for name in ("train", "broken")}
    sources |= _jobs(deployed, home, git)
    for order in chosen:
        _queue(deployed, home, order, sources)
    rows = [Row(order, item) for order, item in zip(chosen, _items(deployed, home), strict=True)]
    first = next((row for row in rows if row.order is COMES_AS_CODE), None)
    again = Row(COMES_AGAIN)
    rows += [again] if first else []
    aws = _Aws(deployed)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with Live(_progress(rows), console=console, refresh_per_second=4) as live:
        while not all(row.has_ended for row in rows) and time.monotonic() < deadline:
            if first and first.has_ended and not again.item:
                _queue(deployed, home, again.order, sources)
                again.item = _items(deployed, home)[-1]
            for row in rows:
                aws.look_up(row)
            live.update(_progress(rows))
            time.sleep(0.25)
    _read_back(deployed, home, rows)
    console.print(_outcomes(deployed, rows))
    return rows


@contextmanager
def demo_repository(folder: Path) -> Iterator[GitServer | None]:
    """Serve a git repository with the demo's job over https; yield None if this machine has no git."""
    if not shutil.which("git"):
        yield None
        return
    repositories = folder / "git"
    repositories.mkdir()
    make_repository({path.name: path.read_text() for path in JOB.iterdir()}, repositories / "job.git")
    with git_server(repositories, folder) as server:
        yield server


def _jobs(deployed: Deployed, home: Path, git: GitServer | None) -> dict[str, str]:
    """Create a job from code and, with a git server, a job from git, with `wandb job create`; return their names."""
    common = ["-e", deployed.wandb.entity, "-p", _PROJECT, "-E", "python train.py", "-r", _PYTHON]
    shutil.copytree(JOB, home / "job")
    _client(deployed, home, [str(_WANDB), "job", "create", "code", "job", "-n", "code", *common])
    if git:
        trust = {"GIT_SSL_CAINFO": str(git.certificate)}
        command = [str(_WANDB), "job", "create", "git", f"{git.url}/job.git", "-g", "main", "-n", "git", *common]
        _client(deployed, home, command, variables=trust)
    return {name: f"{deployed.wandb.entity}/{_PROJECT}/{name}:latest" for name in ("code", "git")}


class _Aws:
    """Reads the runs' progress from the embedded AWS."""

    def __init__(self, deployed: Deployed) -> None:
        self._states = deployed.cloud.client("stepfunctions")
        self._sagemaker = deployed.cloud.client("sagemaker")
        self._dynamodb = deployed.cloud.client("dynamodb")
        self._machine, self._table = deployed.outputs["StateMachineArn"], deployed.outputs["RunsTable"]

    def look_up(self, row: Row) -> None:
        """Update a row from its execution and its training job."""
        if row.has_ended or not row.item:
            return
        record = self._dynamodb.get_item(TableName=self._table, Key={"pk": {"S": f"run#{row.item}"}}).get("Item")
        if not record:
            return
        arn = f"{self._machine.replace(':stateMachine:', ':execution:')}:{record['execution_name']['S']}"
        try:
            execution = self._states.describe_execution(executionArn=arn)
        except self._states.exceptions.ExecutionDoesNotExist:
            return
        row.execution, row.execution_status = arn, execution["status"]
        row.run_id = json.loads(execution["input"])["run_id"]
        self._look_up_training_job(row)
        if row.has_ended:
            output = json.loads(execution.get("output") or "{}")
            row.verdict = output.get("verdict", "not launched")
            row.reason = output.get("reason") or _message(execution.get("cause", ""))
            row.image = self._image(arn)

    def _image(self, execution: str) -> str | None:
        """Return the word for the image from the output of the state "Plan run"; None if that state failed."""
        history = self._states.get_execution_history(executionArn=execution, maxResults=1000)["events"]
        exits = [event["stateExitedEventDetails"] for event in history if "stateExitedEventDetails" in event]
        outputs = [json.loads(each["output"]) for each in exits if each["name"] == "Plan run"]
        return outputs[-1].get("image") if outputs else None

    def _look_up_training_job(self, row: Row) -> None:
        for summary in self._sagemaker.list_training_jobs(NameContains=row.run_id)["TrainingJobSummaries"]:
            job = self._sagemaker.describe_training_job(TrainingJobName=summary["TrainingJobName"])
            row.training_job, row.training_status = job["TrainingJobName"], job["SecondaryStatus"]


def _message(cause: str) -> str:
    """Return a failed function's message, without its stack trace."""
    try:
        return str(json.loads(cause)["errorMessage"])
    except (ValueError, KeyError, TypeError):
        return cause


def _progress(rows: list[Row]) -> Table:
    table = Table("run", "run id", "execution", "training job", box=None)
    for row in rows:
        table.add_row(
            row.order.name,
            row.run_id,
            row.execution_status or ("in the queue" if row.item else ""),
            row.training_status,
        )
    return table


def _outcomes(deployed: Deployed, rows: list[Row]) -> Table:
    table = Table(show_lines=True)
    for heading in ("item", "run", "execution", "image", "training job", "verdict", "reason", "where to look"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        page = f"{deployed.wandb.url}/{deployed.wandb.entity}/{_PROJECT}/runs/{row.run_id}"
        log = f"error.log of item {row.item}" if row.read_back["error_log"] else page
        mark = "" if row.as_expected else " [red](not as expected)[/]"
        name = row.execution.rpartition(":")[2]
        table.add_row(row.item, row.run_id, name, row.image, row.training_job, row.verdict + mark, row.reason, log)
    return table


def _client(
    deployed: Deployed, home: Path, command: list[str], text: str = "", *, variables: Mapping[str, str] | None = None
) -> str:
    """Run a program in the user's environment; return its output. Raises SystemExit if it fails."""
    folders = ("HOME", "TMPDIR", "WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR")
    environment: Mapping[str, str] = {
        "PATH": os.environ["PATH"],
        **dict.fromkeys(folders, str(home)),
        **deployed.wandb.environment,
        **(variables or {}),
    }
    return printed_by(command, folder=home, environment=environment, given=text)


def _configure_queue(deployed: Deployed, home: Path) -> None:
    """Give the queue the stack's suggested configuration through the public API, as a user would."""
    script = (
        "import json, sys, wandb\n"
        "wandb.Api().upsert_run_queue(sys.argv[1], json.loads(sys.argv[2]), 'sagemaker', entity=sys.argv[3])\n"
    )
    arguments = [deployed.wandb.queue, deployed.outputs["QueueConfiguration"], deployed.wandb.entity]
    _client(deployed, home, [str(WANDB_PYTHON), "-c", script, *arguments])


def _queue(deployed: Deployed, home: Path, order: Order, sources: Mapping[str, str]) -> None:
    """Queue a run with `wandb launch`."""
    option, name = order.source
    where = ["-q", deployed.wandb.queue, "-e", deployed.wandb.entity, "-p", _PROJECT]
    _client(deployed, home, [str(_WANDB), "launch", *where, option, sources[name], *order.options])


def _items(deployed: Deployed, home: Path) -> list[str]:
    """Return the ids of the queue's items, oldest first."""
    script = (
        "import json, sys, wandb\n"
        "print(json.dumps([item.id for item in wandb.Api().run_queue(sys.argv[1], sys.argv[2]).items]))\n"
    )
    command = [str(WANDB_PYTHON), "-c", script, deployed.wandb.entity, deployed.wandb.queue]
    return list(json.loads(_client(deployed, home, command).splitlines()[-1]))


def _read_back(deployed: Deployed, home: Path, rows: list[Row]) -> None:
    """Read each run's outcome from W&B through the public API."""
    script = str(ROOT / "local/demo/read_back.py")
    command = [str(WANDB_PYTHON), script, deployed.wandb.entity, deployed.wandb.queue, _PROJECT]
    asked = json.dumps([{"item": row.item, "run_id": row.run_id} for row in rows])
    answers = json.loads(_client(deployed, home, command, asked).splitlines()[-1])
    for row, answer in zip(rows, answers, strict=True):
        row.read_back = answer
