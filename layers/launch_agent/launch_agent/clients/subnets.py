"""Amazon EC2: the VPCs of subnets and security groups."""

from collections.abc import Callable, Sequence
from typing import Any

from botocore.exceptions import ClientError

from launch_agent.clients.aws import aws_client, translated

_GONE = ("InvalidSubnetID.NotFound", "InvalidGroup.NotFound", "InvalidGroupId.Malformed", "InvalidSubnetID.Malformed")


class Subnets:
    """The subnets and security groups of this account and region."""

    def __init__(self) -> None:
        """Create the AWS client; nothing is sent yet."""
        self._ec2 = aws_client("ec2")

    def find(self, subnets: Sequence[str], groups: Sequence[str]) -> dict[str, str | None]:
        """Return the VPC of each subnet and security group; None for one that does not exist.

        Raises AwsThrottled and AwsRefused.
        """
        found = {each: self._vpc(self._ec2.describe_subnets, "Subnets", SubnetIds=[each]) for each in subnets}
        of_groups = {
            each: self._vpc(self._ec2.describe_security_groups, "SecurityGroups", GroupIds=[each]) for each in groups
        }
        return found | of_groups

    def _vpc(self, describe: Callable[..., Any], key: str, **asked: Any) -> str | None:
        try:
            with translated(*_GONE):
                (found,) = describe(**asked)[key]
        except ClientError:
            return None
        return str(found["VpcId"])
