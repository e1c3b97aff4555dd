"""Amazon S3: where the buckets of any account are. Nothing in them is read."""

from typing import Any

from botocore.exceptions import ClientError

from launch_agent.clients.aws import aws_client, throttled
from launch_agent.plan.buckets import Unplaced

_REGION = "x-amz-bucket-region"


class Buckets:
    """The buckets of all accounts."""

    def __init__(self) -> None:
        """Make the client; nothing is sent yet."""
        self._s3 = aws_client("s3")

    def find(self, name: str) -> str | Unplaced:
        """Return the region of a bucket, or why that is not known. Raises AwsThrottled.

        S3 says where a bucket is to those too who may not use it
        (https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html).
        """
        try:
            with throttled():
                answer: Any = self._s3.head_bucket(Bucket=name)
        except ClientError as error:
            answer = error.response
        about = answer["ResponseMetadata"]
        if about["HTTPStatusCode"] == 404:
            return Unplaced.NOT_THERE
        return str(about["HTTPHeaders"].get(_REGION, Unplaced.HIDDEN))
