"""The public images that builds start from. `pins.json` says for each which one it is, by digest.

`make lock UPGRADE=1` asks the registries for today's digests. Without a digest, an image is what its tag stands for.
"""

import json
from functools import cache
from pathlib import Path

PINS = Path(__file__).with_name("pins.json")

FRONTEND = "mirror.gcr.io/docker/dockerfile:1"
"""The program of BuildKit's that reads Dockerfiles, where a Dockerfile asks for another than BuildKit's own."""
UV_VERSION = "0.13.9"
UV = f"ghcr.io/astral-sh/uv:{UV_VERSION}"


def pinned(reference: str) -> str:
    """Return an image reference with its digest, where that is known."""
    digest = known_digests().get(reference)
    return f"{reference}@{digest}" if digest else reference


@cache
def known_digests() -> dict[str, str | None]:
    """Return the digests by reference; None for one that nobody has asked for yet."""
    digests: dict[str, str | None] = json.loads(PINS.read_text())
    return digests
