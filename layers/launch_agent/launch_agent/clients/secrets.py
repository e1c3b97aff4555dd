"""Secrets Manager: the W&B API key and other secrets."""

import json
import time

from launch_agent.clients.aws import aws_client, translated
from launch_agent.errors import AwsRefused, InvalidRunSpec, WandbKeyRejected
from launch_agent.model import shown
from launch_agent.safe_text import keep_secret

_FRESH_SECONDS = 300


class WandbApiKey:
    """The W&B API key in a secret. It is read when it is needed, at most every five minutes, as it may be renewed."""

    def __init__(self, secret_arn: str) -> None:
        """The secret's value is the key itself, or JSON with the key as `api_key` or `WANDB_API_KEY`."""
        self._secret_arn = secret_arn
        self._secrets = aws_client("secretsmanager")
        self._key, self._read_at = "", float("-inf")

    def __call__(self) -> str:
        """Return the key. Raises WandbKeyRejected if the secret has none or cannot be read, and AwsThrottled."""
        if time.monotonic() - self._read_at > _FRESH_SECONDS:
            try:
                with translated():
                    value = self._secrets.get_secret_value(SecretId=self._secret_arn)["SecretString"]
            except AwsRefused as error:
                raise WandbKeyRejected(f"the W&B API key in {self._secret_arn} cannot be read: {error}") from None
            self._key, self._read_at = _key_in(value), time.monotonic()
        if not self._key:
            raise WandbKeyRejected(f"the secret {self._secret_arn} has no W&B API key. Store one in it.")
        keep_secret(self._key)
        return self._key


def _key_in(value: str) -> str:
    try:
        parsed = json.loads(value)
    except ValueError:
        parsed = None
    if isinstance(parsed, dict):
        return str(parsed.get("api_key") or parsed.get("WANDB_API_KEY") or "")
    return value.strip()


class RunSecrets:
    """The secrets that queues name for their containers and builds."""

    def __init__(self) -> None:
        """Create the client; nothing is sent yet."""
        self._secrets = aws_client("secretsmanager")

    def value(self, arn: str, key: str) -> str:
        """Return a secret's value or, with `key`, that of a key of its JSON. It is hidden in all texts from now on.

        Raises AwsThrottled, AwsRefused, and InvalidRunSpec if there is no such key.
        """
        with translated():
            text = self._secrets.get_secret_value(SecretId=arn).get("SecretString", "")
        keep_secret(text)
        value = _value_of(text, key) if key else text
        if not isinstance(value, str) or "\0" in value:
            raise InvalidRunSpec([f"the secret {arn} has no text{f' under the key {shown(key)}' if key else ''}."])
        keep_secret(value)
        return value


def _value_of(text: str, key: str) -> object:
    try:
        return json.loads(text)[key]
    except (LookupError, TypeError, ValueError):
        return None


def json_secret(secret_arn: str) -> object:
    """Return the JSON value of a secret; None if it is not JSON. Raises AwsThrottled and AwsRefused."""
    with translated():
        value = aws_client("secretsmanager").get_secret_value(SecretId=secret_arn)["SecretString"]
    try:
        return json.loads(value)
    except ValueError:
        return None
