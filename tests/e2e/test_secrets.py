"""API keys reach containers, and are nowhere else: not in the application's data, nor in what SageMaker shows."""

import gzip
import hashlib
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from local.dump import dump
from local.stack import DEMO_KEY
from tests.e2e.conftest import PASSWORD, Application
from tests.e2e.secrets import places
from tests.e2e.test_iam import denied

KEY_OF_THE_RUN_SPEC = "spec" * 10
KEY_OF_THE_QUEUE = "queue" * 8


def test_the_api_key_is_nowhere_and_the_real_client_has_logged_its_run(app: Application, tmp_path: Path) -> None:
    trained = app.push(app.images["train"])
    assert app.outcome(trained)["verdict"] == "finished"
    app.outcome(app.push(app.images["broken"]))
    app.ended(app.quick(resource="kubernetes"))
    run = app.run(trained)
    assert run
    assert run.state == "finished"
    dump(app.deployed, tmp_path)
    assert places(tmp_path, DEMO_KEY) == set()


def test_two_hosts_get_the_key_also_after_a_spot_interruption(app: Application) -> None:
    app.deployed.cloud.put_faults([{"match": "spotpair", "interrupts": True}])
    netrc = 'test "$WANDB_API_KEY" != "" && grep -c "^machine .* password" "$NETRC" && touch /opt/ml/model/ok'
    resources = {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}}
    offline = {"Environment": {"WANDB_MODE": "offline"}}
    item = app.push(app.image("netrc", "/bin/sh", "-ec", netrc), sagemaker={**resources, **offline}, run_id="spotpair")
    assert app.outcome(item)["verdict"] == "finished"
    assert app.training_log(item).split() == ["2", "2"]
    (job,) = app.training_jobs(item)
    statuses = [each["Status"] for each in job["SecondaryStatusTransitions"]]
    assert statuses[1:5] == ["Downloading", "Interrupted", "Starting", "Downloading"]


def test_code_finds_its_key_its_secrets_and_what_does_not_fit_into_the_request_in_its_environment(
    app: Application, tmp_path: Path
) -> None:
    code = (
        "import hashlib, json, os, sys",
        "v = os.environ",
        "pieces = [v[f'WANDB_CONFIG_{n}'] for n in range(200) if f'WANDB_CONFIG_{n}' in v]",
        "print(hashlib.sha256(v['WANDB_API_KEY'].encode()).hexdigest(), sum(n[:2] == 'V_' for n in v))",
        "print(len(json.loads(''.join(pieces))['a']), hashlib.sha256(v['DB'].encode()).hexdigest())",
    )
    runs_all = "import sys; exec('\\n'.join(sys.argv[1:]))"
    block = {
        "AlgorithmSpecification": {"ContainerEntrypoint": [sys.executable, "-c", runs_all]},
        "Environment": {
            "WANDB_MODE": "offline",
            "DB": "pg://${secret:team/db:password}@db",
            **{f"V_{number}": "x" for number in range(101)},
        },
    }
    overrides = {"args": list(code), "run_config": {"a": "y" * 60_000}}
    item = app.push(app.image("true", "true"), sagemaker=block, overrides=overrides)
    assert app.outcome(item)["verdict"] == "finished", app.training_log(item)
    assert app.training_log(item).split() == [digest(DEMO_KEY), "101", "60000", digest(f"pg://{PASSWORD}@db")]
    dump(app.deployed, tmp_path)
    assert places(tmp_path, PASSWORD) == set()


def test_a_container_that_starts_as_it_is_has_its_secrets_in_files(app: Application) -> None:
    shows = app.image("file", "/bin/sh", "-c", 'sha256sum < $DB_FILE | cut -c -64; test -z "$DB$WANDB_API_KEY"')
    as_it_is = {"launch_agent": {"start_through_sh": False}}
    block = {**as_it_is, "Environment": {"WANDB_MODE": "offline", "DB": "${secret:team/db:password}"}}
    item = app.push(shows, sagemaker=block)
    assert app.outcome(item)["verdict"] == "finished"
    assert app.training_log(item).split() == [digest(PASSWORD)]


