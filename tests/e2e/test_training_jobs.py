"""Training jobs on the embedded AWS: refused, run and reported as in SageMaker."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from local import ACCOUNT_ID, REGION
from local.stack import LocalCloud
from tests.e2e.conftest import Application, wait_for
from tests.e2e.workshop import LOGS, TRAINS, Workshop, policy


def training_request(app: Application, name: str, **changes: Any) -> dict[str, Any]:
    queue = json.loads(app.deployed.outputs["QueueConfiguration"])
    request = {
        **queue,
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": app.image("true", "true"), "TrainingInputMode": "File"},
    }
    return {key: value for key, value in {**request, **changes}.items() if value is not None}


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return a function that sets a value in a request, or removes it if the value is None."""

    def apply(request: dict[str, Any]) -> None:
        *folders, last = path.split(".")
        for folder in folders:
            request = request[folder]
        request[last] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("TrainingJobName", "not_legal", r"Value 'not_legal' at 'trainingJobName' .* regular expression pattern"),
        (
            "TrainingJobName",
            None,
            "Value null at 'trainingJobName' failed to satisfy constraint: Member must not be null",
        ),
        (
            "Environment",
            {"A": "x" * 513, "B": "shown, too"},
            r"Value '{A=xxx.*, B=shown, too}' at 'environment' failed to satisfy constraint: "
            r"Map value must satisfy constraint: \[Member must have length less than or equal to 512",
        ),
        ("ResourceConfig.InstanceType", "ml.none.large", r"at 'resourceConfig.instanceType' .* enum value set"),
        ("ResourceConfig.InstanceCount", "two", "cannot be converted to integer"),
        ("ResourceConfig.InstanceCount", 0, "InstanceCount must be at least 1"),
        ("OutputDataConfig.S3OutputPath", "https://bucket/x", "S3 URI"),
        ("StoppingCondition.MaxWaitTimeInSeconds", 60, "not supported"),
        ("EnableManagedSpotTraining", True, "MaxWaitTimeInSeconds"),
        ("AlgorithmSpecification.AlgorithmName", "arn:aws:sagemaker:us-east-1:000000000000:algorithm/a", "Exactly one"),
        ("AlgorithmSpecification.TrainingImage", "docker.io/train:v1", "TrainingImageConfig"),
        (
            "AlgorithmSpecification.TrainingImage",
            f"{ACCOUNT_ID}.dkr.ecr.eu-west-1.amazonaws.com/train:v1",
            "Cross region",
        ),
        ("RoleArn", "arn:aws:iam::000000000000:role/missing", "Could not assume role"),
    ],
)
def test_sagemaker_refuses_what_it_refuses(app: Application, path: str, value: Any, words: str) -> None:
    request = training_request(app, f"refused-{uuid.uuid4().hex[:8]}")
    request = json.loads(json.dumps(request))
    change(path, value)(request)
    with pytest.raises(ClientError, match=words) as raised:
        _raw(app.deployed.cloud, "CreateTrainingJob", request)
    assert raised.value.response["Error"]["Code"] in ("ValidationException", "SerializationException")


def _raw(cloud: LocalCloud, operation: str, request: dict[str, Any]) -> Any:
    """Call SageMaker without botocore's own validation."""
    signed = AWSRequest(
        "POST",
        cloud.url,
        {"X-Amz-Target": f"SageMaker.{operation}", "Content-Type": "application/x-amz-json-1.1"},
        json.dumps(request),
    )
    SigV4Auth(Credentials(cloud.access_key, cloud.secret_key), "sagemaker", REGION).add_auth(signed)
    answer = urllib3.request("POST", cloud.url, body=signed.body, headers=dict(signed.headers))
    body = answer.json()
    if answer.status != 200:
        raise ClientError({"Error": {"Code": body["__type"], "Message": body["message"]}}, operation)
    return body


