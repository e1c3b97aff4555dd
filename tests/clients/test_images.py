"""Images of jobs: found by tag, claimed by one item at a time, noted by their builder."""

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from launch_agent.clients.build_bucket import BuildBucket
from launch_agent.clients.image_claims import ImageClaim, ImageClaims
from launch_agent.clients.image_repository import ImageRepository, registry_password
from launch_agent.errors import InvalidLaunchConfig
from launch_agent.image.recipe import ImageNote
from tests.golden.cases import plan

REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/launch"
TAG = "a" * 64


@pytest.fixture(autouse=True)
def account() -> Iterator[None]:
    """An account of its own for each test."""
    with mock_aws():
        boto3.client("dynamodb").create_table(
            TableName="runs",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        )
        boto3.client("s3").create_bucket(Bucket="builds")
        boto3.client("ecr").create_repository(repositoryName="launch")
        yield


def test_an_image_is_found_by_its_tag_and_addressed_by_its_digest() -> None:
    repository = ImageRepository(REPOSITORY)
    assert repository.find(TAG) is None
    manifest = '{"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"}'
    put = boto3.client("ecr").put_image(repositoryName="launch", imageManifest=manifest, imageTag=TAG)
    assert repository.find(TAG) == f"{REPOSITORY}@{put['image']['imageId']['imageDigest']}"


def test_a_repository_that_is_not_there_is_the_deployments_fault() -> None:
    with pytest.raises(InvalidLaunchConfig, match="ImageRepositoryName"):
        ImageRepository(REPOSITORY + "-2").find(TAG)


def test_one_item_has_the_claim_and_others_learn_whose_it_is() -> None:
    claims = ImageClaims("runs")
    assert claims.claim(TAG, "first") == ImageClaim(owner="first")
    assert claims.claim(TAG, "second") == ImageClaim(owner="first")
    assert claims.claim(TAG, "first") == ImageClaim(owner="first")
    assert claims.claim("b" * 64, "second") == ImageClaim(owner="second")


def test_a_released_claim_is_free_and_only_its_owner_releases_it() -> None:
    claims = ImageClaims("runs")
    claims.claim(TAG, "first")
    claims.release(TAG, "second")
    assert claims.claim(TAG, "second") == ImageClaim(owner="first")
    claims.release(TAG, "first")
    claims.release(TAG, "first")
    assert claims.claim(TAG, "second") == ImageClaim(owner="second")


def test_a_failed_build_is_told_until_another_item_takes_the_claim_over() -> None:
    claims = ImageClaims("runs")
    claims.claim(TAG, "first")
    claims.fail(TAG, "second", "not its claim")
    claims.fail(TAG, "first", "no such package")
    failed = ImageClaim(owner="first", failure="no such package")
    assert claims.claim(TAG, "second") == failed
    assert claims.claim(TAG, "second", after=failed) == ImageClaim(owner="second")
    assert claims.claim(TAG, "third", after=failed) == ImageClaim(owner="second")
    assert claims.claim(TAG, "first") == ImageClaim(owner="second")


def test_a_failed_build_that_is_tried_again_by_its_owner_has_not_failed() -> None:
    claims = ImageClaims("runs")
    claims.claim(TAG, "first")
    claims.fail(TAG, "first", "no such package")
    claims.claim(TAG, "first")
    assert claims.claim(TAG, "second") == ImageClaim(owner="first")


def test_a_build_plan_arrives_as_it_was_stored() -> None:
    build = plan("code-job").build
    assert build
    bucket = BuildBucket("builds")
    assert bucket.plan(bucket.store_plan(build)) == build


def test_a_note_is_read_by_the_images_tag() -> None:
    bucket = BuildBucket("builds")
    assert bucket.note(TAG) is None
    note = ImageNote(dockerfile="generated", entry_point=("python", "train.py"), warnings=("no wandb",))
    bucket.store_note(TAG, note)
    assert bucket.note(TAG) == note


def test_the_password_of_a_registry_is_what_its_token_holds() -> None:
    assert registry_password("123456789012.dkr.ecr.us-east-1.amazonaws.com") == "123456789012-auth-token"
