"""The bucket that carries build plans to the builder, and its notes back."""

import boto3
from botocore.exceptions import ClientError

from launch_agent.clients.aws import CONFIG, error_code, translated
from launch_agent.image.recipe import BuildPlan, ImageNote


class BuildBucket:
    """The bucket that carries build plans to the builder, and its notes back. Every method may raise AwsThrottled."""

    def __init__(self, name: str) -> None:
        """Take the bucket's name."""
        self._name = name
        self._s3 = boto3.client("s3", config=CONFIG)

    def store_plan(self, plan: BuildPlan) -> str:
        """Store the plan of an item's build; return its key."""
        key = f"plans/{plan.item.id}.json"
        self._put(key, plan.model_dump_json())
        return key

    def plan(self, key: str) -> BuildPlan:
        """Return the plan stored under a key."""
        return BuildPlan.model_validate_json(self._get(key))

    def store_note(self, tag: str, note: ImageNote) -> None:
        """Keep what was noted about the image with a tag."""
        self._put(f"images/{tag}.json", note.model_dump_json())

    def note(self, tag: str) -> ImageNote | None:
        """Return what was noted about the image with a tag; None when that is gone."""
        try:
            return ImageNote.model_validate_json(self._get(f"images/{tag}.json"))
        except ClientError as error:
            if error_code(error) != "NoSuchKey":
                raise
            return None

    def _put(self, key: str, text: str) -> None:
        with translated():
            self._s3.put_object(Bucket=self._name, Key=key, Body=text.encode(), ContentType="application/json")

    def _get(self, key: str) -> bytes:
        with translated():
            return bytes(self._s3.get_object(Bucket=self._name, Key=key)["Body"].read())
