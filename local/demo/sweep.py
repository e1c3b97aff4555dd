"""A small sweep in the demo: four learning rates, two runs at a time, queued by the real `wandb launch-sweep`."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from local.stack import ROOT, Deployed
from operate.runs import Runs

_PROJECT = "sweep"
_PATIENCE_SECONDS = 300
_WIDTH = 30
CONFIG: dict[str, Any] = {
    "method": "grid",
    "metric": {"name": "accuracy", "goal": "maximize"},
    "parameters": {"learning_rate": {"values": [0.0001, 0.001, 0.01, 0.1]}, "epochs": {"value": 3}},
    "scheduler": {"num_workers": 2},
}


def run_sweep(
    deployed: Deployed, home: Path, console: Console, client: Callable[[list[str]], str], wandb: Path, image: str
) -> bool:
    """Run the sweep, and show what won. Return whether all its runs finished.

    `client` runs a command on the user's machine, where `wandb` is the W&B command.
    """
    (home / "sweep.yaml").write_text(json.dumps({**CONFIG, "image_uri": image}))
    where = ["-q", deployed.wandb.queue, "-e", deployed.wandb.entity, "-p", _PROJECT]
    client([str(wandb), "launch-sweep", "sweep.yaml", *where])
    runs = Runs(deployed.cloud.client, deployed.outputs["StateMachineArn"])
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline and not _has_ended(runs):
        time.sleep(0.5)
    script = str(ROOT / "local/demo/read_sweep.py")
    found = json.loads(
        client([str(wandb.with_name("python")), script, deployed.wandb.entity, _PROJECT]).splitlines()[-1]
    )
    finished = [run for run in found if run["state"] == "finished" and run["accuracy"] is not None]
    if finished:
        console.print()
        console.print(_table(finished))
    return len(finished) == len(CONFIG["parameters"]["learning_rate"]["values"])


def _has_ended(runs: Runs) -> bool:
    schedulers = [run for run in runs.newest(10) if run.name.startswith("Scheduler.")]
    return bool(schedulers) and all(run.ended for run in schedulers)


def _table(runs: list[dict[str, Any]]) -> Table:
    """Return a bar for each run's accuracy; the best one is marked."""
    best = max(run["accuracy"] for run in runs)
    table = Table.grid(padding=(0, 2, 0, 0))
    for run in sorted(runs, key=lambda run: float(run["learning_rate"])):
        is_best = run["accuracy"] == best
        bar = "█" * round(run["accuracy"] * _WIDTH)
        row = (f"learning rate {run['learning_rate']:g}", f"{run['accuracy']:.3f}", bar, "won" if is_best else "")
        table.add_row(*row, style="green" if is_best else "")
    return table
