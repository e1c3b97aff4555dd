"""The secret with the W&B API key. It is created here, not by CloudFormation, so that the stack never contains the key.

An upgrade of the stack cannot overwrite a key that was replaced by hand. The key is never in a parameter, a file or a
command line.
"""

import json
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


def secret_name(stack: str) -> str:
    """Return the name of the secret that `make deploy` creates for a stack."""
    return f"{stack}/wandb-api-key"


def find_secret(secrets: "SecretsManagerClient", secret_id: str) -> str | None:
    """Return the ARN of a secret, given by ARN or name; None if it does not exist or is being deleted.

    An ARN that the operator may not describe is returned unchanged.
    """
    try:
        found = secrets.describe_secret(SecretId=secret_id)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        if code == "AccessDeniedException" and secret_id.startswith("arn:"):
            return secret_id
        if code != "ResourceNotFoundException":
            raise
        return None
    return None if found.get("DeletedDate") else found["ARN"]


def store_api_key(secrets: "SecretsManagerClient", stack: str, key: str) -> str:
    """Store an API key in the stack's own secret; return the secret's ARN."""
    name, value = secret_name(stack), json.dumps({"api_key": key})
    try:
        return secrets.create_secret(
            Name=name, SecretString=value, Description=f"The W&B API key of the launch agent {stack}."
        )["ARN"]
    except secrets.exceptions.ResourceExistsException:
        return secrets.put_secret_value(SecretId=name, SecretString=value)["ARN"]


def delete_secret(secrets: "SecretsManagerClient", stack: str) -> None:
    """Delete a stack's secret without a recovery window, so that its name can be used again."""
    secrets.delete_secret(SecretId=secret_name(stack), ForceDeleteWithoutRecovery=True)
