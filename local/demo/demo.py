"""Queues three runs, shows them on their way, and compares what W&B says of them with what it should say."""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from local.stack import ROOT, WANDB_PYTHON, Deployed

_PROJECT = "demo"
_PATIENCE_SECONDS = 180


@dataclass(frozen=True)
class Order:
    """One run to queue: with which image and options of `wandb launch`, and what should come of it."""

    name: str
    image: str
    options: tuple[str, ...]
    item_state: str
    run_state: str | None
    verdict: str
    words: str
    """What the item's error.log must say; empty where there is none to be."""


ORDERS = (
    Order(
        name="trains a classifier of digits",
        image="train",
        options=("-c", json.dumps({"overrides": {"run_config": {"epochs": 8, "learning_rate": 0.02}}})),
        item_state="claimed",
        run_state="finished",
        verdict="finished",
        words="",
    ),
    Order(
        name="fails in user code",
        image="broken",
        options=(),
        item_state="failed",
        run_state=None,
        verdict="failed",
        words="FileNotFoundError",
    ),
    Order(
        name="overrides the queue wrongly",
        image="train",
        options=("-R", json.dumps({"sagemaker": {"StoppingConditions": {"MaxRuntimeInSeconds": 60}}})),
        item_state="failed",
        run_state=None,
        verdict="not launched",
        words="Did you mean StoppingCondition?",
    ),
)


@dataclass
class Row:
    """What is known of one order's run."""

    order: Order
    item: str
    run_id: str = ""
    execution: str = ""
    execution_status: str = ""
    training_job: str | None = None
    training_status: str = ""
    verdict: str = ""
    reason: str = ""
    read_back: dict[str, Any] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether its execution has."""
        return self.execution_status not in ("", "RUNNING")

    @property
    def as_expected(self) -> bool:
        """Whether W&B says of it what it should."""
        seen = self.read_back
        log = seen.get("error_log") or ""
        learned = self.order.run_state is None or (seen["summary"].get("accuracy", 0) > 0.8 and seen["history"] == 8)
        launched = self.training_job is not None or self.verdict == "not launched"
        return (
            (seen["item_state"], seen["run_state"]) == (self.order.item_state, self.order.run_state)
            and self.verdict == self.order.verdict
            and (self.order.words in log if self.order.words else not log)
            and learned
            and launched
        )

    def as_json(self) -> dict[str, Any]:
        """Return what scripts want to know."""
        return {
            "item": self.item,
            "run_id": self.run_id,
            "execution": self.execution,
            "training_job": self.training_job,
            "verdict": self.verdict,
            "reason": self.reason,
        }


def image_of(script: str) -> dict[str, Any]:
    """Describe an image that runs one of the demo's scripts with the training environment's Python."""
    return {"entrypoint": [str(WANDB_PYTHON), str(ROOT / "local/demo" / script)], "env": {"PYTHONUNBUFFERED": "1"}}


def run_demo(deployed: Deployed, home: Path, console: Console) -> list[Row]:
    """Queue the orders, wait for their ends, and return what W&B says of each."""
    images = {name: deployed.cloud.put_image(f"demo:{name}", image_of(f"{name}.py")) for name in ("train", "broken")}
    _configure_queue(deployed, home)
    for order in ORDERS:
        _queue(deployed, home, order, images[order.image])
    rows = [Row(order, item) for order, item in zip(ORDERS, _items(deployed, home), strict=True)]
    aws = _Aws(deployed)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with Live(_progress(rows), console=console, refresh_per_second=4) as live:
        while not all(row.has_ended for row in rows) and time.monotonic() < deadline:
            for row in rows:
                aws.look_up(row)
            live.update(_progress(rows))
            time.sleep(0.25)
    _read_back(deployed, home, rows)
    console.print(_outcomes(deployed, rows))
    return rows


class _Aws:
    """What the embedded AWS says of the runs on their way."""

    def __init__(self, deployed: Deployed) -> None:
        self._states = deployed.cloud.client("stepfunctions")
        self._sagemaker = deployed.cloud.client("sagemaker")
        self._machine = deployed.outputs["StateMachineArn"]

    def look_up(self, row: Row) -> None:
        """Fill in what is known by now."""
        if row.has_ended:
            return
        arn = f"{self._machine.replace(':stateMachine:', ':execution:')}:{row.item}"
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
            row.reason = output.get("reason") or execution.get("cause", "")

    def _look_up_training_job(self, row: Row) -> None:
        for summary in self._sagemaker.list_training_jobs(NameContains=row.run_id)["TrainingJobSummaries"]:
            job = self._sagemaker.describe_training_job(TrainingJobName=summary["TrainingJobName"])
            row.training_job, row.training_status = job["TrainingJobName"], job["SecondaryStatus"]


def _progress(rows: list[Row]) -> Table:
    table = Table("run", "run id", "execution", "training job", box=None)
    for row in rows:
        table.add_row(row.order.name, row.run_id, row.execution_status or "in the queue", row.training_status)
    return table


def _outcomes(deployed: Deployed, rows: list[Row]) -> Table:
    table = Table(show_lines=True)
    for heading in ("item", "run", "execution", "training job", "verdict", "reason", "where to look"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        page = f"{deployed.wandb.url}/{deployed.wandb.entity}/{_PROJECT}/runs/{row.run_id}"
        log = f"error.log of item {row.item}" if row.read_back["error_log"] else page
        mark = "" if row.as_expected else " [red](not as expected)[/]"
        name = row.execution.rpartition(":")[2]
        table.add_row(row.item, row.run_id, name, row.training_job, row.verdict + mark, row.reason, log)
    return table


def _client(deployed: Deployed, home: Path, command: list[str], text: str = "") -> str:
    """Run a program of the user's environment; return what it printed. Raises SystemExit when it fails."""
    folders = ("HOME", "TMPDIR", "WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR")
    environment: Mapping[str, str] = {
        "PATH": os.environ["PATH"],
        **dict.fromkeys(folders, str(home)),
        **deployed.wandb.environment,
    }
    finished = subprocess.run(
        command, env=environment, cwd=home, input=text, capture_output=True, text=True, check=False
    )
    if finished.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed:\n{finished.stdout}{finished.stderr}")
    return finished.stdout