def test_a_job_reads_its_own_credentials_and_cannot_find_those_of_another(app: Application) -> None:
    cloud, bucket = app.deployed.cloud, app.deployed.outputs["CredentialsBucketName"]
    own, others = "a" * 32, "b" * 32
    for folder in (own, others):
        cloud.client("s3").put_object(Bucket=bucket, Key=f"{folder}/netrc", Body=folder.encode())
    clients = with_rights_of_training_jobs(app)
    s3 = clients("s3")
    assert s3.get_object(Bucket=bucket, Key=f"{own}/netrc")["Body"].read().decode() == own
    (listed,) = s3.list_objects_v2(Bucket=bucket, Prefix=f"{own}/")["Contents"]
    assert listed["Key"] == f"{own}/netrc"
    for call, asked in tells_of_others(app, clients):
        assert denied(call, **asked), (call, asked)
    for call in (s3.put_object, s3.delete_object):
        assert denied(call, Bucket=bucket, Key=f"{others}/netrc"), call
    role = json.loads(app.deployed.outputs["QueueConfiguration"])["RoleArn"].rpartition("/")[2]
    everything = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy = {"RoleName": role, "PolicyName": "everything"}
    refused = [
        (s3.list_objects_v2, {}),
        (s3.list_objects_v2, {"Prefix": ""}),
        (s3.list_objects_v2, {"Prefix": others[:31]}),
        (s3.list_objects, {"Prefix": others[:31], "Marker": "b"}),
        (s3.list_object_versions, {"Prefix": "b"}),
        (s3.list_multipart_uploads, {}),
    ]
    for call, asked in refused:
        assert denied(call, Bucket=bucket, **asked), (call, asked)
    # A role that someone brings may have any rights of its own.
    cloud.client("iam").put_role_policy(**policy, PolicyDocument=json.dumps({"Statement": [everything]}))
    try:
        for call, asked in refused:
            assert denied(call, Bucket=bucket, **asked), (call, asked)
    finally:
        cloud.client("iam").delete_role_policy(**policy)
        for folder in (own, others):
            cloud.client("s3").delete_object(Bucket=bucket, Key=f"{folder}/netrc")
        cloud.forget_denials()


def tells_of_others(app: Application, clients: Callable[[str], Any]) -> list[tuple[Any, dict[str, Any]]]:
    """Return the calls that tell the names of other jobs' folders: a name is all it takes to read what is in it."""
    stack, sagemaker, states = app.deployed.outputs, clients("sagemaker"), clients("stepfunctions")
    return [
        (sagemaker.describe_training_job, {"TrainingJobName": "another"}),
        (sagemaker.list_training_jobs, {}),
        (sagemaker.search, {"Resource": "TrainingJob"}),
        (clients("dynamodb").scan, {"TableName": stack["RunsTable"]}),
        (states.list_executions, {"stateMachineArn": stack["StateMachineArn"]}),
        (clients("logs").filter_log_events, {"logGroupName": stack["FunctionsLogGroupName"]}),
    ]


def with_rights_of_training_jobs(app: Application) -> Callable[[str], Any]:
    """Return what makes a client of a service with the credentials that a job's container has."""
    offline = {"Environment": {"WANDB_MODE": "offline"}}
    job = app.push(app.image("env", "sh", "-c", "env | grep ^AWS_"), sagemaker=offline)
    assert app.outcome(job)["verdict"] == "finished"
    given = dict(line.partition("=")[::2] for line in app.training_log(job).splitlines())
    make: Any = boto3.client
    return partial(
        make,
        endpoint_url=given["AWS_ENDPOINT_URL"],
        region_name=given["AWS_REGION"],
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=given["AWS_SESSION_TOKEN"],
    )


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_keys_that_a_run_spec_or_a_queue_brings_are_nowhere_else_either(app: Application, tmp_path: Path) -> None:
    offline = {"WANDB_MODE": "offline"}
    own = {"Environment": {**offline, "WANDB_API_KEY": KEY_OF_THE_QUEUE}}
    shows = app.image(
        "digest", "/bin/sh", "-c", "grep -o '[^ ]*$' $NETRC | tail -1 | tr -d '\\n' | sha256sum | cut -c -64"
    )
    of_the_spec = app.push(shows, sagemaker={"Environment": offline}, _wandb_api_key=KEY_OF_THE_RUN_SPEC)
    of_the_queue = app.push(shows, sagemaker=own, _wandb_api_key=KEY_OF_THE_RUN_SPEC)
    wrong = app.quick(_wandb_api_key=KEY_OF_THE_RUN_SPEC, overrides={"args": "wrong"})
    for item in (of_the_spec, of_the_queue):
        assert app.outcome(item)["verdict"] == "finished"
    app.ended(wrong)
    keys = [app.training_log(item).split()[-1] for item in (of_the_spec, of_the_queue)]
    assert keys == [digest(KEY_OF_THE_RUN_SPEC), digest(KEY_OF_THE_QUEUE)]
    dump(app.deployed, tmp_path)
    (tmp_path / "wandb.json").unlink()  # W&B has the run specs with their keys, because they come from there
    assert places(tmp_path, KEY_OF_THE_RUN_SPEC) == set()
    assert places(tmp_path, KEY_OF_THE_QUEUE) == set()


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
