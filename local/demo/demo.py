"""Queues runs of images and of code, shows their progress, and compares W&B's data with the expected outcomes."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from local.demo import screen
from local.demo.git_server import GitServer, git_server, make_repository
from local.demo.sweep import run_sweep
from local.progress import timed
from local.stack import ROOT, WANDB_PYTHON, Deployed, printed_by
from operate.runs import Runs, WatchedRun

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
    queued: datetime | None = None
    seen: WatchedRun | None = None
    read_back: dict[str, Any] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether its execution has ended."""
        return self.seen is not None and self.seen.ended is not None

    @property
    def verdict(self) -> str:
        """How it ended; empty if it has not."""
        return self.seen.phase if self.seen and self.seen.ended else ""

    @property
    def line(self) -> screen.Line:
        """What is shown of it now."""
        phase = self.seen.phase if self.seen else "in the queue" if self.item else "queued later"
        since = self.queued or datetime.now(UTC)
        until = self.seen.ended if self.seen and self.seen.ended else datetime.now(UTC)
        reason = self.seen.reason if self.seen else ""
        return screen.Line(
            self.order.name,
            phase,
            (until - since).total_seconds(),
            reason,
            as_expected=not self.read_back or self.as_expected,
        )

    @property
    def as_expected(self) -> bool:
        """Whether W&B's data matches the expected outcome."""
        seen, log = self.read_back, self.read_back.get("error_log") or ""
        run_state = "finished" if self.order.epochs else None
        learned = not run_state or (
            (seen["summary"] or {}).get("accuracy", 0) > 0.8 and seen["history"] == self.order.epochs
        )
        launched = bool(self.seen and self.seen.training_job) or self.verdict == "not launched"
        return (
            (seen["item_state"], seen["run_state"]) == (self.order.item_state, run_state)
            and (self.verdict, (self.seen and self.seen.image) or None) == (self.order.verdict, self.order.image)
            and (self.order.words in log if self.order.words else not log)
            and learned
            and launched
        )

    def as_json(self) -> dict[str, Any]:
        """Return the facts for scripts."""
        seen = self.seen
        return {
            "item": self.item,
            "run_id": seen.run_id if seen else "",
            "execution": seen.execution if seen else "",
            "training_job": (seen and seen.training_job) or None,
            "image": (seen and seen.image) or None,
            "verdict": self.verdict,
            "reason": seen.reason if seen else "",
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
    with timed("creating the jobs with wandb job create", console):
        _configure_queue(deployed, home)
        scripts = ("train", "broken")
        sources = {name: deployed.cloud.put_image(f"demo:{name}", image_of(f"{name}.py")) for name in scripts}
        sources |= _jobs(deployed, home, git)
    rows = [Row(order) for order in chosen]
    with timed("queueing the runs with wandb launch", console):
        for row in rows:
            _queue(deployed, home, row, sources)
    first = next((row for row in rows if row.order is COMES_AS_CODE), None)
    again = Row(COMES_AGAIN)
    rows += [again] if first else []
    runs = Runs(deployed.cloud.client, deployed.outputs["StateMachineArn"])
    deadline = time.monotonic() + _PATIENCE_SECONDS

    def look() -> list[screen.Line]:
        if first and first.has_ended and not again.item:
            _queue(deployed, home, again, sources)
        found = {run.item_id: run for run in runs.newest(len(rows))}
        for row in rows:
            row.seen = found.get(row.item, row.seen)
        return [row.line for row in rows]

    screen.follow(console, look, lambda: all(row.has_ended for row in rows) or time.monotonic() > deadline)
    with timed("reading the outcomes from W&B", console):
        _read_back(deployed, home, rows)
    screen.show_details(console, [_details(deployed, row) for row in rows])
    console.print()
    console.print(screen.table([row.line for row in rows]))
    return rows


def sweep_demo(deployed: Deployed, home: Path, console: Console) -> bool:
    """Run the demo's sweep, and show what won; return whether all its runs finished."""
    image = deployed.cloud.put_image("demo:train", image_of("train.py"))
    with timed("a sweep of four runs, two at a time, with wandb launch-sweep", console):
        return run_sweep(deployed, home, console, lambda command: _client(deployed, home, command), _WANDB, image)


def _details(deployed: Deployed, row: Row) -> screen.Details:
    seen = row.seen
    places = {"queue item": row.item}
    if seen:
        places |= {
            "execution": seen.execution.rpartition(":")[2],
            "image": seen.image,
            "training job": seen.training_job,
        }
    if row.order.epochs and seen:
        places["run"] = f"{deployed.wandb.url}/{deployed.wandb.entity}/{_PROJECT}/runs/{seen.run_id}"
    if row.read_back["error_log"]:
        places["in W&B"] = "error.log of the queue item"
    return screen.Details(row.order.name, seen.reason if seen else "", {key: at for key, at in places.items() if at})


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


def _queue(deployed: Deployed, home: Path, row: Row, sources: Mapping[str, str]) -> None:
    """Queue a run with `wandb launch`."""
    option, name = row.order.source
    where = ["-q", deployed.wandb.queue, "-e", deployed.wandb.entity, "-p", _PROJECT]
    row.queued = datetime.now(UTC)
    _client(deployed, home, [str(_WANDB), "launch", *where, option, sources[name], *row.order.options])
    row.item = _items(deployed, home)[-1]


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
    asked = json.dumps([{"item": row.item, "run_id": row.seen.run_id if row.seen else ""} for row in rows])
    answers = json.loads(_client(deployed, home, command, asked).splitlines()[-1])
    for row, answer in zip(rows, answers, strict=True):
        row.read_back = answer
