"""ECR: whether the repository has an image, and the password to push one."""

import base64

import boto3
from botocore.exceptions import ClientError

from launch_agent.clients.aws import CONFIG, error_code, translated
from launch_agent.errors import InvalidLaunchConfig


class ImageRepository:
    """An ECR repository. Every method may raise AwsThrottled."""

    def __init__(self, address: str) -> None:
        """Take its address, `<account>.dkr.ecr.<region>.amazonaws.com/<name>`."""
        self._address = address
        self._ecr = boto3.client("ecr", config=CONFIG)

    def find(self, tag: str) -> str | None:
        """Return the address, by digest, of the image with a tag; None when there is none.

        Raises InvalidLaunchConfig when there is no such repository.
        """
        host, _, name = self._address.partition("/")
        try:
            with translated():
                found = self._ecr.describe_images(
                    registryId=host.partition(".")[0], repositoryName=name, imageIds=[{"imageTag": tag}]
                )
        except ClientError as error:
            if error_code(error) == "ImageNotFoundException":
                return None
            if error_code(error) == "RepositoryNotFoundException":
                raise InvalidLaunchConfig(
                    f"there is no ECR repository {name}, which the template parameter ImageRepositoryName names. Make "
                    "it, or leave the parameter empty to have the stack make one."
                ) from None
            raise
        return f"{self._address}@{found['imageDetails'][0]['imageDigest']}"


def registry_password(registry: str) -> str:
    """Return the password of user AWS for an ECR registry by its host name, good for twelve hours.

    Raises AwsThrottled.
    """
    with translated():
        ecr = boto3.client("ecr", region_name=registry.split(".")[3], config=CONFIG)
        (data,) = ecr.get_authorization_token()["authorizationData"]
    return base64.b64decode(data["authorizationToken"]).decode().partition(":")[2]
