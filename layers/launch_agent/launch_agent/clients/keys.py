"""AWS KMS: keys."""

from botocore.exceptions import ClientError

from launch_agent.clients.aws import aws_client, translated
from launch_agent.operations.setup import Key


class Keys:
    """The KMS keys that the stack was deployed with."""

    def __init__(self) -> None:
        """Create the AWS client; nothing is sent yet."""
        self._kms = aws_client("kms")

    def find(self, arn: str) -> Key:
        """Return a key, given by its ARN. Raises AwsThrottled and AwsRefused."""
        try:
            with translated("NotFoundException"):
                return Key(arn, self._kms.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"])
        except ClientError:
            return Key(arn, "")
