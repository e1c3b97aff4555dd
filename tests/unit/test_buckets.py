"""The buckets that a request names, and what is wrong with them."""

from typing import Any

import pytest

from launch_agent.plan.buckets import Unplaced, bucket_faults


def channel(uri: str) -> dict[str, Any]:
    return {"ChannelName": "train", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}}


REQUEST = {
    "OutputDataConfig": {"S3OutputPath": "s3://out/put"},
    "CheckpointConfig": {"S3Uri": "s3://saved"},
    "InputDataConfig": [channel("s3://inp/1"), channel("s3://inp/2"), {"ChannelName": "efs", "DataSource": {}}],
}


def faults(request: dict[str, Any], **regions: str | Unplaced) -> tuple[list[str], list[str]]:
    """Return the faults, and which buckets were looked at."""
    asked: list[str] = []

    def find(name: str) -> str | Unplaced:
        asked.append(name)
        return regions.get(name, "us-east-1")

    return list(bucket_faults(request, "us-east-1", find)), asked


def test_each_bucket_is_looked_at_once() -> None:
    assert faults(REQUEST) == ([], ["out", "saved", "inp"])


def test_every_place_of_a_bucket_is_named_with_what_to_do() -> None:
    said, _ = faults(REQUEST, out=Unplaced.NOT_THERE, **{"inp": "eu-west-1"})
    assert said == [
        'OutputDataConfig.S3OutputPath is "s3://out/put", and there is no bucket out. Create it in us-east-1, or name '
        "one that is there.",
        'InputDataConfig[0].DataSource.S3DataSource.S3Uri is "s3://inp/1", and the bucket inp is in eu-west-1. '
        "SageMaker uses buckets of its own region only. Name one in us-east-1.",
        'InputDataConfig[1].DataSource.S3DataSource.S3Uri is "s3://inp/2", and the bucket inp is in eu-west-1. '
        "SageMaker uses buckets of its own region only. Name one in us-east-1.",
    ]


def test_a_bucket_that_is_hidden_is_no_fault() -> None:
    assert faults(REQUEST, out=Unplaced.HIDDEN)[0] == []


@pytest.mark.parametrize(
    "uri",
    [
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/mine/x",
        "s3://{{bucket}}/x",
        "s3://${bucket}/x",
        "s3://",
        "https://bucket/x",
        None,
    ],
)
def test_what_names_no_bucket_is_not_looked_at(uri: str | None) -> None:
    assert faults({"OutputDataConfig": {"S3OutputPath": uri}}) == ([], [])
