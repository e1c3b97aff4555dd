"""The registry behind ECR: checks each caller's permissions as ECR does, and has a client for images.

ministack implements the protocol (https://distribution.github.io/distribution/spec/api/), without permissions.
"""

import base64
import fnmatch
import hashlib
import json
import platform
import re
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

import urllib3

from local import ACCOUNT_ID, REGION
from local.aws import seams
from local.aws.cloud import Cloud
from local.aws.iam import Denied, Iam, caller
from local.aws.json_service import JsonService, Operation

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MIRROR = "mirror/"
"""The prefix of the repositories that replace public registries. Pulling from them needs no permission."""

_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_CREATED = "2026-01-01T00:00:00Z"
_ARCHITECTURE = "arm64" if platform.machine() in ("arm64", "aarch64") else "amd64"
_PATH = re.compile(r"/v2/(?P<repository>.+?)/(?P<kind>blobs|manifests)/(?P<reference>.*)")
_ACTIONS = {
    ("manifests", "GET"): "BatchGetImage",
    ("manifests", "HEAD"): "BatchGetImage",
    ("manifests", "PUT"): "PutImage",
    ("blobs", "GET"): "GetDownloadUrlForLayer",
    ("blobs", "HEAD"): "BatchCheckLayerAvailability",
    ("blobs", "POST"): "InitiateLayerUpload",
    ("blobs", "PATCH"): "UploadLayerPart",
    ("blobs", "PUT"): "CompleteLayerUpload",
}


class Registry:
    """Checks each request to the registry before ministack answers it."""

    def __init__(self, iam: Iam) -> None:
        """Check permissions with `iam`."""
        self._iam = iam
        self._tokens: dict[str, dict[str, str]] = {}
        self.limits: dict[str, int] = {}
        """How many of the next anonymous pulls each public registry refuses."""

    def install(self) -> None:
        """Give each caller its own authorization token, also for Amazon's public registry."""
        seams.replace("ministack.services.ecr:_get_authorization_token", self._token)
        operations: dict[str, Operation] = {"GetAuthorizationToken": self._public_token}
        public = JsonService("ecr-public", operations, invalid="InvalidParameterException")
        patterns = {"target_prefixes": ["SpencerFrontendService."], "host_patterns": [r"api\.ecr-public\."]}
        seams.add("ministack.core.router:SERVICE_PATTERNS", "ecr-public", patterns)
        seams.add("ministack.app:SERVICE_HANDLERS", "ecr-public", public.handle)
        seams.add("ministack.core.iam_actions:SERVICE_TO_IAM_NAMESPACE", "ecr-public", "ecr-public")

    def _public_token(self, _: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        # STS issues the token: https://docs.aws.amazon.com/AmazonECR/latest/public/public-registry-auth.html
        service = {"sts:AWSServiceName": "ecr-public.amazonaws.com"}
        self._iam.caller_needs(headers, "sts:GetServiceBearerToken", "*", **service)
        token = base64.b64encode(f"AWS:{secrets.token_urlsafe(300)}".encode()).decode()
        return {"authorizationData": {"authorizationToken": token}}

    def takes_pull(self, registry: str) -> bool:
        """Count an anonymous pull; return whether the public registry allows it."""
        left = self.limits.get(registry, 0)
        self.limits[registry] = max(0, left - 1)
        return left == 0

    def _token(self, _: dict[str, Any]) -> Any:
        token = secrets.token_urlsafe(300)
        self._tokens[token] = caller.get()
        data = {"authorizationToken": base64.b64encode(f"AWS:{token}".encode()).decode()}
        data["proxyEndpoint"] = f"https://{ACCOUNT_ID}.dkr.ecr.{REGION}.amazonaws.com"
        return seams.use("ministack.core.responses:json_response")({"authorizationData": [data]})

    def refusal(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Return the status and message to refuse a request with; None to allow it."""
        found = _PATH.fullmatch(path)
        if found and found["repository"].startswith(MIRROR) and method in ("GET", "HEAD"):
            return None
        who = self._tokens.get(_password(headers.get("authorization", "")))
        if who is None:
            return 401, "no basic auth credentials"
        if not found:
            return None
        arn = f"arn:aws:ecr:{REGION}:{ACCOUNT_ID}:repository/{found['repository']}"
        try:
            self._iam.caller_needs(who, f"ecr:{_ACTIONS[found['kind'], method]}", arn)
        except Denied as error:
            return 403, str(error)
        if (found["kind"], method) == ("manifests", "PUT") and _is_taken(found["repository"], found["reference"]):
            return 400, f"The image tag '{found['reference']}' already exists in the '{found['repository']}' repository"
        return None


def _password(authorization: str) -> str:
    try:
        return base64.b64decode(authorization.partition(" ")[2]).decode().partition(":")[2]
    except ValueError:
        return ""


def _is_taken(name: str, tag: str) -> bool:
    """Return whether a tag exists and is immutable."""
    repository = seams.use("ministack.services.ecr:_repositories").get(name)
    if repository is None or not repository["imageTagMutability"].startswith("IMMUTABLE"):
        return False
    if any(fnmatch.fnmatchcase(tag, movable) for movable in repository.get("movableTags", [])):
        return False
    return any(tag in image["imageTags"] for image in seams.use("ministack.services.ecr:_images").get(name, []))


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
        self.password = _password(authorization)
        self._url = f"{url}/v2"
        self._headers = {"Authorization": authorization}

    @classmethod
    def of_role(cls, cloud: Cloud, role_arn: str = "", session: str = "local") -> "RegistryClient":
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
