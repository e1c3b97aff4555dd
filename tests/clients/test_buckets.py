"""Where buckets are, as S3 says it to those who may use them and to those who may not."""

import boto3
import pytest
from moto import mock_aws

from launch_agent.clients import aws
from launch_agent.clients.buckets import Buckets
from launch_agent.errors import AwsThrottled
from launch_agent.plan.buckets import Unplaced
from tests.answering import Answer, answering


@mock_aws
def test_a_bucket_is_found_in_whatever_region_it_is() -> None:
    boto3.client("s3").create_bucket(Bucket="here")
    boto3.client("s3", region_name="eu-west-1").create_bucket(
        Bucket="there", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    found = Buckets()
    assert [found.find(name) for name in ("here", "there", "nowhere")] == ["us-east-1", "eu-west-1", Unplaced.NOT_THERE]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (Answer(403), Unplaced.HIDDEN),
        (Answer(400), Unplaced.HIDDEN),
        (Answer(403, headers={"x-amz-bucket-region": "eu-west-1"}), "eu-west-1"),
        (Answer(404), Unplaced.NOT_THERE),
    ],
)
def test_what_s3_refuses_tells_where_a_bucket_is_all_the_same(
    answer: Answer, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(answer) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        assert Buckets().find("a-bucket") == found


@pytest.mark.parametrize("answer", [Answer(503), Answer(0)], ids=["busy", "no answer"])
def test_a_bucket_is_asked_for_again_when_s3_does_not_answer(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws.CONFIG, "retries", {"total_max_attempts": 1})
    with answering(answer) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        with pytest.raises(AwsThrottled):
            Buckets().find("a-bucket")
