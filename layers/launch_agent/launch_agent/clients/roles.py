"""IAM: roles, and who may assume them."""

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from launch_agent.clients.aws import aws_client, translated
from launch_agent.operations.setup import Role


class Roles:
    """The roles of this account. Every method may raise AwsThrottled and AwsRefused."""

    def __init__(self) -> None:
        """Create the AWS client; nothing is sent yet."""
        self._iam = aws_client("iam")

    def find(self, arn: str) -> Role:
        """Return a role, given by its ARN. Conditions of its trust policy are not evaluated."""
        try:
            with translated("NoSuchEntity"):
                document: Any = self._iam.get_role(RoleName=arn.rpartition("/")[2])["Role"]["AssumeRolePolicyDocument"]
        except ClientError:
            return Role(arn, exists=False)
        return Role(arn, exists=True, trusts=frozenset(_trusted(document)))


def _trusted(document: Any) -> Iterator[str]:
    for statement in _listed(document["Statement"]):
        principal = statement.get("Principal")
        if statement["Effect"] == "Allow" and isinstance(principal, dict):
            yield from _listed(principal.get("Service", []))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
