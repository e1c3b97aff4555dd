"""A client for images in the registry, and in the mirror that replaces public registries."""

import base64
import hashlib
import json
import platform
from typing import TYPE_CHECKING, Any, NamedTuple

import urllib3

from local.aws.iam import Denied

if TYPE_CHECKING:
    from local.aws.cloud import Cloud  # builds start without it, as it imports boto3

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MIRROR = "mirror/"
"""The prefix of the repositories that replace public registries. Pulling from them needs no permission."""

_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_CREATED = "2026-01-01T00:00:00Z"
_ARCHITECTURE = "arm64" if platform.machine() in ("arm64", "aarch64") else "amd64"


def password_in(authorization: str) -> str:
    """Return the password of an Authorization header; empty if it has none."""
    try:
        return base64.b64decode(authorization.partition(" ")[2]).decode().partition(":")[2]
    except ValueError:
        return ""


class Image(NamedTuple):
    """An image in the registry."""

    digest: str
    media_type: str
    manifest: dict[str, Any]
    config: dict[str, Any]


class RegistryClient:
    """Reads and writes images with a caller's authorization."""

    def __init__(self, url: str, authorization: str) -> None:
        """Use the registry at `url`, with the caller's Authorization header."""
        self.address = url.removeprefix("http://")
        self.password = password_in(authorization)
        self._url = f"{url}/v2"
        self._headers = {"Authorization": authorization}

    @classmethod
    def of_role(cls, cloud: "Cloud", role_arn: str = "", session: str = "local") -> "RegistryClient":
        """Sign in as a role or, without one, as the account's owner. Raises ClientError if the role may not."""
        (data,) = cloud.client("ecr", role_arn, session).get_authorization_token()["authorizationData"]
        return cls(cloud.url, f"Basic {data['authorizationToken']}")

    def image(self, repository: str, reference: str) -> Image | None:
        """Return an image by tag or digest; None if it does not exist. Raises Denied."""
        answer = self._ask("GET", f"{repository}/manifests/{reference}", headers={"Accept": MANIFEST})
        if answer.status == 404:
            return None
        manifest = json.loads(answer.data)
        config = json.loads(self.blob(repository, manifest["config"]["digest"]))
        return Image(answer.headers["Docker-Content-Digest"], answer.headers["Content-Type"], manifest, config)

    def blob(self, repository: str, digest: str) -> bytes:
        """Return a layer or a configuration. Raises Denied."""
        return self._ask("GET", f"{repository}/blobs/{digest}").data

    def push(self, repository: str, tag: str, layers: list[tuple[bytes, str]], config: dict[str, Any]) -> str:
        """Push an image of gzipped layers, each with the digest of its tar; return its digest. Raises Denied."""
        rootfs = {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]}
        # Tools that build on an image need its history, with an entry for each layer. Without the times, buildah takes
        # no layer of an earlier build.
        history = [{"created": _CREATED, "created_by": "the embedded AWS"} for _ in layers]
        described = {"architecture": _ARCHITECTURE, "os": "linux", "rootfs": rootfs, "history": history}
        described["created"] = _CREATED
        description = json.dumps({**described, "config": config}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._put_blob(repository, description) | {"mediaType": _CONFIG},
            "layers": [self._put_blob(repository, layer) | {"mediaType": _LAYER} for layer, _ in layers],
        }
        answer = self._ask(
            "PUT", f"{repository}/manifests/{tag}", json.dumps(manifest).encode(), {"Content-Type": MANIFEST}
        )
        return str(answer.headers["Docker-Content-Digest"])

    def _put_blob(self, repository: str, content: bytes) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if self._ask("HEAD", f"{repository}/blobs/{digest}").status == 404:
            begun = self._ask("POST", f"{repository}/blobs/uploads/")
            upload = begun.headers["Location"].partition("/v2/")[2]
            self._ask("PUT", f"{upload}?digest={digest}", content)
        return {"digest": digest, "size": len(content)}

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        answer = urllib3.request(
            method, f"{self._url}/{path}", body=body, headers={**self._headers, **(headers or {})}, retries=False
        )
        missing = answer.status == 404 and method in ("GET", "HEAD")
        if answer.status >= 400 and not missing:
            raise Denied(answer.data.decode(errors="replace"))
        return answer
