"""Runs in W&B show their training jobs; what they show is read back with the real client."""

import json
from typing import Any

from local.stack import WANDB_PYTHON
from local.wandb.queues import RunQueueItem
from tests.e2e.conftest import ENTITY, Application, wait_for
from tests.e2e.test_pipeline import ALGORITHM
from tests.wandb.client import Client

LOGS = "import wandb; r = wandb.init(config={'mine': 1}); r.log({'loss': 0.5}); print(dict(r.config)); r.finish()"
FAILS = "import wandb; r = wandb.init(); r.log({'loss': 0.5}); raise SystemExit(3)"
WAITS = "import wandb, time; wandb.init(); time.sleep(600)"
READ_BACK = """
import json, sys, wandb
api, found = wandb.Api(), {}
for name, path in json.loads(sys.argv[1]).items():
    run = api.run(path)
    found[name] = {"state": run.state, "config": dict(run.config), "summary": run.summary._json_dict}
    found[name]["models"] = [
        [model.type, model.logged_by().id, [entry.ref for entry in model.manifest.entries.values()]]
        for model in run.logged_artifacts()
    ]
print(json.dumps(found))
"""


def queue_all(app: Application) -> dict[str, RunQueueItem]:
    """Queue a run of each kind, and wait until all have ended."""

    def of(name: str, script: str) -> str:
        return app.image(f"results-{name}", str(WANDB_PYTHON), "-c", script)

    spot = {
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200},
    }
    app.deployed.cloud.put_faults([{"match": "interrupted-spot", "interrupts": True}])
    algorithm = {
        "AlgorithmSpecification": {"AlgorithmName": ALGORITHM, "TrainingInputMode": "File"},
        "HyperParameters": {"num_round": "10"},
    }
    items = {
        "stopped": app.push(of("waits", WAITS)),
        "finished": app.push(of("logs", LOGS), overrides={"run_config": {"lr": 0.1}}),
        "failed": app.push(of("fails", FAILS)),
        "spot": app.push(of("lasts", f"{LOGS}\nimport time; time.sleep(2)"), run_id="interrupted-spot", sagemaker=spot),
        "algorithm": app.push(sagemaker=algorithm),
    }
    wait_for(lambda: (run := app.run(items["stopped"])) and run.state == "running")
    app.stop_in_wandb(items["stopped"])
    for name, item in items.items():
        assert app.outcome(item)["verdict"] == {"spot": "finished", "algorithm": "finished"}.get(name, name)
    app.deployed.cloud.put_faults([])
    return items


def test_each_end_of_a_run_is_read_back_with_the_real_client(app: Application, client: Client) -> None:
    items = queue_all(app)
    paths = {name: f"{ENTITY}/p/{item.associated_run_id}" for name, item in items.items()}
    found: dict[str, Any] = json.loads(client.run("python", "-c", READ_BACK, json.dumps(paths)))
    for name, item in items.items():
        (job,) = app.training_jobs(item)
        config, summary = found[name]["config"], found[name]["summary"]
        assert config["sagemaker/job_name"] == summary["sagemaker/job_name"] == job["TrainingJobName"]
        assert summary["sagemaker/job_arn"] == job["TrainingJobArn"]
        assert summary["sagemaker/log_url"] == config["sagemaker/log_url"]
        execution = app.execution(item)
        assert execution
        assert config["sagemaker/execution_url"].endswith(execution["executionArn"])
        assert summary["sagemaker/instance_type"] == job["ResourceConfig"]["InstanceType"]
        assert summary["sagemaker/queued_seconds"] >= 0
        assert summary["sagemaker/training_seconds"] >= summary["sagemaker/billable_seconds"] > 0
        assert summary["sagemaker/estimated_cost_usd"] > 0
        assert summary["sagemaker/price_day"]
        assert summary.get("loss") == (None if name in ("algorithm", "stopped") else 0.5)
        models = [job["ModelArtifacts"]["S3ModelArtifacts"]] if job["TrainingJobStatus"] == "Completed" else []
        assert found[name]["models"] == [["model", item.associated_run_id, [uri]] for uri in models]
    assert found["finished"]["config"]["lr"] == 0.1
    assert found["finished"]["config"]["mine"] == 1
    assert found["finished"]["summary"]["sagemaker/status"] == "Completed"
    assert "sagemaker/spot_saving_percent" not in found["finished"]["summary"]
    assert found["failed"]["summary"]["sagemaker/failure_reason"].startswith("AlgorithmError: , exit code: 3")
    assert found["stopped"]["summary"]["sagemaker/status"] in ("Failed", "Stopped")
    assert found["spot"]["summary"]["sagemaker/spot_saving_percent"] > 0
    assert found["algorithm"]["state"] == "finished"
    assert found["algorithm"]["config"]["num_round"] == "10"
    assert found["algorithm"]["summary"]["sagemaker/metrics/train:simulated"] == 1.0
