"""A stop in any phase and from any console stops the run everywhere; nothing continues."""

from pathlib import Path
from typing import Any

import pytest

from local.stack import WANDB_PYTHON
from tests.e2e.conftest import Application, wait_for
from tests.wandb.client import Client

QUOTA = (
    "The account-level service limit 'ml.g5.xlarge for training job usage' is 0 Instances, with current utilization "
    "of 0 Instances and a request delta of 1 Instances."
)
OFFLINE = {"Environment": {"WANDB_MODE": "offline"}}


def status_of(app: Application, name: str) -> str:
    """Return a training job's status."""
    job = app.deployed.cloud.client("sagemaker").describe_training_job(TrainingJobName=name)
    return str(job["TrainingJobStatus"])


def waiting_for_quota(app: Application, run_id: str) -> Any:
    """Return an item whose execution waits for capacity for a long time."""
    app.deployed.cloud.put_faults([{"match": run_id, "code": "ResourceLimitExceeded", "message": QUOTA, "times": 1000}])
    item = app.quick(run_id=run_id)
    wait_for(lambda: (record := app.record(item)) and "capacity_awaited_since" in record)
    return item


def test_a_run_stopped_in_wandb_that_does_not_end_has_its_training_job_stopped(app: Application) -> None:
    # The run exists before wandb.init returns; from then on, a stop interrupts a process that does not ignore SIGINT.
    script = "import signal, time, wandb; signal.signal(signal.SIGINT, signal.SIG_IGN); wandb.init(); time.sleep(600)"
    item = app.push(app.image("stubborn", str(WANDB_PYTHON), "-c", script))
    wait_for(lambda: (run := app.run(item)) and run.state == "running")
    app.stop_in_wandb(item)
    outcome = app.outcome(item)
    assert outcome["verdict"] == "stopped"
    assert [job["TrainingJobStatus"] for job in app.training_jobs(item)] == ["Stopped"]
    assert item.state == "CLAIMED"


def test_a_run_whose_process_ends_by_itself_when_it_is_stopped_in_wandb_was_stopped(
    app: Application, tmp_path: Path
) -> None:
    """Like when the client interrupts it: the process exits as failed, before a poll stops the job."""
    interrupt = tmp_path / "interrupt"
    script = (
        "import pathlib, sys, time, wandb; wandb.init()\n"
        f"while not pathlib.Path({str(interrupt)!r}).exists(): time.sleep(0.05)\n"
        "sys.exit(255)"
    )
    item = app.push(app.image("interrupted", str(WANDB_PYTHON), "-c", script))
    wait_for(lambda: (run := app.run(item)) and run.state == "running")
    interrupt.touch()
    app.stop_in_wandb(item)
    assert app.outcome(item)["verdict"] == "stopped"
    assert item.state == "CLAIMED"
    (warning,) = item.warnings  # an entry point of several lines cannot be started through sh
    assert warning["message"].startswith("The launch agent does not know the command of this image")


def test_a_run_stopped_in_wandb_ends_by_itself_where_it_can(app: Application, client: Client) -> None:
    item = app.push(app.image("willing", "sh", "-c", "sleep 600"))
    wait_for(lambda: app.training_jobs(item))
    app.stop_in_wandb(item)
    assert app.outcome(item)["verdict"] == "stopped"
    assert len(app.training_jobs(item)) == 1


def test_a_run_stopped_in_wandb_while_it_waits_for_quota_ends(app: Application) -> None:
    item = waiting_for_quota(app, "stopwait1")
    app.stop_in_wandb(item, state="pending")
    assert app.ended(item)["status"] == "ABORTED"
    assert app.closed(item)["verdict"] == "stopped"
    assert item.state == "FAILED"
    assert item.error
    assert item.error["message"] == "The run was stopped in W&B."
    assert app.training_jobs(item) == []
    app.deployed.cloud.put_faults([])


def test_an_execution_stopped_in_the_console_while_it_waits_for_quota_is_a_stopped_run(app: Application) -> None:
    item = waiting_for_quota(app, "stopwait2")
    app.stop_execution(item)
    assert app.closed(item)["verdict"] == "stopped"
    assert item.error
    assert "stopped in Step Functions" in item.error["message"]
    app.deployed.cloud.put_faults([])


@pytest.mark.parametrize("wait", ["job", "container"])
def test_an_execution_stopped_in_the_console_stops_its_training_job(app: Application, wait: str) -> None:
    item = app.push(app.image("sleep", "sh", "-c", "sleep 600"), sagemaker=OFFLINE)
    job = wait_for(lambda: next(iter(app.training_jobs(item)), None))
    if wait == "container":
        wait_for(lambda: (record := app.record(item)) and record.get("training_status") == "Training")
    app.stop_execution(item)
    assert app.closed(item)["verdict"] == "stopped"
    wait_for(lambda: status_of(app, job["TrainingJobName"]) == "Stopped")
    wait_for(lambda: app.slots() == 0)


def test_a_stopped_run_is_not_tried_again_though_it_never_started(app: Application) -> None:
    app.deployed.cloud.put_faults([{"match": "stopearly", "fails": "CapacityError: none left", "times": 1000}])
    item = app.quick(run_id="stopearly")
    wait_for(lambda: (record := app.record(item)) and "capacity_awaited_since" in record)
    app.stop_in_wandb(item, state="pending")
    assert app.closed(item)["verdict"] in ("stopped", "failed")
    jobs = len(app.training_jobs(item))
    app.sweep()
    assert len(app.training_jobs(item)) == jobs
    app.deployed.cloud.put_faults([])
