"""The embedded AWS checks a request's action, resource and conditions against policies, as AWS does."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local import ACCOUNT_ID, REGION
from local.stack import LocalCloud, embedded_cloud

OWNER = f"arn:aws:iam::{ACCOUNT_ID}:root"


class Caller:
    """A caller with a new role that has these statements, or with an existing role."""

    def __init__(self, cloud: LocalCloud, *statements: dict[str, Any], role_arn: str = "") -> None:
        self._cloud = cloud
        arn = role_arn or role_with(cloud, *statements)
        self._keys = cloud.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]

    def client(self, service: str) -> Any:
        """Return a client with the role's credentials."""
        make: Any = boto3.client
        return make(
            service,
            endpoint_url=self._cloud.url,
            region_name=REGION,
            config=Config(retries={"total_max_attempts": 1}),
            aws_access_key_id=self._keys["AccessKeyId"],
            aws_secret_access_key=self._keys["SecretAccessKey"],
            aws_session_token=self._keys["SessionToken"],
        )


def role_with(cloud: LocalCloud, *statements: dict[str, Any]) -> str:
    """Create a role that has these statements; return its ARN."""
    name = f"caller-{uuid.uuid4().hex[:8]}"
    arn = make_role(cloud, name, {"AWS": OWNER})
    cloud.client("iam").put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document(*statements))
    return arn


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **each} for each in statements]})


