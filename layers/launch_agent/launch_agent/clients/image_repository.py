"""ECR: the images in the repository, and the passwords to pull and push."""

import base64
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import ClientError

from launch_agent.clients.aws import aws_client, error_code, translated
from launch_agent.errors import InvalidLaunchConfig

if TYPE_CHECKING:
    from mypy_boto3_ecr.type_defs import ImageIdentifierTypeDef

PUBLIC_REGISTRY = "public.ecr.aws"
_PUBLIC_REGION = "us-east-1"
"""The only region with this API: https://docs.aws.amazon.com/AmazonECR/latest/public/public-registry-auth.html"""


class PushedImage(NamedTuple):
    """An image in the repository."""

    digest: str
    media_type: str


class ImageRepository:
    """An ECR repository. Every method may raise AwsThrottled and AwsRefused."""

    def __init__(self, address: str) -> None:
        """`address` is `<account>.dkr.ecr.<region>.amazonaws.com/<name>`."""
        self._address = address
        self._ecr = aws_client("ecr")

    def by_tag(self, tag: str) -> PushedImage | None:
        """Return the image with a tag, or None. Raises InvalidLaunchConfig if the repository does not exist."""
        return self._find({"imageTag": tag})

    def has(self, digest: str) -> bool:
        """Whether the repository has an image. Raises InvalidLaunchConfig if the repository does not exist."""
        return self._find({"imageDigest": digest}) is not None

    def check(self) -> None:
        """Raise InvalidLaunchConfig if the repository does not exist."""
        self._find({"imageTag": "any"})

    def at(self, digest: str) -> str:
        """Return the address of the image with a digest."""
        return f"{self._address}@{digest}"

    def _find(self, image: "ImageIdentifierTypeDef") -> PushedImage | None:
        host, _, name = self._address.partition("/")
        try:
            with translated("ImageNotFoundException", "RepositoryNotFoundException"):
                found = self._ecr.describe_images(
                    registryId=host.partition(".")[0], repositoryName=name, imageIds=[image]
                )
        except ClientError as error:
            if error_code(error) == "ImageNotFoundException":
                return None
            raise InvalidLaunchConfig(
                f"the ECR repository {name}, named by the template parameter ImageRepositoryName, does not exist. "
                "Create it, or leave the parameter empty to let the stack create one."
            ) from None
        (details,) = found["imageDetails"]
        return PushedImage(details["imageDigest"], details.get("imageManifestMediaType", ""))


def registry_password(registry: str) -> str:
    """Return the password of the user AWS for the ECR registry with a host name. It is valid for twelve hours.

    Raises AwsThrottled and AwsRefused.
    """
    with translated():
        ecr = aws_client("ecr", region_name=registry.split(".")[3])
        (data,) = ecr.get_authorization_token()["authorizationData"]
    return _password(data["authorizationToken"])


def public_registry_password() -> str:
    """Return the password of the user AWS for Amazon's public registry. Raises AwsThrottled and AwsRefused."""
    with translated():
        ecr = aws_client("ecr-public", region_name=_PUBLIC_REGION)
        return _password(ecr.get_authorization_token()["authorizationData"]["authorizationToken"])


def _password(token: str) -> str:
    return base64.b64decode(token).decode().partition(":")[2]
