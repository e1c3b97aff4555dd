"""The credentials bucket: a folder is stored, replaced and deleted with everything in it."""

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from launch_agent.clients.credentials_bucket import CredentialsBucket
from launch_agent.clients.parallel import new_pool

OWN, OTHER = "a" * 32, "b" * 32
POOL = new_pool()


@pytest.fixture
def bucket() -> Iterator[CredentialsBucket]:
    """A bucket with the folder of another run."""
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="credentials")
        made = CredentialsBucket("credentials")
        made.store(OTHER, {"netrc": "other"}, POOL)
        yield made


def stored() -> dict[str, str]:
    s3 = boto3.client("s3")
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket="credentials").get("Contents", [])]
    return {key: s3.get_object(Bucket="credentials", Key=key)["Body"].read().decode() for key in keys}


def test_a_folder_is_stored_under_its_name_and_again_in_the_same_place(bucket: CredentialsBucket) -> None:
    bucket.store(OWN, {"netrc": "old", "environment": "A=1"}, POOL)
    bucket.store(OWN, {"netrc": "né", "environment": "A=1"}, POOL)
    assert stored() == {f"{OWN}/netrc": "né", f"{OWN}/environment": "A=1", f"{OTHER}/netrc": "other"}
    assert bucket.uri(OWN) == f"s3://credentials/{OWN}/"


def test_a_folder_is_deleted_with_all_of_its_files_and_no_others(bucket: CredentialsBucket) -> None:
    bucket.store(OWN, {"netrc": "n", "environment": "e", "of-a-later-version": "l"}, POOL)
    bucket.delete(OWN)
    bucket.delete(OWN)
    assert stored() == {f"{OTHER}/netrc": "other"}
