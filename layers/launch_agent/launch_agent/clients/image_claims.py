"""Which images there are and whose build makes one, in the Runs table: items of one job wait for one build.

An image of the repository is used only if the build that a function has ordered reported it: whoever can push to the
repository can give an image any tag.
"""

import secrets
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
_OF_ITS_OWNER = {"#owner": "owner", "#image": "image"}
_Condition = tuple[str, dict[str, str], dict[str, str]]
"""A condition expression, the names in it, and the values."""
_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


class ImageClaim(Model):
    """Which run queue item's execution builds an image; what its build reported, or why it failed."""

    owner: str
    token: str | None = None  # None in version 0.1.0. Delete with tests/upgrade/0.1.0.
    """What only this build and the functions know."""
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
        return ImageClaim(owner=known["owner"], token=known.get("token"), failure=known.get("failure"), image=image)

    def claim(self, tag: str, item_id: str, *, after: ImageClaim | None = None) -> ImageClaim | None:
        """Claim the build of an image for an item; return whose it is with its token, None when that changed now.

        It is the item's when nobody has claimed it, or the claim is still `after`, which is to be replaced.
        """
        condition, names, values = "attribute_not_exists(pk)", {}, {}
        if after and after.token:
            condition, names, values = "#token = :token", {"#token": "token"}, {":token": after.token}
        elif after:
            condition = "#owner = :owner AND attribute_not_exists(#token)"
            names, values = {"#owner": "owner", "#token": "token"}, {":owner": after.owner}
        token = secrets.token_hex(16)
        try:
            self._put(tag, item_id, token, _KEEP_CLAIM, (condition, names, values))
        except ClientError:
            return self.find(tag)
        return ImageClaim(owner=item_id, token=token)

    def built(self, tag: str, item_id: str, token: str | None, image: ImageNote) -> None:
        """Record the image that the build of an item reported; it is the one for all who need it from now on.

        Where another item has claimed the build meanwhile, that one's image will be.
        """
        # Reported twice, it is the same image.
        condition = (
            "attribute_not_exists(pk) OR (#owner = :owner AND (attribute_not_exists(#image) OR #image = :image))"
        )
        values = {":owner": item_id, ":image": image.model_dump_json()}
        with suppress(ClientError):
            self._put(tag, item_id, token, _KEEP_IMAGE, (condition, _OF_ITS_OWNER, values), image=values[":image"])

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

    def _put(
        self, tag: str, owner: str, token: str | None, keep: timedelta, condition: _Condition, **more: str
    ) -> None:
        expression, names, values = condition
        item = {"pk": f"image#{tag}", "owner": owner, "ttl": int((datetime.now(UTC) + keep).timestamp()), **more}
        item |= {"token": token} if token else {}
        given: dict[str, Any] = {}
        if names:  # DynamoDB takes no empty ones
            given["ExpressionAttributeNames"] = names
            given["ExpressionAttributeValues"] = {name: _serialize(value) for name, value in values.items()}
        with translated(_NOT_HELD):
            self._dynamodb.put_item(
                TableName=self._table,
                Item={name: _serialize(value) for name, value in item.items()},
                ConditionExpression=expression,
                **given,
            )

    def _if_unbuilt(self, change: Any, tag: str, item_id: str, values: Any = None, **more: Any) -> None:
        with suppress(ClientError), translated(_NOT_HELD):
            change(
                TableName=self._table,
                Key={"pk": _serialize(f"image#{tag}")},
                ConditionExpression="#owner = :owner AND attribute_not_exists(#image)",
                ExpressionAttributeNames=_OF_ITS_OWNER,
                ExpressionAttributeValues={":owner": _serialize(item_id), **(values or {})},
                **more,
            )
