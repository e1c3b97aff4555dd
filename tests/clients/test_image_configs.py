"""The entry point of an image, as ECR has it in the image's configuration."""

import json
from typing import Any

import pytest

from launch_agent.clients import aws
from launch_agent.clients.image_configs import ImageConfigs
from launch_agent.errors import AwsThrottled
from tests.answering import Answer, AnsweringServer, answering, aws_error

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/train"
DIGEST = f"sha256:{'1' * 64}"
MANIFEST = Answer(200, {"images": [{"imageManifest": json.dumps({"config": {"digest": DIGEST}})}], "failures": []})


def configured(entry_point: Any) -> Answer:
    return Answer(200, {"config": {"Entrypoint": entry_point}})


def entry_point(server: AnsweringServer, monkeypatch: pytest.MonkeyPatch, image: str = IMAGE) -> Any:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setattr(aws.CONFIG, "retries", {"total_max_attempts": 1})
    if len(server.answers) > 1:
        server.answers.insert(1, Answer(200, {"downloadUrl": f"{server.url}/blob", "layerDigest": DIGEST}))
    return ImageConfigs().entry_point(image)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (configured(["/entry.sh", "-v"]), ("/entry.sh", "-v")),
        (configured(None), ()),
        (configured("/entry.sh"), None),
        (Answer(200, {}), None),
        (Answer(200, b"<html>"), None),
        (Answer(403, b"<Error/>"), None),
    ],
)
def test_the_entry_point_of_an_image_is_in_its_configuration(
    answer: Answer, found: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(MANIFEST, answer) as server:
        assert entry_point(server, monkeypatch) == found
        assert [each.target for each in server.asked] == ["BatchGetImage", "GetDownloadUrlForLayer", ""]


@pytest.mark.parametrize(
    ("version", "identifier"),
    [("", {"imageTag": "latest"}), (":v1", {"imageTag": "v1"}), (f"@{DIGEST}", {"imageDigest": DIGEST})],
)
def test_the_image_is_asked_for_in_its_own_account(
    version: str, identifier: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(MANIFEST, configured([])) as server:
        assert entry_point(server, monkeypatch, IMAGE + version) == ()
        asked = server.asked[0].json
        assert (asked["registryId"], asked["repositoryName"]) == ("123456789012", "team/train")
        assert asked["imageIds"] == [identifier]


@pytest.mark.parametrize(
    "answer",
    [
        aws_error("AccessDeniedException"),
        aws_error("RepositoryNotFoundException"),
        Answer(200, {"images": [], "failures": [{"failureCode": "ImageNotFound"}]}),
        Answer(200, {"images": [{"imageManifest": json.dumps({"manifests": []})}]}),
    ],
)
def test_an_image_that_cannot_be_read_has_no_known_entry_point(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(answer) as server:
        assert entry_point(server, monkeypatch) is None


def test_an_image_of_another_registry_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(MANIFEST) as server:
        assert entry_point(server, monkeypatch, "registry.example.com/train:1") is None
        assert server.asked == []


@pytest.mark.parametrize("answers", [(Answer(503),), (MANIFEST, Answer(503)), (MANIFEST, Answer(0))])
def test_an_image_is_asked_for_again_when_ecr_does_not_answer(
    answers: tuple[Answer, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(*answers) as server, pytest.raises(AwsThrottled):
        entry_point(server, monkeypatch)
