"""The embedded AWS keeps the boundaries, keys and networks in a template, and refuses what AWS refuses."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local import ACCOUNT_ID
from local.stack import LocalCloud, embedded_cloud
from tests.e2e.conftest import wait_for
from tests.e2e.test_iam import Caller, document

ANY = {"Effect": "Allow", "Action": "*", "Resource": "*"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """An embedded AWS without a deployment, because these tests cause denials on purpose."""
    with embedded_cloud(tmp_path_factory.mktemp("cloud"), speed=60.0) as cloud:
        yield cloud


def deployed(cloud: LocalCloud, **resources: Any) -> tuple[str, dict[str, str]]:
    """Create a stack; return its status at the end, and its resources by logical id."""
    cloudformation, name = cloud.client("cloudformation"), f"stack-{uuid.uuid4().hex[:8]}"
    body = json.dumps({"Resources": resources})
    cloudformation.create_stack(StackName=name, TemplateBody=body, Capabilities=["CAPABILITY_IAM"])

    def status() -> str:
        (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
        return "" if stack["StackStatus"].endswith("IN_PROGRESS") else str(stack["StackStatus"])

    ended = wait_for(status, within=30)
    found = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
    return ended, {each["LogicalResourceId"]: each.get("PhysicalResourceId", "") for each in found}


def key(cloud: LocalCloud, *statements: dict[str, Any]) -> str:
    """Create a key that the account's IAM policies and these statements allow to use; return its ARN."""
    account = {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT_ID}:root"}, "Action": "kms:*", "Resource": "*"}
    return str(cloud.client("kms").create_key(Policy=document(account, *statements))["KeyMetadata"]["Arn"])


def refusal(call: Any, **request: Any) -> str:
    """Return the code and the words with which a call is refused; empty if it is not."""
    try:
        call(**request)
    except ClientError as error:
        return str(error)
    return ""


def through(service: str, key_arn: str, action: str) -> dict[str, Any]:
    where = {"StringEquals": {"kms:ViaService": f"{service}.us-east-1.amazonaws.com"}}
    return {"Action": action, "Resource": key_arn, "Condition": where}


def test_who_uses_a_table_decrypts_with_its_key(cloud: LocalCloud) -> None:
    key_arn = key(cloud)
    schema = {
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "SSESpecification": {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": key_arn},
    }
    status, made = deployed(cloud, Table={"Type": "AWS::DynamoDB::Table", "Properties": schema})
    assert status == "CREATE_COMPLETE"
    use = {"Action": "dynamodb:GetItem", "Resource": "*"}
    asked = {"TableName": made["Table"], "Key": {"pk": {"S": "a"}}}
    without = Caller(cloud, use).client("dynamodb")
    assert "KMS key access denied" in refusal(without.get_item, **asked)
    elsewhere = Caller(cloud, use, through("s3", key_arn, "kms:Decrypt")).client("dynamodb")
    assert "KMS key access denied" in refusal(elsewhere.get_item, **asked)
    with_key = Caller(cloud, use, through("dynamodb", key_arn, "kms:Decrypt")).client("dynamodb")
    assert refusal(with_key.get_item, **asked) == ""


def test_who_reads_an_object_decrypts_and_who_writes_one_makes_a_data_key(cloud: LocalCloud) -> None:
    key_arn = key(cloud)
    rule = {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key_arn}}
    encrypted = {"BucketEncryption": {"ServerSideEncryptionConfiguration": [rule]}}
    status, made = deployed(cloud, Bucket={"Type": "AWS::S3::Bucket", "Properties": encrypted})
    assert status == "CREATE_COMPLETE"
    use = {"Action": ["s3:GetObject", "s3:PutObject"], "Resource": "*"}
    reads = Caller(cloud, use, through("s3", key_arn, "kms:Decrypt")).client("s3")
    writes = Caller(cloud, use, through("s3", key_arn, "kms:GenerateDataKey")).client("s3")
    at = {"Bucket": made["Bucket"], "Key": "a"}
    assert "AccessDenied" in refusal(reads.put_object, **at, Body=b"a")
    assert refusal(writes.put_object, **at, Body=b"a") == ""
    assert "AccessDenied" in refusal(writes.get_object, **at)
    assert refusal(reads.get_object, **at) == ""