def test_a_job_has_its_inputs_its_folders_and_leaves_its_model(app: Application) -> None:
    s3, sagemaker = app.deployed.cloud.client("s3"), app.deployed.cloud.client("sagemaker")
    queue = json.loads(app.deployed.outputs["QueueConfiguration"])
    bucket = queue["OutputDataConfig"]["S3OutputPath"].removeprefix("s3://").partition("/")[0]
    s3.put_object(Bucket=bucket, Key="data/part/a.txt", Body=b"hello")
    script = (
        'cat "$1/input/data/train/part/a.txt" "$1/input/config/hyperparameters.json" > "$SM_MODEL_DIR/copy"; '
        'echo "$TRAINING_JOB_NAME on $(cat "$1/input/config/resourceconfig.json")"'
    )
    name = f"inputs-{uuid.uuid4().hex[:8]}"
    specification = {
        "TrainingImage": app.image("copy", "sh", "-c", script, "sh"),
        "TrainingInputMode": "File",
        "ContainerArguments": ["/opt/ml"],
    }
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/data"}}
    request = training_request(
        app,
        name,
        AlgorithmSpecification=specification,
        InputDataConfig=[{"ChannelName": "train", "DataSource": source}],
        HyperParameters={"epochs": "3"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1},
    )
    sagemaker.create_training_job(**request)
    job = ended_job(app, name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    seen = [each["Status"] for each in job["SecondaryStatusTransitions"]]
    assert seen == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert job["BillableTimeInSeconds"] >= 1
    streams = app.deployed.cloud.client("logs").describe_log_streams(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{name}/"
    )["logStreams"]
    assert sorted(each["logStreamName"].split("/")[1].rsplit("-", 1)[0] for each in streams) == ["algo-1", "algo-2"]


def ended_job(app: Application, name: str) -> dict[str, Any]:
    sagemaker = app.deployed.cloud.client("sagemaker")

    def look() -> dict[str, Any] | None:
        job = sagemaker.describe_training_job(TrainingJobName=name)
        return dict(job) if job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") else None

    return wait_for(look, within=30)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ('echo "out of memory" > "$SM_OUTPUT_DIR/failure"; exit 7', "AlgorithmError: out of memory\n, exit code: 7"),
        ("exit 3", "AlgorithmError: , exit code: 3"),
    ],
)
def test_a_failed_job_gives_its_reason(app: Application, script: str, reason: str) -> None:
    name = f"failing-{uuid.uuid4().hex[:8]}"
    specification = {"TrainingImage": app.image("failing", "sh", "-c", script), "TrainingInputMode": "File"}
    app.deployed.cloud.client("sagemaker").create_training_job(
        **training_request(app, name, AlgorithmSpecification=specification)
    )
    assert ended_job(app, name)["FailureReason"] == reason


def test_a_taken_name_and_an_ended_job_are_said_so(app: Application) -> None:
    sagemaker = app.deployed.cloud.client("sagemaker")
    name = f"taken-{uuid.uuid4().hex[:8]}"
    sagemaker.create_training_job(**training_request(app, name))
    assert ended_job(app, name)["TrainingJobStatus"] == "Completed"
    with pytest.raises(sagemaker.exceptions.ResourceInUse):
        sagemaker.create_training_job(**training_request(app, name))
    with pytest.raises(ClientError, match="is in status Completed"):
        sagemaker.stop_training_job(TrainingJobName=name)


