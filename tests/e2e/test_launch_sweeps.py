"""Sweeps of the real `wandb launch-sweep`, paused and canceled by the real client, and stopped in the console."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from local.stack import WANDB_PYTHON
from local.wandb.queues import RunQueueItem
from local.wandb.sweeps import Sweep
from tests.e2e.conftest import ENTITY, QUEUE, Application, wait_for
from tests.wandb.client import Client

_LOGS = "import wandb; run = wandb.init(); run.log({'loss': run.config.lr}); run.finish()"
_STAYS = "import time, wandb; wandb.init(); time.sleep(600)"


def launched(app: Application, client: Client, script: str, **config: Any) -> tuple[Sweep, RunQueueItem]:
    """Create a sweep of a script's runs; return it with its scheduler's item."""
    image = app.image("sweep", str(WANDB_PYTHON), "-c", script)
    described = {"method": "grid", "image_uri": image, "metric": {"name": "loss", "goal": "minimize"}, **config}
    (client.home / "sweep.yaml").write_text(json.dumps(described))
    client.run("wandb", "launch-sweep", "sweep.yaml", "-q", QUEUE, "-e", ENTITY, "-p", "sweeps")
    sweep = list(app.server.state.project(ENTITY, "sweeps").sweeps.values())[-1]
    return sweep, items(app, lambda spec: spec.get("run_id") == sweep.name)[-1]


def items(app: Application, are: Callable[[dict[str, Any]], bool]) -> list[RunQueueItem]:
    """Return the run queue items whose run spec is so."""
    return [item for item in list(app.server.state.items.values()) if are(item.run_spec)]


def items_of(app: Application, sweep: Sweep) -> list[RunQueueItem]:
    """Return the items of a sweep's runs."""
    return items(app, lambda spec: spec.get("sweep_id") == sweep.name)


def test_a_grid_is_trained_by_two_workers(app: Application, client: Client) -> None:
    parameters = {"lr": {"values": [0.3, 0.1, 0.2]}}
    sweep, item = launched(app, client, _LOGS, parameters=parameters, scheduler={"num_workers": 2})
    outcome = app.outcome(item, within=180)
    assert (outcome["verdict"], sweep.state) == ("finished", "FINISHED")
    assert [run.state for run in sweep.made] == ["finished"] * 3
    assert [run.config_values["lr"]["value"] for run in sweep.made] == [0.3, 0.1, 0.2]
    assert sweep.best_run is sweep.made[1]
    assert [app.closed(each)["verdict"] for each in items_of(app, sweep)] == ["finished"] * 3
    scheduler = sweep.project.runs_by_id[sweep.name]
    assert (scheduler.state, scheduler.display_name) == ("finished", f"Scheduler.{sweep.name}")


def test_a_sweep_that_is_paused_and_resumed_ends_at_its_run_cap(app: Application, client: Client) -> None:
    parameters = {"lr": {"min": 0.0, "max": 1.0}}
    go_on = client.home / "go-on"  # the client needs some seconds to pause a sweep, so its run waits for this file
    waits = f"[time.sleep(0.1) for _ in iter(lambda: os.path.exists({str(go_on)!r}), True)]"
    script = f"import os, time; {waits}; {_LOGS}"
    sweep, item = launched(
        app, client, script, method="random", run_cap=2, parameters=parameters, scheduler={"num_workers": 1}
    )
    wait_for(lambda: sweep.made)
    client.run("wandb", "sweep", "--pause", f"{ENTITY}/sweeps/{sweep.name}")
    go_on.touch()
    assert app.outcome(item, within=120)["verdict"] == "finished"
    assert (sweep.state, len(sweep.made)) == ("PAUSED", 1)
    client.run("wandb", "launch-sweep", "--resume_id", sweep.name, "-q", QUEUE, "-e", ENTITY, "-p", "sweeps")
    again = items(app, lambda spec: spec.get("run_id") == sweep.name)[-1]
    assert again is not item
    assert app.outcome(again, within=120)["verdict"] == "finished"
    assert (sweep.state, len(sweep.made)) == ("FINISHED", 2)


@pytest.mark.parametrize("where", ["in W&B", "in the console"])
def test_a_sweep_that_is_stopped_leaves_nothing(app: Application, client: Client, where: str) -> None:
    parameters = {"lr": {"values": [1, 2, 3]}}
    sweep, item = launched(app, client, _STAYS, parameters=parameters, scheduler={"num_workers": 2})
    wait_for(lambda: [run.state for run in sweep.made] == ["running"] * 2, within=120)
    if where == "in W&B":
        client.run("wandb", "sweep", "--cancel", f"{ENTITY}/sweeps/{sweep.name}")
    else:
        app.stop_execution(item)
    assert app.closed(item)["verdict"] == "stopped"
    assert sweep.state == "CANCELED"
    for each in items_of(app, sweep):
        assert app.closed(each, within=120)["verdict"] == "stopped"
        assert [job["TrainingJobStatus"] for job in app.training_jobs(each)] in (["Stopped"], ["Failed"])
    assert [run.stopped for run in sweep.made] == [True] * 2
