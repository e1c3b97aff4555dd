"""The public images that builds start from. `pins.json` has the digest of each.

`make lock UPGRADE=1` gets the current digests from the registries. An image without a digest is pulled by its tag.
"""

import json
from functools import cache
from pathlib import Path

PINS = Path(__file__).with_name("pins.json")

FRONTEND = "mirror.gcr.io/docker/dockerfile:1"
"""The image of BuildKit's Dockerfile parser. It reads Dockerfiles that ask for another parser than the built-in one."""
UV_VERSION = "0.13.9"
UV = f"ghcr.io/astral-sh/uv:{UV_VERSION}"


def pinned(reference: str) -> str:
    """Return an image reference with its digest, if the digest is known."""
    digest = known_digests().get(reference)
    return f"{reference}@{digest}" if digest else reference


@cache
def known_digests() -> dict[str, str | None]:
    """Return the digests by reference; None for a digest that is not known yet."""
    digests: dict[str, str | None] = json.loads(PINS.read_text())
    return digests
