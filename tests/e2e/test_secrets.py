"""API keys are nowhere in the application's data, except in the training job that needs them."""

import gzip
import json
import time
from pathlib import Path

from local.dump import dump
from local.stack import DEMO_KEY
from tests.e2e.conftest import Application
from tests.e2e.secrets import places

IN_THE_TRAINING_JOB = {"training_jobs.Environment.WANDB_API_KEY"}
KEY_OF_THE_RUN_SPEC = "spec" * 10
KEY_OF_THE_QUEUE = "queue" * 8


def test_the_api_key_is_in_the_training_job_and_nowhere_else(app: Application, tmp_path: Path) -> None:
    app.outcome(app.quick())
    app.outcome(app.push(app.images["broken"]))
    app.ended(app.quick(resource="kubernetes"))
    dump(app.deployed, tmp_path)
    assert places(tmp_path, DEMO_KEY) == IN_THE_TRAINING_JOB


def test_keys_that_a_run_spec_or_a_queue_brings_are_nowhere_else_either(app: Application, tmp_path: Path) -> None:
    own = {"Environment": {"WANDB_MODE": "offline", "WANDB_API_KEY": KEY_OF_THE_QUEUE}}
    of_the_spec = app.quick(_wandb_api_key=KEY_OF_THE_RUN_SPEC)
    of_the_queue = app.push(app.image("true", "true"), sagemaker=own, _wandb_api_key=KEY_OF_THE_RUN_SPEC)
    wrong = app.quick(_wandb_api_key=KEY_OF_THE_RUN_SPEC, overrides={"args": "wrong"})
    for item in (of_the_spec, of_the_queue):
        assert app.outcome(item)["verdict"] == "finished"
    app.ended(wrong)
    keys = [app.training_jobs(item)[0]["Environment"]["WANDB_API_KEY"] for item in (of_the_spec, of_the_queue)]
    assert keys == [KEY_OF_THE_RUN_SPEC, KEY_OF_THE_QUEUE]
    dump(app.deployed, tmp_path)
    (tmp_path / "wandb.json").unlink()  # W&B has the run specs with their keys, because they come from there
    assert places(tmp_path, KEY_OF_THE_RUN_SPEC) == IN_THE_TRAINING_JOB
    assert places(tmp_path, KEY_OF_THE_QUEUE) == IN_THE_TRAINING_JOB


def test_a_key_that_is_planted_is_found_wherever_it_is(app: Application, tmp_path: Path) -> None:
    planted = "planted" * 6
    cloud, outputs = app.deployed.cloud, app.deployed.outputs
    logs, table = cloud.client("logs"), outputs["RunsTable"]
    where = {"logGroupName": app.deployed.outputs["FunctionsLogGroupName"], "logStreamName": "planted"}
    logs.create_log_stream(**where)
    logs.put_log_events(**where, logEvents=[{"timestamp": int(time.time() * 1000), "message": f"key={planted}"}])
    packed = gzip.compress(json.dumps({"deep": [planted]}).encode())
    cloud.client("dynamodb").put_item(TableName=table, Item={"pk": {"S": "planted"}, "spec": {"B": packed}})
    bucket = cloud.client("s3").list_buckets()["Buckets"][0]["Name"]
    cloud.client("s3").put_object(Bucket=bucket, Key="planted", Body=f"{planted}\n".encode())
    cloud.client("stepfunctions").start_execution(
        stateMachineArn=outputs["StateMachineArn"], input=json.dumps({"run_queue_item_id": planted})
    )
    cloud.client("sqs").send_message(QueueUrl=outputs["FailedEventsUrl"], MessageBody=planted)
    dump(app.deployed, tmp_path)
    found = places(tmp_path, planted)
    assert {"logs.events", "table.spec", "objects.body", "executions.input", "failed_events"} <= found
