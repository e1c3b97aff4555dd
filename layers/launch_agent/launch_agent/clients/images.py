"""Images of jobs: whether the repository has one, whose build makes one, and what the builder noted about it."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from launch_agent.clients.aws import CONFIG, error_code, translated
from launch_agent.errors import InvalidLaunchConfig
from launch_agent.image.recipe import BuildPlan, ImageNote
from launch_agent.model import Model

_KEEP = timedelta(days=1)
_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


class ImageRepository:
    """An ECR repository. Every method may raise AwsThrottled."""

    def __init__(self, address: str) -> None:
        """Take its address, `<account>.dkr.ecr.<region>.amazonaws.com/<name>`."""
        self._address = address
        self._ecr = boto3.client("ecr", config=CONFIG)

    def find(self, tag: str) -> str | None:
        """Return the address, by digest, of the image with a tag; None when there is none.

        Raises InvalidLaunchConfig when there is no such repository.
        """
        host, _, name = self._address.partition("/")
        try:
            with translated():
                found = self._ecr.describe_images(
                    registryId=host.partition(".")[0], repositoryName=name, imageIds=[{"imageTag": tag}]
                )
        except ClientError as error:
            if error_code(error) == "ImageNotFoundException":
                return None
            if error_code(error) == "RepositoryNotFoundException":
                raise InvalidLaunchConfig(
                    f"there is no ECR repository {name}, which the template parameter ImageRepositoryName names. Make "
                    "it, or leave the parameter empty to have the stack make one."
                ) from None
            raise
        return f"{self._address}@{found['imageDetails'][0]['imageDigest']}"


def registry_password(registry: str) -> str:
    """Return the password of user AWS for an ECR registry by its host name, good for twelve hours.

    Raises AwsThrottled.
    """
    with translated():
        ecr = boto3.client("ecr", region_name=registry.split(".")[3], config=CONFIG)
        (data,) = ecr.get_authorization_token()["authorizationData"]
    return base64.b64decode(data["authorizationToken"]).decode().partition(":")[2]


class ImageClaim(Model):
    """Which run queue item's execution builds an image, and why its build failed, if it did."""

    owner: str
    failure: str | None = None


class ImageClaims:
    """Who builds which image, in the Runs table: items of one job wait for one build. May raise AwsThrottled."""

    def __init__(self, table: str) -> None:
        """Take the table's name."""
        self._table = table
        self._dynamodb = boto3.client("dynamodb", config=CONFIG)

    def claim(self, tag: str, item_id: str, *, after: ImageClaim | None = None) -> ImageClaim | None:
        """Claim the build of an image for an item; return whose it is, None when that changed meanwhile.

        It is the item's when nobody has claimed it, or the item has, or the claim is still `after`, whose build has
        come to nothing.
        """
        condition, values = "attribute_not_exists(pk) OR #owner = :owner", {":owner": item_id}
        if after:
            condition, values[":after"] = f"{condition} OR #owner = :after", after.owner
        item = {"pk": f"image#{tag}", "owner": item_id, "ttl": int((datetime.now(UTC) + _KEEP).timestamp())}
        try:
            with translated():
                self._dynamodb.put_item(
                    TableName=self._table,
                    Item={name: _serialize(value) for name, value in item.items()},
                    ConditionExpression=condition,
                    ExpressionAttributeNames={"#owner": "owner"},
                    ExpressionAttributeValues={name: _serialize(value) for name, value in values.items()},
                )
        except ClientError as error:
            if error_code(error) != "ConditionalCheckFailedException":
                raise
            return self._get(tag)
        return ImageClaim(owner=item_id)

    def fail(self, tag: str, item_id: str, reason: str) -> None:
        """Tell those who wait for an item's build that it failed, for a day."""
        self._if_owned(
            self._dynamodb.update_item,
            tag,
            item_id,
            UpdateExpression="SET failure = :reason",
            values={":reason": _serialize(reason)},
        )

    def release(self, tag: str, item_id: str) -> None:
        """Give up the claim of an item, if it has one: its image is there, or nobody wants it any more."""
        self._if_owned(self._dynamodb.delete_item, tag, item_id)

    def _if_owned(self, change: Any, tag: str, item_id: str, values: Any = None, **more: Any) -> None:
        try:
            with translated():
                change(
                    TableName=self._table,
                    Key={"pk": _serialize(f"image#{tag}")},
                    ConditionExpression="#owner = :owner",
                    ExpressionAttributeNames={"#owner": "owner"},
                    ExpressionAttributeValues={":owner": _serialize(item_id), **(values or {})},
                    **more,
                )
        except ClientError as error:
            if error_code(error) != "ConditionalCheckFailedException":
                raise

    def _get(self, tag: str) -> ImageClaim | None:
        with translated():
            key = {"pk": _serialize(f"image#{tag}")}
            item = self._dynamodb.get_item(TableName=self._table, Key=key, ConsistentRead=True).get("Item")
        known = {name: _deserialize(value) for name, value in (item or {}).items() if name in ImageClaim.model_fields}
        return ImageClaim.model_validate(known) if item else None


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