KEY = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/11111111-2222-3333-4444-555555555555"
ENCRYPTED = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1, "VolumeKmsKeyId": KEY}
NETWORK = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}
INTERFACES = [
    *(f"ec2:{verb}NetworkInterface{what}" for verb in ("Create", "Delete") for what in ("", "Permission")),
    *(f"ec2:Describe{what}" for what in ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs")),
]


@pytest.mark.parametrize(
    ("changes", "actions"),
    [
        (
            {
                "ResourceConfig": {
                    "InstanceType": "ml.m5.large",
                    "InstanceCount": 1,
                    "VolumeSizeInGB": 1,
                    "VolumeKmsKeyId": KEY,
                }
            },
            ["kms:CreateGrant"],
        ),
        ({"VpcConfig": NETWORK}, INTERFACES),
    ],
    ids=["key", "network"],
)
def test_a_job_is_refused_where_its_role_lacks_what_its_key_or_its_network_needs(
    app: Application, shop: Workshop, changes: dict[str, Any], actions: list[str]
) -> None:
    for lacking in [*actions, None]:
        allowed = [action for action in (*TRAINS, *actions) if action != lacking]
        role, caller = shop.role(*allowed, service="sagemaker.amazonaws.com"), shop.role("sagemaker:*", "iam:PassRole")
        name = f"rights-{uuid.uuid4().hex[:8]}"
        sagemaker = shop.client("sagemaker", caller)
        request = training_request(app, name, RoleArn=role, **changes)
        if lacking:
            with pytest.raises(ClientError, match=lacking) as raised:
                sagemaker.create_training_job(**request)
            assert raised.value.response["Error"]["Code"] == "AccessDeniedException"
            shop.cloud.forget_denials()
        else:
            sagemaker.create_training_job(**request)
            assert ended_job(app, name)["TrainingJobStatus"] == "Completed"


def test_the_grant_for_a_key_is_through_sagemaker_and_for_aws(app: Application, shop: Workshop) -> None:
    for service, allowed in ((f"sagemaker.{REGION}.amazonaws.com", True), (f"SageMaker.{REGION}.amazonaws.com", False)):
        condition = {
            "StringEquals": {"kms:ViaService": service},
            "Bool": {"kms:GrantIsForAWSResource": "true"},
        }
        role = shop.role(*TRAINS, service="sagemaker.amazonaws.com")
        grant = {"Effect": "Allow", "Action": "kms:CreateGrant", "Resource": KEY, "Condition": condition}
        shop.cloud.client("iam").put_role_policy(
            RoleName=role.rpartition("/")[2], PolicyName="grant", PolicyDocument=policy(grant)
        )
        sagemaker = shop.client("sagemaker", shop.role("sagemaker:*", "iam:PassRole"))
        name = f"grants-{uuid.uuid4().hex[:8]}"
        request = training_request(app, name, RoleArn=role, ResourceConfig=ENCRYPTED)
        if allowed:
            sagemaker.create_training_job(**request)
            assert ended_job(app, name)["TrainingJobStatus"] == "Completed"
        else:
            with pytest.raises(ClientError, match="kms:CreateGrant"):
                sagemaker.create_training_job(**request)
    shop.cloud.forget_denials()


@pytest.mark.parametrize("kind", ["there", "empty", "foreign", "missing"])
def test_a_job_is_refused_where_its_role_finds_no_input(app: Application, shop: Workshop, kind: str) -> None:
    s3, bucket = shop.cloud.client("s3"), f"inputs-{uuid.uuid4().hex[:8]}"
    if kind != "missing":
        s3.create_bucket(Bucket=bucket)
    if kind != "empty" and kind != "missing":
        s3.put_object(Bucket=bucket, Key="data/a.txt", Body=b"a")
    actions = [action for action in TRAINS if kind != "foreign" or not action.startswith("s3:")]
    role = shop.role(*actions, service="sagemaker.amazonaws.com")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/data"}}
    channels = [{"ChannelName": "train", "DataSource": source}]
    request = training_request(app, f"inputs-{uuid.uuid4().hex[:8]}", RoleArn=role, InputDataConfig=channels)
    sagemaker = shop.cloud.client("sagemaker")
    if kind == "there":
        sagemaker.create_training_job(**request)
        assert ended_job(app, request["TrainingJobName"])["TrainingJobStatus"] == "Completed"
    else:
        words = f'No S3 objects found under S3 URL "s3://{bucket}/data".*role "{role}" has "s3:ListBucket"'
        with pytest.raises(ClientError, match=words) as raised:
            sagemaker.create_training_job(**request)
        assert raised.value.response["Error"]["Code"] == "ValidationException"
    shop.cloud.forget_denials()


def test_a_channel_that_the_role_cannot_download_fails_the_job_in_awss_words(app: Application, shop: Workshop) -> None:
    bucket = f"data-{uuid.uuid4().hex[:12]}"
    s3, sagemaker = shop.cloud.client("s3"), shop.cloud.client("sagemaker")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="data/a.txt", Body=b"a")
    role = shop.role(*(each for each in TRAINS if each != "s3:GetObject"), service="sagemaker.amazonaws.com")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/data/"}}
    name = f"hidden-{uuid.uuid4().hex[:8]}"
    channels = [{"ChannelName": "train", "DataSource": source}]
    sagemaker.create_training_job(**training_request(app, name, RoleArn=role, InputDataConfig=channels))
    job = ended_job(app, name)
    words = f"ClientError: Data download failed:Unable to download object s3://{bucket}/data/a.txt (AccessDenied: "
    assert (job["TrainingJobStatus"], job["FailureReason"].startswith(words)) == ("Failed", True)
    shop.cloud.forget_denials()


ANY_RULE = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage"}


