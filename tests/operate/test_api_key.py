"""The secret with the W&B API key: it is created once, found again, and never overwritten by a deployment."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from operate.api_key import delete_secret, find_secret, secret_name, store_api_key

KEY = "k" * 40


@pytest.fixture
def secrets() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("secretsmanager")


def key_in(secrets: Any, arn: str) -> str:
    return str(json.loads(secrets.get_secret_value(SecretId=arn)["SecretString"])["api_key"])


def test_a_key_is_stored_in_a_secret_of_the_stacks_own(secrets: Any) -> None:
    assert find_secret(secrets, secret_name("team-b")) is None
    arn = store_api_key(secrets, "team-b", KEY)
    assert find_secret(secrets, secret_name("team-b")) == find_secret(secrets, arn) == arn
    assert key_in(secrets, arn) == KEY
    assert find_secret(secrets, secret_name("team-a")) is None


def test_another_key_can_be_stored(secrets: Any) -> None:
    arn = store_api_key(secrets, "team-b", KEY)
    assert store_api_key(secrets, "team-b", "other") == arn
    assert key_in(secrets, arn) == "other"


def test_a_deleted_secret_is_gone_and_its_name_is_free(secrets: Any) -> None:
    store_api_key(secrets, "team-b", KEY)
    delete_secret(secrets, "team-b")
    assert find_secret(secrets, secret_name("team-b")) is None
    store_api_key(secrets, "team-b", KEY)


def test_a_secret_that_waits_for_its_deletion_is_no_secret(secrets: Any) -> None:
    arn = store_api_key(secrets, "team-b", KEY)
    secrets.delete_secret(SecretId=arn)
    assert find_secret(secrets, arn) is None
