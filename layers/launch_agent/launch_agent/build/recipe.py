"""Everything that goes into an image, and the tag that stands for exactly that."""

import hashlib

from launch_agent.model import Model

BUILDER_VERSION = "1"
"""Raised with every change that makes another image of the same recipe, such as one of the generated Dockerfile."""


class BuildRecipe(Model):
    """What an image is made of. The same recipe gives the same image, so that it is built once."""

    source: str
    """The code: the digest of its artifact, or the remote and commit of its git repository."""
    job_digest: str
    """The digest of the job artifact, whose frozen requirements and patch go into the image too."""
    entry_point: tuple[str, ...]
    dockerfile: str | None = None
    """A path in the build context: the override's, else the job's own."""
    build_context: str | None = None
    base_image: str | None = None
    python_version: str
    platform: str = "linux/amd64"
    builder_version: str = BUILDER_VERSION

    @property
    def tag(self) -> str:
        """Return 64 hex digits that change if and only if a field does."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
