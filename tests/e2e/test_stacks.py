"""Stacks on the embedded AWS: refused and removed as in CloudFormation."""

import io
import json
import uuid
import zipfile
from typing import Any

import pytest

from tests.e2e.workshop import Workshop


def test_a_secrets_ref_is_its_arn(shop: Workshop) -> None:
    template = {
        "Resources": {"S": {"Type": "AWS::SecretsManager::Secret", "Properties": {"SecretString": "x"}}},
        "Outputs": {"Ref": {"Value": {"Ref": "S"}}},
    }
    cloudformation, name = shop.cloud.client("cloudformation"), f"stack-{uuid.uuid4().hex[:8]}"
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(template))
    assert shop.stack_status(name) == "CREATE_COMPLETE"
    (output,) = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["Outputs"]
    assert output["OutputValue"].startswith("arn:aws:secretsmanager:")
    cloudformation.delete_stack(StackName=name)


def schedule(name: str) -> dict[str, Any]:
    """A schedule that never runs."""
    target = {"Arn": "arn:aws:lambda:us-east-1:000000000000:function:f", "RoleArn": "arn:aws:iam::000000000000:role/r"}
    properties = {"Name": name, "ScheduleExpression": "at(2999-01-01T00:00:00)", "FlexibleTimeWindow": {"Mode": "OFF"}}
    return {"Type": "AWS::Scheduler::Schedule", "Properties": {**properties, "Target": target}}


def log_group(name: str) -> dict[str, Any]:
    return {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": name}}


@pytest.mark.parametrize("resource", [schedule, log_group])
def test_a_name_that_is_taken_is_refused_and_what_has_it_stays(shop: Workshop, resource: Any) -> None:
    name = f"taken-{uuid.uuid4().hex[:8]}"
    first, status = shop.stack(First=resource(name))
    assert status == "CREATE_COMPLETE"
    second, status = shop.stack(Second=resource(name), Other=resource(f"{name}-2"))
    assert status == "ROLLBACK_COMPLETE"
    cloudformation = shop.cloud.client("cloudformation")
    events = cloudformation.describe_stack_events(StackName=second)["StackEvents"]
    assert any(f"{name} already exists" in event.get("ResourceStatusReason", "") for event in events)
    assert [each["Name"] for each in taken(shop, name)] == [name]
    for stack in (first, second):
        cloudformation.delete_stack(StackName=stack)
    again, status = shop.stack(Again=resource(name))
    assert status == "CREATE_COMPLETE"
    cloudformation.delete_stack(StackName=again)


def taken(shop: Workshop, name: str) -> list[dict[str, Any]]:
    """Return the schedules and log groups with this name."""
    schedules = shop.cloud.client("scheduler").list_schedules(NamePrefix=name)["Schedules"]
    groups = shop.cloud.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    return [*schedules, *({"Name": group["logGroupName"]} for group in groups)]


def test_a_version_of_a_layer_that_a_stack_replaces_is_gone(shop: Workshop) -> None:
    s3, cloudformation = shop.cloud.client("s3"), shop.cloud.client("cloudformation")
    bucket, layers = f"layers-{uuid.uuid4().hex[:8]}", shop.cloud.client("lambda")
    s3.create_bucket(Bucket=bucket)

    def layer(key: str) -> dict[str, Any]:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("python/words.py", key)
        s3.put_object(Bucket=bucket, Key=key, Body=packed.getvalue())
        content = {"S3Bucket": bucket, "S3Key": key}
        return {"Type": "AWS::Lambda::LayerVersion", "Properties": {"LayerName": bucket, "Content": content}}

    def version(stack: str) -> str:
        (resource,) = cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
        return str(resource["PhysicalResourceId"])

    stack, _ = shop.stack(Layer=layer("first"))
    first = version(stack)
    assert layers.get_layer_version_by_arn(Arn=first)["LayerVersionArn"] == first
    template = json.dumps({"Resources": {"Layer": layer("second")}})
    cloudformation.update_stack(StackName=stack, TemplateBody=template)
    assert shop.stack_status(stack) == "UPDATE_COMPLETE"
    assert layers.get_layer_version_by_arn(Arn=version(stack))
    with pytest.raises(layers.exceptions.ResourceNotFoundException):
        layers.get_layer_version_by_arn(Arn=first)
    layers.delete_layer_version(LayerName=bucket, VersionNumber=2)
    with pytest.raises(layers.exceptions.ResourceNotFoundException):
        layers.get_layer_version_by_arn(Arn=version(stack))
    cloudformation.delete_stack(StackName=stack)