def _configure_queue(deployed: Deployed, home: Path) -> None:
    """Give the queue the configuration that the stack recommends, with the public API as a user would."""
    script = (
        "import json, sys, wandb\n"
        "wandb.Api().upsert_run_queue(sys.argv[1], json.loads(sys.argv[2]), 'sagemaker', entity=sys.argv[3])\n"
    )
    arguments = [deployed.wandb.queue, deployed.outputs["QueueConfiguration"], deployed.wandb.entity]
    _client(deployed, home, [str(WANDB_PYTHON), "-c", script, *arguments])


def _queue(deployed: Deployed, home: Path, order: Order, image: str) -> None:
    """Queue a run with `wandb launch`."""
    wandb = str(WANDB_PYTHON.with_name("wandb"))
    where = ["-q", deployed.wandb.queue, "-e", deployed.wandb.entity, "-p", _PROJECT]
    _client(deployed, home, [wandb, "launch", *where, "-d", image, *order.options])


def _items(deployed: Deployed, home: Path) -> list[str]:
    """Return the ids of the queue's items, oldest first."""
    script = (
        "import json, sys, wandb\n"
        "print(json.dumps([item.id for item in wandb.Api().run_queue(sys.argv[1], sys.argv[2]).items]))\n"
    )
    command = [str(WANDB_PYTHON), "-c", script, deployed.wandb.entity, deployed.wandb.queue]
    return list(json.loads(_client(deployed, home, command).splitlines()[-1]))


def _read_back(deployed: Deployed, home: Path, rows: list[Row]) -> None:
    """Ask W&B, with its public API, what it says of every run."""
    script = str(ROOT / "local/demo/read_back.py")
    command = [str(WANDB_PYTHON), script, deployed.wandb.entity, deployed.wandb.queue, _PROJECT]
    asked = json.dumps([{"item": row.item, "run_id": row.run_id} for row in rows])
    answers = json.loads(_client(deployed, home, command, asked).splitlines()[-1])
    for row, answer in zip(rows, answers, strict=True):
        row.read_back = answer
