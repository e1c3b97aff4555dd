"""Finds a request's IAM action, resource and condition keys if ministack does not know them."""

import json
import re
from collections.abc import Iterator
from typing import Any

from local.aws import seams

_ON_A_STREAM = ("CreateLogStream", "GetLogEvents", "PutLogEvents")
_EQUALS = re.compile(r"(\S+)\s*=\s*(:\w+)")


def resource_arn(
    old: Any,
    service: str,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    query_params: Any,
    region: str,
    account_id: str,
) -> Any:
    """Return the ARN of the resource that a request uses."""
    if service == "lambda" and _asks_for_layer_version(path, query_params):
        return _first(query_params["Arn"])
    if service == "codebuild":
        return _project_arn(body, region, account_id)
    if service == "logs":
        return _log_arn(old(service, method, path, headers, body, query_params, region, account_id), headers, body)
    if service == "iam":
        return _with_path(old(service, method, path, headers, body, query_params, region, account_id))
    if service != "sagemaker":
        return old(service, method, path, headers, body, query_params, region, account_id)
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        return "*"
    name = request.get("TrainingJobName")
    own = f"arn:aws:sagemaker:{region}:{account_id}:training-job/{name}" if name else "*"
    return request.get("ResourceArn", own)


def action(
    old: Any, service: str, method: str, path: str, headers: dict[str, str], body: bytes, query_params: Any
) -> Any:
    """Return the IAM action of a request.

    ministack mistakes GetLayerVersionByArn for ListLayers, and does not know that who may send one message to SQS may
    send ten: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_AddPermission.html
    """
    if service == "lambda" and _asks_for_layer_version(path, query_params):
        return "lambda:GetLayerVersion"
    found = old(service, method, path, headers, body, query_params)
    return found.removesuffix("Batch") if service == "sqs" and found else found


def _asks_for_layer_version(path: str, query_params: Any) -> bool:
    return path.endswith("/layers") and _first((query_params or {}).get("find")) == "LayerVersion"


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def _with_path(arn: str) -> str:
    """Return a role's ARN with its path, which a request that names the role does not contain."""
    role = seams.use("ministack.services.iam:_roles").get(arn.rpartition(":role/")[2]) if ":role/" in arn else None
    return str(role["Arn"]) if role else arn


def _log_arn(arn: str, headers: dict[str, str], body: bytes) -> str:
    """Return the ARN of a call's log stream; for a call on a whole group, the stream's name is empty."""
    if ":log-group:" not in arn or ":log-stream:" in arn:
        return arn
    operation = headers.get("x-amz-target", "").rpartition(".")[2]
    stream = json.loads(body).get("logStreamName", "") if operation in _ON_A_STREAM else ""
    return f"{arn}:log-stream:{stream}"


def with_leading_keys(old: Any, body: bytes) -> dict[str, Any]:
    """Add the partition keys in a DynamoDB call; for a transaction, those of all its items."""
    context: dict[str, Any] = old(body)
    try:
        asked = json.loads(body or b"{}")
    except ValueError:
        return context
    keys = list(_leading_keys(asked))
    return {**context, "dynamodb:LeadingKeys": keys} if keys else context


def _leading_keys(asked: dict[str, Any]) -> Iterator[str]:
    for item in asked.get("TransactItems", []):
        for part in item.values():
            yield from _leading_keys(part)
    table = seams.use("ministack.services.dynamodb:_tables").get(asked.get("TableName", ""), {})
    for name in (each["AttributeName"] for each in table.get("KeySchema", []) if each["KeyType"] == "HASH"):
        for value in ((asked.get("Key") or asked.get("Item") or {}).get(name) or {}).values():
            yield str(value)
    for _, value in _EQUALS.findall(asked.get("KeyConditionExpression", ""))[:1]:
        yield str(next(iter(asked["ExpressionAttributeValues"][value].values())))


def _project_arn(body: bytes, region: str, account_id: str) -> str:
    """Return the ARN of a CodeBuild call's project; policies for builds use it too."""
    request = json.loads(body or b"{}")
    name = (
        request.get("projectName") or request.get("name") or request.get("id") or next(iter(request.get("ids", [])), "")
    )
    name = name.rpartition(":build/")[2].partition(":")[0]
    return f"arn:aws:codebuild:{region}:{account_id}:project/{name}" if name else "*"
