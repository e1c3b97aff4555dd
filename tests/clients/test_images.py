"""Images of jobs: found by tag, claimed by one item at a time, recorded by their builder."""

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from launch_agent.clients.build_bucket import BuildBucket
from launch_agent.clients.image_claims import ImageClaim, ImageClaims
from launch_agent.clients.image_repository import ImageRepository, PushedImage, registry_password
from launch_agent.errors import ImageBuildFailed, InvalidLaunchConfig
from launch_agent.image.recipe import BuildPlan
from tests.golden.cases import plan
from tests.make import REPOSITORY, image_note

TAG = "a" * 64
NOTE = image_note(warnings=("no wandb",))


@pytest.fixture(autouse=True)
def account() -> Iterator[None]:
    """A new account for each test."""
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


def put_image(tag: str) -> str:
    manifest = '{"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"}'
    put = boto3.client("ecr").put_image(repositoryName="launch", imageManifest=manifest, imageTag=tag)
    return str(put["image"]["imageId"]["imageDigest"])


def test_an_image_is_found_by_its_tag_and_looked_for_by_its_digest() -> None:
    repository = ImageRepository(REPOSITORY)
    assert repository.by_tag(TAG) is None
    digest = put_image(TAG)
    assert repository.by_tag(TAG) == PushedImage(digest, "application/vnd.docker.distribution.manifest.v2+json")
    assert repository.has(digest)
    assert not repository.has(f"sha256:{'0' * 64}")
    assert repository.at(digest) == f"{REPOSITORY}@{digest}"


def test_a_repository_that_is_not_there_is_the_deployments_fault() -> None:
    with pytest.raises(InvalidLaunchConfig, match="ImageRepositoryName"):
        ImageRepository(REPOSITORY + "-2").by_tag(TAG)


def test_one_item_has_the_claim_and_others_learn_whose_it_is() -> None:
    claims = ImageClaims("runs")
    first = claims.claim(TAG, "first")
    assert first == ImageClaim(owner="first", token=token_of(first))
    assert claims.claim(TAG, "second") == first
    other = claims.claim("b" * 64, "second")
    assert owner(other) == "second"
    assert token_of(first) != token_of(other)


def test_a_function_that_runs_twice_at_a_time_claims_once() -> None:
    """The build reports with the claim's token, so either function's answer works for the state machine."""
    claims = ImageClaims("runs")
    first = claims.claim(TAG, "first")
    assert claims.claim(TAG, "first") == first
    claims.fail(TAG, "first", "no such package")
    failed = claims.find(TAG)
    again = claims.claim(TAG, "first", after=failed)
    assert again == ImageClaim(owner="first", token=token_of(again))
    assert claims.claim(TAG, "first", after=failed) == again != first


def test_a_released_claim_is_free_and_only_its_owner_releases_it() -> None:
    claims = ImageClaims("runs")
    first = claims.claim(TAG, "first")
    claims.release(TAG, "second")
    assert claims.claim(TAG, "second") == first
    claims.release(TAG, "first")
    claims.release(TAG, "first")
    assert owner(claims.claim(TAG, "second")) == "second"


def test_a_failed_build_is_reported_until_another_item_takes_over_the_claim() -> None:
    claims = ImageClaims("runs")
    claims.claim(TAG, "first")
    claims.fail(TAG, "second", "not its claim")
    claims.fail(TAG, "first", "no such package")
    failed = claims.claim(TAG, "second")
    assert failed == ImageClaim(owner="first", token=token_of(failed), failure="no such package")
    second = claims.claim(TAG, "second", after=failed)
    assert second == ImageClaim(owner="second", token=token_of(second))
    assert claims.claim(TAG, "third", after=failed) == second
    assert claims.claim(TAG, "first") == second


def test_an_image_is_known_by_what_the_build_of_its_claims_owner_reported() -> None:
    claims = ImageClaims("runs")
    assert claims.find(TAG) is None
    token = token_of(claims.claim(TAG, "first"))
    claims.built(TAG, "first", token, NOTE)
    claims.built(TAG, "first", token, NOTE)
    built = ImageClaim(owner="first", token=token, image=NOTE)
    assert claims.find(TAG) == claims.claim(TAG, "second") == built
    claims.built(TAG, "first", token, NOTE.model_copy(update={"digest": f"sha256:{'b' * 64}"}))
    claims.built(TAG, "second", "other", NOTE.model_copy(update={"digest": f"sha256:{'c' * 64}"}))
    assert claims.find(TAG) == built


