"""The bucket that carries build plans to the builder, and its notes back."""

import boto3
from botocore.exceptions import ClientError
from pydantic_core import from_json

from launch_agent.clients.aws import CONFIG, translated
from launch_agent.errors import ImageBuildFailed
from launch_agent.image.recipe import BuildPlan, ImageNote

_LARGEST_NOTE = 1 << 18


class BuildBucket:
    """The bucket that carries build plans to the builder, and its notes back.

    Every method may raise AwsThrottled and AwsRefused.

    All builds have one role: it may read a plan and write a note by its key, and list neither. The keys have a token
    that only the build and the functions know, so a build reaches its own plan and its own note, and no other's.
    """

    def __init__(self, name: str) -> None:
        """Take the bucket's name."""
        self._name = name
        self._s3 = boto3.client("s3", config=CONFIG)

    def store_plan(self, plan: BuildPlan) -> str:
        """Store the plan of a build that has been given its token; return its key."""
        if not plan.token:
            raise ValueError("a build plan gets its token before it is stored")
        key = f"plans/{_place(plan)}"
        self._put(key, plan.model_dump_json())
        return key

    def plan(self, key: str) -> BuildPlan:
        """Return the plan stored under a key."""
        return BuildPlan.model_validate_json(self._get(key))

    def store_note(self, plan: BuildPlan, note: ImageNote) -> None:
        """Store what the build of a plan reports."""
        self._put(f"notes/{_place(plan)}", note.model_dump_json())

    def note(self, plan: BuildPlan) -> ImageNote | None:
        """Return what the build of a plan has reported; None when it has not. Raises ImageBuildFailed for no note."""
        text = self._find(f"notes/{_place(plan)}")
        return None if text is None else _note(text)

    def note_by_tag(self, tag: str, *, digest: str) -> ImageNote | None:
        """Return what a build of version 0.1.0 noted of its image, by the recipe's tag and without a digest.

        Delete with tests/upgrade/0.1.0.
        """
        text = self._find(f"images/{tag}.json")
        return None if text is None else _note(text, digest=digest)

    def _put(self, key: str, text: str) -> None:
        with translated():
            self._s3.put_object(Bucket=self._name, Key=key, Body=text.encode(), ContentType="application/json")

    def _find(self, key: str) -> bytes | None:
        try:
            return self._get(key, at_most=_LARGEST_NOTE)
        except ClientError:
            return None

    def _get(self, key: str, *, at_most: int | None = None) -> bytes:
        with translated("NoSuchKey"):
            return bytes(self._s3.get_object(Bucket=self._name, Key=key)["Body"].read(at_most))


def _place(plan: BuildPlan) -> str:
    # Version 0.1.0 ordered builds without a token. Delete with tests/upgrade/0.1.0.
    return f"{plan.item.id}/{plan.token or plan.tag}.json"


def _note(text: bytes, **more: str) -> ImageNote:
    try:
        return ImageNote.model_validate({**from_json(text), **more})
    except (TypeError, ValueError):
        raise ImageBuildFailed("the build of the image left a note that is none. Queue the run again.") from None
