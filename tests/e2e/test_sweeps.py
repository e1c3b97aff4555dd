"""A sweep finds what no event reports: lost ends, dead executions, training jobs without a run."""

from typing import Any

from tests.e2e.conftest import ENTITY, Application, wait_for

OFFLINE = {"Environment": {"WANDB_MODE": "offline"}}


def test_an_end_that_no_event_tells_is_found(app: Application) -> None:
    app.deployed.cloud.put_faults([{"match": "silent1", "events": "drop"}])
    item = app.quick(run_id="silent1")
    assert app.outcome(item)["verdict"] == "finished"
    assert len(app.training_jobs(item)) == 1
    app.deployed.cloud.put_faults([])


def test_a_run_of_an_execution_that_timed_out_is_reported_and_its_job_stopped(app: Application) -> None:
    item = app.push(app.image("sleep", "sh", "-c", "sleep 600"), sagemaker=OFFLINE)
    job = wait_for(lambda: next(iter(app.training_jobs(item)), None))
    states = app.deployed.cloud.client("stepfunctions")
    execution = app.execution(item)
    assert execution
    states.stop_execution(executionArn=execution["executionArn"], error="Stopped", cause="by hand")
    outcome = app.closed(item)
    assert (outcome["verdict"], outcome["reason"]) == ("stopped", "by hand")
    sagemaker = app.deployed.cloud.client("sagemaker")
    wait_for(
        lambda: (
            sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"])["TrainingJobStatus"] == "Stopped"
        )
    )
    assert item.state == "FAILED"


def test_a_wrong_count_of_slots_is_corrected_when_no_run_comes_or_goes(app: Application) -> None:
    app.outcome(app.quick())  # a count that was never changed is not corrected
    wait_for(lambda: app.slots() == 0)
    table, key = app.deployed.outputs["RunsTable"], {"pk": {"S": f"agent#{ENTITY}"}}
    app.deployed.cloud.client("dynamodb").update_item(
        TableName=table, Key=key, UpdateExpression="ADD jobs_open :one", ExpressionAttributeValues={":one": {"N": "1"}}
    )
    wait_for(lambda: app.sweep() and app.slots() == 0)


def test_a_training_job_that_no_run_waits_for_is_stopped(app: Application) -> None:
    item = app.quick()
    app.outcome(item)
    (job,) = app.training_jobs(item)
    sagemaker = app.deployed.cloud.client("sagemaker")
    copied: dict[str, Any] = {
        name: job[name]
        for name in ("RoleArn", "OutputDataConfig", "ResourceConfig", "StoppingCondition", "Environment")
    }
    tags = sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"]
    image = app.image("sleep", "sh", "-c", "sleep 600")
    app.deployed.cloud.put_faults([{"match": "stray1", "events": "drop"}])
    sagemaker.create_training_job(
        TrainingJobName="stray1",
        AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"},
        Tags=tags,
        **copied,
    )
    wait_for(
        lambda: (
            app.sweep() and sagemaker.describe_training_job(TrainingJobName="stray1")["TrainingJobStatus"] == "Stopped"
        )
    )
    app.deployed.cloud.put_faults([])


def test_a_launch_that_failed_is_redriven_when_its_cause_is_fixed(app: Application) -> None:
    app.deployed.cloud.put_faults([{"match": "redriven1", "code": "ValidationException", "message": "no such role"}])
    item = app.quick(run_id="redriven1")
    execution = app.ended(item)
    assert (execution["status"], execution["error"]) == ("FAILED", "LaunchFailed")
    assert execution["cause"].startswith("TrainingJobRejected: ")  # a sentence: no JSON
    assert "no such role" in execution["cause"]
    assert item.error
    app.deployed.cloud.put_faults([])
    app.deployed.cloud.client("stepfunctions").redrive_execution(executionArn=execution["executionArn"])
    assert app.outcome(item)["verdict"] == "finished"
    (job,) = app.training_jobs(item)
    assert job["TrainingJobName"] == "redriven1"
    assert job["Environment"]["WANDB_RESUME"] == "allow"
