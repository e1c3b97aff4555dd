"""Whose build makes an image: claims in the Runs table, so that items of one job wait for one build."""

from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from launch_agent.clients.aws import CONFIG, error_code, translated
from launch_agent.model import Model

_KEEP = timedelta(days=1)
_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


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
