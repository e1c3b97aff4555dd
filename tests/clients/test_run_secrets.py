"""The secrets that queues name for their containers."""

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from launch_agent.clients.secrets import RunSecrets
from launch_agent.errors import AwsRefused, InvalidRunSpec
from launch_agent.safe_text import forget_secrets, safe


@pytest.fixture(autouse=True)
def account() -> Iterator[None]:
    with mock_aws():
        yield
    forget_secrets()


def secret(value: str) -> str:
    return str(boto3.client("secretsmanager").create_secret(Name="db", SecretString=value)["ARN"])


def test_a_secret_is_read_whole_or_by_a_key_of_its_json_and_hidden_from_then_on() -> None:
    arn = secret('{"password": "hunter2-of-the-db", "port": 5432}')
    assert RunSecrets().value(arn, "") == '{"password": "hunter2-of-the-db", "port": 5432}'
    assert RunSecrets().value(arn, "password") == "hunter2-of-the-db"
    assert "hunter2" not in safe("it said hunter2-of-the-db")


@pytest.mark.parametrize(
    ("value", "key"), [("plain", "password"), ('{"a": 1}', "a"), ("[]", "a"), ('{"a": "b\\u0000"}', "a")]
)
def test_a_secret_without_text_under_a_key_is_the_queues_fault_and_not_shown(value: str, key: str) -> None:
    arn = secret(value)
    with pytest.raises(InvalidRunSpec, match=f"has no text under the key {key}") as raised:
        RunSecrets().value(arn, key)
    assert value not in str(raised.value)


def test_a_secret_that_is_not_there_is_refused_in_awss_words() -> None:
    with pytest.raises(AwsRefused, match="GetSecretValue"):
        RunSecrets().value("arn:aws:secretsmanager:us-east-1:123456789012:secret:none-AbC123", "")
