"""Which images there are and whose build makes one, in the Runs table: items of one job wait for one build.

An image of the repository is used only if the build that a function has ordered reported it: whoever can push to the
repository can give an image any tag.
"""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from launch_agent.clients.table import Table
from launch_agent.image.recipe import ImageNote
from launch_agent.model import Model

_KEEP_CLAIM = timedelta(days=1)
_KEEP_IMAGE = timedelta(days=365)
_UNBUILT = "#owner = :owner AND attribute_not_exists(#image)"
_NAMES = ("owner", "image")


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
        self._table = Table(table)

    def find(self, tag: str) -> ImageClaim | None:
        """Return who builds or has built an image; None when nobody has."""
        known = self._table.get(_key(tag))
        if known is None:
            return None
        image = ImageNote.model_validate_json(known["image"]) if "image" in known else None
        return ImageClaim(owner=known["owner"], token=known.get("token"), failure=known.get("failure"), image=image)

    def claim(self, tag: str, item_id: str, *, after: ImageClaim | None = None) -> ImageClaim | None:
        """Claim the build of an image for an item; return whose it is with its token, None when that changed now.

        It is the item's when nobody has claimed it, or the claim is still `after`, which is to be replaced.
        """
        unchanged: dict[str, Any] = {"condition": "attribute_not_exists(pk)"}
        if after and after.token:
            unchanged = {"condition": "#token = :token", "names": ("token",), "known": {"token": after.token}}
        elif after:
            condition = "#owner = :owner AND attribute_not_exists(#token)"
            unchanged = {"condition": condition, "names": ("owner", "token"), "known": {"owner": after.owner}}
        token = secrets.token_hex(16)
        claimed = self._put(tag, item_id, token, _KEEP_CLAIM, **unchanged)
        return ImageClaim(owner=item_id, token=token) if claimed else self.find(tag)

    def built(self, tag: str, item_id: str, token: str | None, image: ImageNote) -> None:
        """Record the image that the build of an item reported; it is the one for all who need it from now on.

        Where another item has claimed the build meanwhile, that one's image will be.
        """
        # Reported twice, it is the same image.
        condition = (
            "attribute_not_exists(pk) OR (#owner = :owner AND (attribute_not_exists(#image) OR #image = :image))"
        )
        reported = {"image": image.model_dump_json()}
        known = {"owner": item_id, **reported}
        self._put(tag, item_id, token, _KEEP_IMAGE, reported, condition=condition, names=_NAMES, known=known)

    def fail(self, tag: str, item_id: str, reason: str) -> None:
        """Tell those who wait for an item's build that it failed, for a day."""
        known = {"owner": item_id}
        self._table.make(
            self._table.change(_key(tag), set_={"failure": reason}, condition=_UNBUILT, known=known, names=_NAMES)
        )

    def release(self, tag: str, item_id: str) -> None:
        """Give up the claim of an item, if it has one and its build has reported no image."""
        self._table.delete(_key(tag), condition=_UNBUILT, known={"owner": item_id}, names=_NAMES)

    def _put(
        self,
        tag: str,
        owner: str,
        token: str | None,
        keep: timedelta,
        reported: Mapping[str, str] | None = None,
        **on: Any,
    ) -> bool:
        values = {"owner": owner, "ttl": int((datetime.now(UTC) + keep).timestamp()), **(reported or {})}
        return self._table.put(_key(tag), values | ({"token": token} if token else {}), **on)


def _key(tag: str) -> str:
    return f"image#{tag}"
