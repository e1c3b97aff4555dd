"""ECR: the configuration of images, also of other accounts."""

import json
from typing import TYPE_CHECKING, Any

import urllib3

from launch_agent.clients.aws import aws_client, translated
from launch_agent.clients.http import Http
from launch_agent.deployment import EcrAddress, ecr_address
from launch_agent.errors import AwsRefused, AwsThrottled

if TYPE_CHECKING:
    from mypy_boto3_ecr.type_defs import ImageIdentifierTypeDef

_MANIFESTS = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
]
_LARGEST = 1 << 20


class ImageConfigs:
    """The configuration of images in this region."""

    def __init__(self) -> None:
        """Create the clients; nothing is sent yet."""
        self._ecr = aws_client("ecr")
        self._http = Http(timeout=urllib3.Timeout(5), retries=urllib3.Retry(2, redirect=3))

    def entry_point(self, image: str) -> tuple[str, ...] | None:
        """Return the entry point in an image's configuration; None if the image is not there, or may not be read.

        Raises AwsThrottled.
        """
        address = ecr_address(image)
        if address is None or not address.repository:
            return None
        try:
            config = self._config(address)
        except (AwsRefused, LookupError, TypeError, ValueError):
            return None
        found = config.get("Entrypoint") or []
        is_known = isinstance(found, list) and all(isinstance(word, str) for word in found)
        return tuple(found) if is_known else None

    def _config(self, address: EcrAddress) -> dict[str, Any]:
        """Return the part `config` of a configuration. Raises LookupError, TypeError or ValueError for another form."""
        where = {"registryId": address.account, "repositoryName": address.repository}
        with translated():
            images = [_identifier(address)]
            found = self._ecr.batch_get_image(**where, imageIds=images, acceptedMediaTypes=_MANIFESTS)
            manifest = json.loads(found["images"][0]["imageManifest"])
            layer = manifest["config"]["digest"]
            url = self._ecr.get_download_url_for_layer(**where, layerDigest=layer)["downloadUrl"]
        try:
            answer = self._http.request("GET", url, preload_content=False)
            content = answer.read(_LARGEST)
        except urllib3.exceptions.HTTPError as error:
            raise AwsThrottled(f"ECR did not send the configuration of an image: {type(error).__name__}") from None
        if answer.status >= 500 or answer.status == 429:
            raise AwsThrottled(f"ECR answered {answer.status} for the configuration of an image")
        return dict(json.loads(content)["config"])


def _identifier(address: EcrAddress) -> "ImageIdentifierTypeDef":
    if address.version.startswith("@"):
        return {"imageDigest": address.version[1:]}
    return {"imageTag": address.version[1:] or "latest"}
