"""The claims of images, in the table Runs: which run queue item builds an image, and which images exist.

Items that need the same image wait for one build. An image in the repository is used only if a build that a function
ordered has reported it: everyone who can push to the repository can give an image any tag.
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
    """A claim: the run queue item whose execution builds an image, and the image or the failure of that build."""

    owner: str
    token: str | None = None  # None in version 0.1.0. Delete with tests/upgrade/0.1.0.
    """Known only to this build and the functions."""
    failure: str | None = None
    image: ImageNote | None = None


class ImageClaims:
    """The claims, by the tag of the image's recipe. Every method may raise AwsThrottled and AwsRefused."""

    def __init__(self, table: str) -> None:
        """`table` is the name of the table Runs."""
        self._table = Table(table)

    def find(self, tag: str) -> ImageClaim | None:
        """Return the claim of an image, or None."""
        known = self._table.get(_key(tag))
        if known is None:
            return None
        image = ImageNote.model_validate_json(known["image"]) if "image" in known else None
        return ImageClaim(owner=known["owner"], token=known.get("token"), failure=known.get("failure"), image=image)

    def claim(self, tag: str, item_id: str, *, after: ImageClaim | None = None) -> ImageClaim | None:
        """Claim the build of an image for an item. Return the claim that is now there, which may be another item's.

        The item gets the claim if the image has no claim, or if its claim is still `after`. None if another
        call changed the claim at the same time.
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
        """Record the image that an item's build reported, for all items that need it.

        Does nothing if another item has claimed the build in the meantime.
        """
        # The same image may be reported twice.
        condition = (
            "attribute_not_exists(pk) OR (#owner = :owner AND (attribute_not_exists(#image) OR #image = :image))"
        )
        reported = {"image": image.model_dump_json()}
        known = {"owner": item_id, **reported}
        self._put(tag, item_id, token, _KEEP_IMAGE, reported, condition=condition, names=_NAMES, known=known)

    def fail(self, tag: str, item_id: str, reason: str) -> None:
        """Record why an item's build failed, for the items that wait for it."""
        known = {"owner": item_id}
        self._table.make(
            self._table.change(_key(tag), set_={"failure": reason}, condition=_UNBUILT, known=known, names=_NAMES)
        )

    def release(self, tag: str, item_id: str) -> None:
        """Delete the claim of an item, if it has one and its build has reported no image."""
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
