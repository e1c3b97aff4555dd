"""`python -m local.pins`: updates the image digests of the tags in `pins.json` from their registries.

It uses the registry API (https://distribution.github.io/distribution/spec/api/). If a registry requires a token, the
registry's answer says where to get an anonymous one (https://distribution.github.io/distribution/spec/auth/token/).
"""

import json
import re
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import urllib3

from launch_agent.image.pins import PINS

_ACCEPT = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
        "oci.image.index.v1",
        "oci.image.manifest.v1",
    )
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Renewed(NamedTuple):
    """The current digests, and a message for each one that could not be updated."""

    digests: dict[str, str | None]
    faults: list[str]


def main(path: Path = PINS) -> int:
    """Update the file; return 1 if a digest could not be updated. Such a digest is left unchanged."""
    renewed = renew(json.loads(path.read_text()))
    path.write_text(json.dumps(renewed.digests, indent=2) + "\n")
    print(*renewed.faults, sep="\n", file=sys.stderr, end="\n" if renewed.faults else "")
    return 1 if renewed.faults else 0


def renew(known: dict[str, str | None]) -> Renewed:
    """Get the digest of each reference; keep the known one if that fails."""
    digests, faults = dict(known), []
    for reference in known:
        try:
            digests[reference] = digest_of(reference)
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            faults.append(f"{reference}: not updated: {error}")
    return Renewed(digests, faults)


def digest_of(reference: str) -> str:
    """Return the digest of the image at `registry/repository:tag`. Raises HTTPError and ValueError."""
    registry, _, name = reference.partition("/")
    repository, _, tag = name.rpartition(":")
    scheme = "http" if registry.startswith("127.0.0.1:") else "https"
    url, headers = f"{scheme}://{registry}/v2/{repository}/manifests/{tag}", {"Accept": _ACCEPT}
    answer = _ask("HEAD", url, headers)
    if answer.status == 401:
        headers["Authorization"] = f"Bearer {_token(answer.headers.get('WWW-Authenticate', ''))}"
        answer = _ask("HEAD", url, headers)
    digest = answer.headers.get("Docker-Content-Digest", "")
    if answer.status != 200 or not _DIGEST.fullmatch(digest):
        raise ValueError(f"the registry answered HTTP {answer.status} without a digest")
    return digest


def _token(challenge: str) -> str:
    """Get the token that a registry's challenge asks for."""
    asked = dict(_CHALLENGE.findall(challenge))
    realm = asked.pop("realm", "")
    if not challenge.lower().startswith("bearer ") or not realm:
        raise ValueError("the registry requires a sign-in")
    answer = _ask("GET", f"{realm}?{urlencode(asked)}", {})
    told = json.loads(answer.data)
    return str(told.get("token") or told.get("access_token"))


def _ask(method: str, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
    return urllib3.request(method, url, headers=headers, retries=1, timeout=20.0)


if __name__ == "__main__":
    sys.exit(main())