def make_role(cloud: LocalCloud, name: str, principal: dict[str, str], **condition: Any) -> str:
    trust = document({"Principal": principal, "Action": "sts:AssumeRole", **condition})
    return str(cloud.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"])


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """An embedded AWS without a deployment, because these tests cause denials on purpose."""
    with embedded_cloud(tmp_path_factory.mktemp("cloud"), speed=60.0) as cloud:
        yield cloud


def denied(call: Any, **request: Any) -> bool:
    """Return whether IAM denies a call; other failures do not count."""
    try:
        call(**request)
    except ClientError as error:
        return "not authorized" in str(error) or "Access to KMS is not allowed" in str(error)
    return False


def test_a_role_reaches_only_the_items_whose_keys_it_may(cloud: LocalCloud) -> None:
    table = f"table-{uuid.uuid4().hex[:8]}"
    cloud.client("dynamodb").create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    keys = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["run#*"]}}
    actions = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"]
    client = Caller(cloud, {"Action": actions, "Resource": "*", "Condition": keys}).client("dynamodb")

    def update(key: str) -> dict[str, Any]:
        values = {"UpdateExpression": "SET a = :a", "ExpressionAttributeValues": {":a": {"S": "1"}}}
        return {"TableName": table, "Key": {"pk": {"S": key}}, **values}

    def query(key: str) -> dict[str, Any]:
        return {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": {"S": key}}}

    for key, is_denied in (("run#1", False), ("agent#1", True)):
        at = {"pk": {"S": key}}
        assert denied(client.get_item, TableName=table, Key=at) is is_denied
        assert denied(client.put_item, TableName=table, Item=at) is is_denied
        assert denied(client.update_item, **update(key)) is is_denied
        assert denied(client.query, TableName=table, **query(key)) is is_denied
        both = [{"Update": update("run#2")}, {"Update": update(key)}]
        assert denied(client.transact_write_items, TransactItems=both[: 1 if key == "run#2" else 2]) is is_denied


def test_who_may_send_one_message_may_send_ten(cloud: LocalCloud) -> None:
    url = cloud.client("sqs").create_queue(QueueName=f"queue-{uuid.uuid4().hex[:8]}")["QueueUrl"]
    batch = {"QueueUrl": url, "Entries": [{"Id": "a", "MessageBody": "a"}]}
    may = Caller(cloud, {"Action": "sqs:SendMessage", "Resource": "*"}).client("sqs")
    assert may.send_message_batch(**batch)["Successful"]
    assert denied(may.delete_message_batch, QueueUrl=url, Entries=[{"Id": "a", "ReceiptHandle": "a"}])
    other = Caller(cloud, {"Action": "sqs:ReceiveMessage", "Resource": "*"}).client("sqs")
    assert denied(other.send_message_batch, **batch)


def training_request(role: str, **more: Any) -> dict[str, Any]:
    return {
        "TrainingJobName": f"job-{uuid.uuid4().hex[:8]}",
        "AlgorithmSpecification": {
            "TrainingImage": f"{ACCOUNT_ID}.dkr.ecr.{REGION}.amazonaws.com/none:1",
            "TrainingInputMode": "File",
        },
        "RoleArn": role,
        "OutputDataConfig": {"S3OutputPath": "s3://none/output"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        **more,
    }


def tags(stack: str) -> list[dict[str, str]]:
    return [{"Key": "LaunchStack", "Value": stack}]


def test_a_training_job_is_tagged_while_it_is_created_and_stopped_by_its_tag(cloud: LocalCloud) -> None:
    role = make_role(cloud, f"train-{uuid.uuid4().hex[:8]}", {"Service": "sagemaker.amazonaws.com"})
    ours = {"aws:RequestTag/LaunchStack": "mine"}
    creating = {"StringEquals": {**ours, "sagemaker:TaggingAction": "CreateTrainingJob"}}
    client = Caller(
        cloud,
        {"Action": "iam:PassRole", "Resource": role},
        {"Action": "sagemaker:CreateTrainingJob", "Resource": "*", "Condition": {"StringEquals": ours}},
        {"Action": "sagemaker:AddTags", "Resource": "*", "Condition": creating},
        {
            "Action": "sagemaker:StopTrainingJob",
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:ResourceTag/LaunchStack": "mine"}},
        },
    ).client("sagemaker")
    assert denied(client.create_training_job, **training_request(role))
    assert denied(client.create_training_job, **training_request(role, Tags=tags("theirs")))
    mine = training_request(role, Tags=tags("mine"))
    arn = client.create_training_job(**mine)["TrainingJobArn"]
    assert not denied(client.stop_training_job, TrainingJobName=mine["TrainingJobName"])
    theirs = training_request(role, Tags=tags("theirs"))
    other = cloud.client("sagemaker").create_training_job(**theirs)["TrainingJobArn"]
    assert denied(client.stop_training_job, TrainingJobName=theirs["TrainingJobName"])
    # By adding a tag later, a function could make another's job one that it may stop.
    assert denied(client.add_tags, ResourceArn=other, Tags=tags("mine"))
    assert denied(client.add_tags, ResourceArn=arn, Tags=tags("mine"))
    assert denied(client.stop_training_job, TrainingJobName="no-such-job")


def test_a_log_group_is_named_with_its_streams(cloud: LocalCloud) -> None:
    group = f"/tests/{uuid.uuid4().hex[:8]}"
    arn = f"arn:aws:logs:{REGION}:{ACCOUNT_ID}:log-group:{group}"
    bare = Caller(cloud, {"Action": "logs:*", "Resource": arn}).client("logs")
    assert denied(bare.create_log_group, logGroupName=group)
    whole = Caller(cloud, {"Action": "logs:*", "Resource": f"{arn}:*"}).client("logs")
    whole.create_log_group(logGroupName=group)
    one = Caller(cloud, {"Action": "logs:*", "Resource": f"{arn}:log-stream:mine"}).client("logs")
    assert not denied(one.create_log_stream, logGroupName=group, logStreamName="mine")
    assert denied(one.create_log_stream, logGroupName=group, logStreamName="theirs")
    assert denied(one.describe_log_streams, logGroupName=group)
    assert not denied(whole.describe_log_streams, logGroupName=group)
    assert denied(whole.create_log_group, logGroupName=f"{group}-other")


def test_a_secret_with_a_key_of_its_own_needs_the_key(cloud: LocalCloud) -> None:
    key = cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    name = f"secret-{uuid.uuid4().hex[:8]}"
    made = cloud.client("secretsmanager").create_secret(Name=name, SecretString="s", KmsKeyId=key)
    read = {"Action": "secretsmanager:GetSecretValue", "Resource": made["ARN"]}

    def through(service: str) -> dict[str, Any]:
        condition = {"StringEquals": {"kms:ViaService": f"{service}.{REGION}.amazonaws.com"}}
        return {"Action": "kms:Decrypt", "Resource": key, "Condition": condition}

    for statements, is_denied in (
        ([read], True),
        ([read, through("SecretsManager")], True),
        ([read, through("secretsmanager")], False),
    ):
        client = Caller(cloud, *statements).client("secretsmanager")
        assert denied(client.get_secret_value, SecretId=made["ARN"]) is is_denied


@pytest.mark.parametrize(("account", "is_taken"), [(ACCOUNT_ID, True), ("999999999999", False)])
def test_a_role_that_trusts_another_account_is_not_taken(cloud: LocalCloud, account: str, is_taken: bool) -> None:
    condition = {"Condition": {"StringEquals": {"aws:SourceAccount": account}}}
    sagemaker = {"Service": "sagemaker.amazonaws.com"}
    role = make_role(cloud, f"train-{uuid.uuid4().hex[:8]}", sagemaker, **condition)
    create = cloud.client("sagemaker").create_training_job
    if is_taken:
        create(**training_request(role))
    else:
        with pytest.raises(ClientError, match="Could not assume role"):
            create(**training_request(role))


def test_s3_says_where_a_bucket_is_to_those_who_may_not_use_it(cloud: LocalCloud) -> None:
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    cloud.client("s3").create_bucket(Bucket=name)
    s3 = Caller(cloud, {"Action": "s3:ListBucket", "Resource": "arn:aws:s3:::another"}).client("s3")
    with pytest.raises(ClientError) as refused:
        s3.head_bucket(Bucket=name)
    answer = refused.value.response["ResponseMetadata"]
    assert (answer["HTTPStatusCode"], answer["HTTPHeaders"].get("x-amz-bucket-region")) == (403, REGION)
    with pytest.raises(ClientError) as missing:
        s3.head_bucket(Bucket=f"{name}-2")
    assert missing.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
