"""The registry behind ECR: checks each caller's permissions as ECR does.

ministack implements the protocol (https://distribution.github.io/distribution/spec/api/), without permissions.
"""

import base64
import fnmatch
import re
import secrets
from collections.abc import Mapping
from typing import Any

from local import ACCOUNT_ID, REGION
from local.aws import seams
from local.aws.iam import Denied, Iam, caller
from local.aws.json_service import JsonService, Operation
from local.aws.registry_client import MIRROR, password_in

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
        who = self._tokens.get(password_in(headers.get("authorization", "")))
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


def _is_taken(name: str, tag: str) -> bool:
    """Return whether a tag exists and is immutable."""
    repository = seams.use("ministack.services.ecr:_repositories").get(name)
    if repository is None or not repository["imageTagMutability"].startswith("IMMUTABLE"):
        return False
    if any(fnmatch.fnmatchcase(tag, movable) for movable in repository.get("movableTags", [])):
        return False
    return any(tag in image["imageTags"] for image in seams.use("ministack.services.ecr:_images").get(name, []))
