"""Writes all data of the stack to JSON files, one for each kind, so that tests can search them for secrets."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import urllib3
from boto3.dynamodb.types import TypeDeserializer

from local.stack import Deployed, LocalCloud


def dump(deployed: Deployed, folder: Path) -> None:
    """Write executions, logs, tables, objects, training jobs, failed events and W&B's state into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    cloud = deployed.cloud
    kinds = {
        "executions": executions(cloud, deployed.outputs["StateMachineArn"]),
        "logs": log_events(cloud),
        "table": table_items(cloud),
        "objects": objects(cloud),
        "training_jobs": training_jobs(cloud),
        "failed_events": failed_events(cloud, deployed.outputs["FailedEventsUrl"]),
        "wandb": [wandb_state(deployed)],
    }
    for kind, values in kinds.items():
        (folder / f"{kind}.json").write_text(json.dumps(list(values), indent=1, default=_text) + "\n")


def executions(cloud: LocalCloud, state_machine_arn: str) -> Iterator[Any]:
    """Yield each execution with its input, output and history."""
    states = cloud.client("stepfunctions")
    pages = states.get_paginator("list_executions").paginate(stateMachineArn=state_machine_arn)
    for execution in (each for page in pages for each in page["executions"]):
        arn = execution["executionArn"]
        histories = states.get_paginator("get_execution_history").paginate(executionArn=arn, includeExecutionData=True)
        history = [event for page in histories for event in page["events"]]
        yield {**_without_metadata(states.describe_execution(executionArn=arn)), "history": history}


def log_events(cloud: LocalCloud) -> Iterator[Any]:
    """Yield each log stream of each log group, with its events."""
    logs = cloud.client("logs")
    for group in _all(logs, "describe_log_groups", "logGroups"):
        name = group["logGroupName"]
        for stream in _all(logs, "describe_log_streams", "logStreams", logGroupName=name):
            where = {"logGroupName": name, "logStreamName": stream["logStreamName"]}
            events = logs.get_log_events(**where, startFromHead=True)["events"]
            yield {**where, "events": [event["message"] for event in events]}


def table_items(cloud: LocalCloud) -> Iterator[Any]:
    """Yield each item of each table; `dump` unpacks compressed values."""
    deserialize, dynamodb = TypeDeserializer().deserialize, cloud.client("dynamodb")
    for table in _all(dynamodb, "list_tables", "TableNames"):
        for item in _all(dynamodb, "scan", "Items", TableName=table):
            yield {name: deserialize(value) for name, value in item.items()}


def objects(cloud: LocalCloud) -> Iterator[Any]:
    """Yield each object of each bucket, with its contents if they are text."""
    s3 = cloud.client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        for listed in _all(s3, "list_objects_v2", "Contents", Bucket=bucket["Name"]):
            body = s3.get_object(Bucket=bucket["Name"], Key=listed["Key"])["Body"].read()
            yield {"bucket": bucket["Name"], "key": listed["Key"], "size": listed["Size"], "body": _text(body)}


def training_jobs(cloud: LocalCloud) -> Iterator[Any]:
    """Yield each training job's description and tags."""
    sagemaker = cloud.client("sagemaker")
    for summary in _all(sagemaker, "list_training_jobs", "TrainingJobSummaries"):
        job = sagemaker.describe_training_job(TrainingJobName=summary["TrainingJobName"])
        yield {**_without_metadata(job), "Tags": sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"]}


def failed_events(cloud: LocalCloud, url: str) -> Iterator[Any]:
    """Yield the messages in the queue FailedEvents, without deleting them."""
    sqs = cloud.client("sqs")
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=60).get("Messages"):
        yield from (message["Body"] for message in messages)


def wandb_state(deployed: Deployed) -> Any:
    """Return the local W&B server's whole state; None for another server."""
    sign_in = urllib3.make_headers(basic_auth=f"api:{deployed.wandb.api_key}")
    answer = urllib3.request("GET", f"{deployed.wandb.url}/_local/state", headers=sign_in, retries=False)
    return json.loads(answer.data) if answer.status == 200 else None


def _all(client: Any, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
    for page in client.get_paginator(operation).paginate(**arguments):
        yield from page.get(key, [])


def _without_metadata(answer: Any) -> Any:
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


def _text(value: Any) -> Any:
    """Decode bytes, after decompressing gzip; None if they are not text. Turn other values into text."""
    if not hasattr(value, "__bytes__") and not isinstance(value, bytes):
        return str(value)
    content = bytes(value)
    try:
        return (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError):
        return None