def test_the_end_of_the_run_that_built_it_leaves_an_image_known() -> None:
    claims = ImageClaims("runs")
    token = token_of(claims.claim(TAG, "first"))
    claims.built(TAG, "first", token, NOTE)
    claims.release(TAG, "first")
    claims.fail(TAG, "first", "the training job did not start")
    assert claims.claim(TAG, "first") == ImageClaim(owner="first", token=token, image=NOTE)


@pytest.mark.parametrize("by", ["this version", "a version without tokens"])
def test_a_missing_image_is_built_by_the_first_item_that_notices(by: str) -> None:
    claims = ImageClaims("runs")
    token = token_of(claims.claim(TAG, "first")) if by == "this version" else None
    claims.release(TAG, "first")
    claims.built(TAG, "first", token, NOTE)
    known = claims.find(TAG)
    assert known == ImageClaim(owner="first", token=token, image=NOTE)
    second = claims.claim(TAG, "second", after=known)
    assert owner(second) == "second"
    assert claims.claim(TAG, "third", after=known) == second
    claims.built(TAG, "first", token, NOTE)
    assert claims.find(TAG) == second


def test_an_image_is_known_where_the_claim_has_been_forgotten_while_it_was_built() -> None:
    claims = ImageClaims("runs")
    claims.built(TAG, "first", "token", NOTE)
    assert claims.find(TAG) == ImageClaim(owner="first", token="token", image=NOTE)


def owner(claim: ImageClaim | None) -> str | None:
    return claim.owner if claim else None


def token_of(claim: ImageClaim | None) -> str:
    assert claim
    assert claim.token
    return claim.token


def ordered(token: str) -> BuildPlan:
    build = plan("code-job").build
    assert build
    return build.model_copy(update={"token": token})


def test_a_build_plan_arrives_as_it_was_stored() -> None:
    bucket = BuildBucket("builds")
    assert bucket.plan(bucket.store_plan(ordered("1"))) == ordered("1")


def test_a_note_is_read_by_the_plan_it_was_written_for() -> None:
    bucket = BuildBucket("builds")
    assert bucket.note(ordered("1")) is None
    bucket.store_note(ordered("1"), NOTE)
    assert bucket.note(ordered("1")) == NOTE
    assert bucket.note(ordered("2")) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"digest": "sha256:1", "dockerfile": "", "entry_point": []}',
        NOTE.model_dump_json().replace("no wandb", "w" * 5_000).encode(),
    ],
)
def test_what_is_no_note_fails_the_build_in_words(body: bytes) -> None:
    bucket = BuildBucket("builds")
    key = bucket.store_plan(ordered("1")).replace("plans/", "notes/")
    boto3.client("s3").put_object(Bucket="builds", Key=key, Body=body)
    with pytest.raises(ImageBuildFailed, match="left a note that cannot be read"):
        bucket.note(ordered("1"))


def test_a_note_by_tag_has_the_digest_that_the_repository_knows() -> None:
    bucket, text = BuildBucket("builds"), NOTE.model_dump_json(exclude={"digest"})
    assert bucket.note_by_tag(TAG, digest=NOTE.digest) is None
    boto3.client("s3").put_object(Bucket="builds", Key=f"images/{TAG}.json", Body=text.encode())
    assert bucket.note_by_tag(TAG, digest=NOTE.digest) == NOTE
    boto3.client("s3").put_object(Bucket="builds", Key=f"images/{TAG}.json", Body=b"[]")
    with pytest.raises(ImageBuildFailed, match="left a note that cannot be read"):
        bucket.note_by_tag(TAG, digest=NOTE.digest)


def test_a_build_that_was_ordered_without_a_token_leaves_its_note_by_its_tag() -> None:
    bucket, build = BuildBucket("builds"), ordered("1").model_copy(update={"token": None})
    bucket.store_note(build, NOTE)
    assert bucket.note(build) == NOTE
    assert bucket.note(build.model_copy(update={"tag": TAG})) is None
    with pytest.raises(ValueError, match="token"):
        bucket.store_plan(build)


def test_the_password_of_a_registry_is_what_its_token_holds() -> None:
    assert registry_password("123456789012.dkr.ecr.us-east-1.amazonaws.com") == "123456789012-auth-token"