def test_who_sends_messages_to_a_queue_makes_a_data_key_and_decrypts(cloud: LocalCloud) -> None:
    key_arn = key(cloud)
    status, made = deployed(cloud, Queue={"Type": "AWS::SQS::Queue", "Properties": {"KmsMasterKeyId": key_arn}})
    assert status == "CREATE_COMPLETE"
    use = {"Action": "sqs:SendMessage", "Resource": "*"}
    asked = {"QueueUrl": made["Queue"], "Entries": [{"Id": "a", "MessageBody": "a", "DelaySeconds": 30}]}
    for action in ("kms:Decrypt", "kms:GenerateDataKey"):
        half = Caller(cloud, use, through("sqs", key_arn, action)).client("sqs")
        assert "KmsAccessDenied" in refusal(half.send_message_batch, **asked)
    both = [through("sqs", key_arn, action) for action in ("kms:Decrypt", "kms:GenerateDataKey")]
    assert refusal(Caller(cloud, use, *both).client("sqs").send_message_batch, **asked) == ""


@pytest.mark.parametrize("allowed", ["sqs:*", "sqs:ReceiveMessage"])
def test_a_function_is_given_messages_of_a_queue_if_its_role_may_receive_them(cloud: LocalCloud, allowed: str) -> None:
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = {"PolicyName": "p", "PolicyDocument": {"Statement": [{**ANY, "Action": allowed}]}}
    role = {"AssumeRolePolicyDocument": {"Statement": [trust]}, "Policies": [policy]}
    function = {
        "Role": {"Fn::GetAtt": ["Role", "Arn"]},
        "Runtime": "python3.11",
        "Handler": "index.handler",
        "Code": {"ZipFile": "def handler(event, context): pass"},
    }
    mapping = {"EventSourceArn": {"Fn::GetAtt": ["Queue", "Arn"]}, "FunctionName": {"Ref": "Function"}}
    status, _ = deployed(
        cloud,
        Queue={"Type": "AWS::SQS::Queue", "Properties": {}},
        Role={"Type": "AWS::IAM::Role", "Properties": role},
        Function={"Type": "AWS::Lambda::Function", "Properties": function},
        Mapping={"Type": "AWS::Lambda::EventSourceMapping", "Properties": mapping},
    )
    assert (status == "CREATE_COMPLETE") == (allowed == "sqs:*")


@pytest.mark.parametrize("group", ["/aws/lambda/a", "/other/a"])
def test_logs_are_encrypted_with_a_key_whose_policy_allows_it(cloud: LocalCloud, group: str) -> None:
    logs = f"arn:aws:logs:us-east-1:{ACCOUNT_ID}:log-group:/aws/*"
    allowing = {
        "Principal": {"Service": "logs.us-east-1.amazonaws.com"},
        "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
        "Resource": "*",
        "Condition": {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": logs}},
    }
    properties = {"LogGroupName": group, "KmsKeyId": key(cloud, allowing)}
    status, _ = deployed(cloud, Group={"Type": "AWS::Logs::LogGroup", "Properties": properties})
    assert (status == "CREATE_COMPLETE") == group.startswith("/aws/")


@pytest.mark.parametrize("allowed", ["ec2:*", "ec2:Describe*"])
def test_a_function_is_in_a_vpc_if_its_role_may_connect(cloud: LocalCloud, allowed: str) -> None:
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = {"PolicyName": "p", "PolicyDocument": {"Statement": [{**ANY, "Action": allowed}]}}
    role = {"AssumeRolePolicyDocument": {"Statement": [trust]}, "Policies": [policy]}
    function = {
        "Role": {"Fn::GetAtt": ["Role", "Arn"]},
        "Runtime": "python3.11",
        "Handler": "index.handler",
        "Code": {"ZipFile": "def handler(event, context): pass"},
        "VpcConfig": {"SubnetIds": ["subnet-0a"], "SecurityGroupIds": ["sg-0a"]},
    }
    status, _ = deployed(
        cloud,
        Role={"Type": "AWS::IAM::Role", "Properties": role},
        Function={"Type": "AWS::Lambda::Function", "Properties": function},
    )
    assert (status == "CREATE_COMPLETE") == (allowed == "ec2:*")


def test_a_boundary_limits_what_a_role_may(cloud: LocalCloud) -> None:
    boundary = cloud.client("iam").create_policy(
        PolicyName=f"boundary-{uuid.uuid4().hex[:8]}", PolicyDocument=document({**ANY, "Action": "s3:*"})
    )["Policy"]["Arn"]
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT_ID}:root"}, "Action": "sts:AssumeRole"}
    role = {
        "AssumeRolePolicyDocument": {"Statement": [trust]},
        "PermissionsBoundary": boundary,
        "Policies": [{"PolicyName": "p", "PolicyDocument": {"Statement": [ANY]}}],
    }
    _, made = deployed(cloud, Role={"Type": "AWS::IAM::Role", "Properties": role})
    caller = Caller(cloud, role_arn=f"arn:aws:iam::{ACCOUNT_ID}:role/{made['Role']}")
    assert refusal(caller.client("s3").list_buckets) == ""
    assert "not authorized" in refusal(caller.client("dynamodb").list_tables)
