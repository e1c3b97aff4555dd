"""Without capacity, a run waits, with one warning on its item, and continues as the same run when there is capacity."""

import pytest

from tests.e2e.conftest import Application
from tests.e2e.test_stops import OFFLINE, QUOTA


def warnings(app: Application, run_id: str, fault: dict[str, object]) -> list[str]:
    """Launch a run that meets a fault; return the warnings on its item."""
    app.deployed.cloud.put_faults([{"match": run_id, **fault}])
    item = app.quick(run_id=run_id)
    assert app.outcome(item)["verdict"] == "finished"
    app.deployed.cloud.put_faults([])
    return [str(warning["message"]) for warning in item.warnings]


def test_a_run_that_waits_for_quota_says_so_once(app: Application) -> None:
    assert warnings(app, "quota2", {"code": "ResourceLimitExceeded", "message": QUOTA, "times": 3}) == [
        "waiting for quota: ml.g5.xlarge for training job usage. Request a higher quota in the Service Quotas console.",
        "The training job quota2 has its instances.",
    ]


@pytest.mark.parametrize("kind", ["CapacityError", "InternalServerError"])
def test_a_job_that_sagemaker_fails_is_followed_by_another_of_the_same_run(app: Application, kind: str) -> None:
    run_id = f"again-{kind.lower()}"
    app.deployed.cloud.put_faults([{"match": run_id, "fails": f"{kind}: Please retry.", "times": 2}])
    item = app.quick(run_id=run_id)
    assert app.outcome(item)["verdict"] == "finished"
    app.deployed.cloud.put_faults([])
    jobs = sorted(app.training_jobs(item), key=lambda job: job["CreationTime"])
    assert [job["TrainingJobStatus"] for job in jobs] == ["Failed", "Failed", "Completed"]
    assert {job["Environment"]["WANDB_RUN_ID"] for job in jobs} == {run_id}
    assert [job["Environment"].get("WANDB_RESUME") for job in jobs] == [None, "allow", "allow"]
    assert len(item.warnings) == 2  # what it waits for, and that it waits no longer; or each failure of SageMaker


def test_sagemaker_may_fail_three_times(app: Application) -> None:
    app.deployed.cloud.put_faults([{"match": "always1", "fails": "InternalServerError: Please retry.", "times": 99}])
    item = app.quick(run_id="always1")
    assert app.outcome(item)["verdict"] == "failed"
    app.deployed.cloud.put_faults([])
    assert len(app.training_jobs(item)) == 4
    assert item.error
    assert "InternalServerError" in item.error["message"]


@pytest.mark.parametrize("kind", ["AlgorithmError", "ClientError"])
def test_what_would_fail_again_is_not_tried_again(app: Application, kind: str) -> None:
    app.deployed.cloud.put_faults([{"match": f"once-{kind}", "fails": f"{kind}: no", "times": 99}])
    item = app.quick(run_id=f"once-{kind}")
    assert app.outcome(item)["verdict"] == "failed"
    app.deployed.cloud.put_faults([])
    assert len(app.training_jobs(item)) == 1


def test_an_interrupted_spot_job_warns_once_and_continues(app: Application) -> None:
    app.deployed.cloud.put_faults([{"match": "spot1", "interrupts": True}])
    spot = {
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 120},
    }
    item = app.push(app.image("true", "true"), sagemaker={**OFFLINE, **spot}, run_id="spot1")
    assert app.outcome(item)["verdict"] == "finished"
    app.deployed.cloud.put_faults([])
    (job,) = app.training_jobs(item)
    assert job["Environment"]["WANDB_RESUME"] == "allow"
    assert [warning["message"].partition(".")[0] for warning in item.warnings] == ["The spot instance was interrupted"]
