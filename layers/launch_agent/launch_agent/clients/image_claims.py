"""Which images there are and whose build makes one, in the Runs table: items of one job wait for one build.

An image of the repository is used only if the build that a function has ordered reported it: whoever can push to the
repository can give an image any tag.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from launch_agent.clients.aws import CONFIG, translated
from launch_agent.image.recipe import ImageNote
from launch_agent.model import Model

_KEEP_CLAIM = timedelta(days=1)
_KEEP_IMAGE = timedelta(days=365)
_NOT_HELD = "ConditionalCheckFailedException"
_NAMES = {"#owner": "owner", "#image": "image"}
_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


class ImageClaim(Model):
    """Which run queue item's execution builds an image; what its build reported, or why it failed."""

    owner: str
    failure: str | None = None
    image: ImageNote | None = None


class ImageClaims:
    """Who builds or has built which image, by its recipe's tag. Every method may raise AwsThrottled and AwsRefused."""

    def __init__(self, table: str) -> None:
        """Take the table's name."""
        self._table = table
        self._dynamodb = boto3.client("dynamodb", config=CONFIG)

    def find(self, tag: str) -> ImageClaim | None:
        """Return who builds or has built an image; None when nobody has."""
        with translated():
            key = {"pk": _serialize(f"image#{tag}")}
            item = self._dynamodb.get_item(TableName=self._table, Key=key, ConsistentRead=True).get("Item")
        known = {name: _deserialize(value) for name, value in (item or {}).items()}
        if not known:
            return None
        image = ImageNote.model_validate_json(known["image"]) if "image" in known else None
        return ImageClaim(owner=known["owner"], failure=known.get("failure"), image=image)

    def claim(self, tag: str, item_id: str, *, after: ImageClaim | None = None) -> ImageClaim | None:
        """Claim the build of an image for an item; return whose it is, None when that changed meanwhile.

        It is the item's when nobody has claimed it, or the item has and its build has reported nothing, or the claim is
        still `after`, whose build has failed or whose image is gone.
        """
        condition = "attribute_not_exists(pk) OR (#owner = :owner AND attribute_not_exists(#image))"
        values = {":owner": item_id}
        if after:
            condition, values[":after"] = f"{condition} OR #owner = :after", after.owner
        try:
            self._put(tag, item_id, _KEEP_CLAIM, condition, values)
        except ClientError:
            return self.find(tag)
        return ImageClaim(owner=item_id)

    def built(self, tag: str, item_id: str, image: ImageNote) -> None:
        """Record the image that the build of an item reported; it is the one for all who need it from now on.

        Where another item has claimed the build meanwhile, that one's image will be.
        """
        # Reported twice, it is the same image.
        condition = (
            "attribute_not_exists(pk) OR (#owner = :owner AND (attribute_not_exists(#image) OR #image = :image))"
        )
        values = {":owner": item_id, ":image": image.model_dump_json()}
        with suppress(ClientError):
            self._put(tag, item_id, _KEEP_IMAGE, condition, values, image=image.model_dump_json())

    def fail(self, tag: str, item_id: str, reason: str) -> None:
        """Tell those who wait for an item's build that it failed, for a day."""
        self._if_unbuilt(
            self._dynamodb.update_item,
            tag,
            item_id,
            UpdateExpression="SET failure = :reason",
            values={":reason": _serialize(reason)},
        )

    def release(self, tag: str, item_id: str) -> None:
        """Give up the claim of an item, if it has one and its build has reported no image."""
        self._if_unbuilt(self._dynamodb.delete_item, tag, item_id)

    def _put(self, tag: str, owner: str, keep: timedelta, condition: str, values: dict[str, str], **more: str) -> None:
        item = {"pk": f"image#{tag}", "owner": owner, "ttl": int((datetime.now(UTC) + keep).timestamp()), **more}
        with translated(_NOT_HELD):
            self._dynamodb.put_item(
                TableName=self._table,
                Item={name: _serialize(value) for name, value in item.items()},
                ConditionExpression=condition,
                ExpressionAttributeNames=_NAMES,
                ExpressionAttributeValues={name: _serialize(value) for name, value in values.items()},
            )

    def _if_unbuilt(self, change: Any, tag: str, item_id: str, values: Any = None, **more: Any) -> None:
        with suppress(ClientError), translated(_NOT_HELD):
            change(
                TableName=self._table,
                Key={"pk": _serialize(f"image#{tag}")},
                ConditionExpression="#owner = :owner AND attribute_not_exists(#image)",
                ExpressionAttributeNames=_NAMES,
                ExpressionAttributeValues={":owner": _serialize(item_id), **(values or {})},
                **more,
            )