@pytest.mark.parametrize("shape", ["map", "list", "absent"])
def test_status_events_have_nulls_numbers_and_tags_in_three_shapes_and_come_twice(
    app: Application, shop: Workshop, shape: str
) -> None:
    sqs, events = shop.cloud.client("sqs"), shop.cloud.client("events")
    name = f"told-{uuid.uuid4().hex[:8]}"
    queue = sqs.create_queue(QueueName=name, Attributes={"Policy": json.dumps({"Statement": [ANY_RULE]})})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": ["aws.sagemaker"], "detail": {"TrainingJobName": [name], "TrainingJobStatus": ["Completed"]}}
    events.put_rule(Name=name, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": arn}])
    shop.cloud.behave(event_tags=shape, event_copies=2)
    shop.cloud.client("sagemaker").create_training_job(
        **training_request(app, name, Tags=[{"Key": "WandbRunId", "Value": "r"}])
    )
    ended_job(app, name)
    told: list[Any] = []

    def all_came() -> bool:
        found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        told.extend(json.loads(message["Body"])["detail"] for message in found)
        return len(told) == 2

    wait_for(all_came)
    shop.cloud.behave(event_tags="mixed")
    events.remove_targets(Rule=name, Ids=["1"])
    events.delete_rule(Name=name)
    first, second = told
    assert first == second
    shapes = {"map": {"WandbRunId": "r"}, "list": [{"Key": "WandbRunId", "Value": "r"}]}
    assert first.get("Tags", "none") == shapes.get(shape, "none")
    assert {key for key, value in first.items() if value is None} == {"FailureReason", "VpcConfig"}
    assert all(isinstance(first[f"Training{when}Time"], int) for when in ("Start", "End"))
    assert "Environment" not in first


def test_training_begins_when_the_instances_are_ready_before_the_data_is_there(app: Application) -> None:
    name = f"begins-{uuid.uuid4().hex[:8]}"
    app.deployed.cloud.client("sagemaker").create_training_job(**training_request(app, name))
    job = ended_job(app, name)
    begun = {each["Status"]: each["StartTime"] for each in job["SecondaryStatusTransitions"]}
    assert begun["Starting"] < job["TrainingStartTime"] <= begun["Downloading"] < begun["Training"]


@pytest.mark.parametrize("may", [True, False])
def test_a_build_has_a_log_where_its_role_may_make_the_group(shop: Workshop, may: bool) -> None:
    codebuild, name = shop.cloud.client("codebuild"), f"project-{uuid.uuid4().hex[:8]}"
    codebuild.create_project(
        name=name,
        source={"type": "NO_SOURCE", "buildspec": "version: 0.2\nphases: {build: {commands: [echo hello]}}"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "i", "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole=shop.role(*LOGS[0 if may else 1 :], service="codebuild.amazonaws.com"),
    )
    build = codebuild.start_build(projectName=name)["build"]["id"]
    (ended,) = wait_for(
        lambda: [each for each in codebuild.batch_get_builds(ids=[build])["builds"] if each["buildComplete"]]
    )
    assert ended["buildStatus"] == "SUCCEEDED"
    groups = shop.cloud.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/codebuild/{name}")["logGroups"]
    assert bool(groups) is may
    shop.cloud.forget_denials()


def test_a_capacity_error_ends_a_job_before_it_runs(app: Application) -> None:
    name = f"nocapacity-{uuid.uuid4().hex[:8]}"
    app.deployed.cloud.put_faults([{"match": name, "capacity": True}])
    app.deployed.cloud.client("sagemaker").create_training_job(**training_request(app, name))
    job = ended_job(app, name)
    app.deployed.cloud.put_faults([])
    assert job["FailureReason"].startswith("CapacityError:")
    assert "TrainingStartTime" not in job


def test_a_container_that_ignores_sigterm_is_killed(app: Application) -> None:
    name = f"stubborn-{uuid.uuid4().hex[:8]}"
    script = "trap '' TERM; echo up; while :; do sleep 0.1; done"
    specification = {"TrainingImage": app.image("stubborn", "sh", "-c", script), "TrainingInputMode": "File"}
    sagemaker = app.deployed.cloud.client("sagemaker")
    sagemaker.create_training_job(**training_request(app, name, AlgorithmSpecification=specification))
    wait_for(lambda: sagemaker.describe_training_job(TrainingJobName=name)["SecondaryStatus"] == "Training")
    sagemaker.stop_training_job(TrainingJobName=name)
    job = ended_job(app, name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
