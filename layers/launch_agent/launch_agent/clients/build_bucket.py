"""The bucket through which the builder gets build plans and returns its notes."""

from botocore.exceptions import ClientError
from pydantic_core import from_json

from launch_agent.clients.aws import aws_client, translated
from launch_agent.errors import ImageBuildFailed
from launch_agent.image.recipe import BuildPlan, ImageNote

_LARGEST_NOTE = 1 << 18


class BuildBucket:
    """The build bucket. Every method may raise AwsThrottled and AwsRefused.

    All builds have the same role. It may read a plan and write a note if it knows the key, and may not list keys. A key
    contains a token that only the build and the functions know, so a build has access to its own plan and note only.
    """

    def __init__(self, name: str) -> None:
        """`name` is the bucket's."""
        self._name = name
        self._s3 = aws_client("s3")

    def store_plan(self, plan: BuildPlan) -> str:
        """Store a build plan and return its key. Raises ValueError if the plan has no token."""
        if not plan.token:
            raise ValueError("a build plan needs a token before it is stored")
        key = f"plans/{_place(plan)}"
        self._put(key, plan.model_dump_json())
        return key

    def plan(self, key: str) -> BuildPlan:
        """Return the build plan under a key."""
        return BuildPlan.model_validate_json(self._get(key))

    def store_note(self, plan: BuildPlan, note: ImageNote) -> None:
        """Store the note of a build."""
        self._put(f"notes/{_place(plan)}", note.model_dump_json())

    def note(self, plan: BuildPlan) -> ImageNote | None:
        """Return the note of a build, or None. Raises ImageBuildFailed if it cannot be read."""
        text = self._find(f"notes/{_place(plan)}")
        return None if text is None else _note(text)

    def note_by_tag(self, tag: str, *, digest: str) -> ImageNote | None:
        """Return the note of a build of version 0.1.0, which is stored by the recipe's tag and has no digest.

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
        raise ImageBuildFailed("the image build left a note that cannot be read. Queue the run again.") from None
