"""How the artifacts client reads W&B's answers."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from launch_agent.clients.artifacts import Artifacts
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.errors import JobArtifactNotFound, UnsupportedJobSource, WandbUnavailable
from launch_agent.image.recipe import ArtifactCode
from launch_agent.run_queue.job_artifact import JobArtifact, JobSource
from tests.answering import Answer, AnsweringServer, answering

EXCHANGES = Path(__file__).parent.parent / "wandb/exchanges"
TEXT = b"print('hello')\n"


def artifacts(server: AnsweringServer) -> Artifacts:
    return Artifacts(GraphqlClient(server.url, lambda: "key"))


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def digest_of(contents: dict[str, Any]) -> str:
    """Compute an artifact's digest like the wandb client."""
    listed = "".join(f"{path}:{contents[path]['digest']}\n" for path in sorted(contents))
    return hashlib.md5(f"wandb-artifact-manifest-v1\n{listed}".encode(), usedforsecurity=False).hexdigest()


def of_code(contents: dict[str, Any], *names: str) -> list[Answer]:
    """Return W&B's answers to requests for the files of an artifact."""
    manifest = {"file": {"directUrl": "/manifest"}}
    nodes = [{"node": {"name": name, "directUrl": f"/storage/{name}"}} for name in names]
    page = {"pageInfo": {"endCursor": None, "hasNextPage": False}, "edges": nodes}
    return [
        Answer(200, {"data": {"artifact": {"id": "a", "currentManifest": manifest}}}),
        Answer(200, {"version": 1, "contents": contents}),
        Answer(200, {"data": {"artifact": {"files": page}}}),
    ]


def test_files_are_downloaded_into_their_folders_and_checked(tmp_path: Path) -> None:
    contents = {"src/train.py": {"digest": md5(TEXT)}}
    with answering(*of_code(contents, "src/train.py"), Answer(200, TEXT)) as server:
        assert artifacts(server).download("a", tmp_path, digest=digest_of(contents)) == ["src/train.py"]
    assert (tmp_path / "src/train.py").read_bytes() == TEXT
    assert "Authorization" not in server.asked[-1].headers


def test_a_file_that_arrives_otherwise_is_not_used(tmp_path: Path) -> None:
    contents = {"train.py": {"digest": md5(TEXT)}}
    with (
        answering(*of_code(contents, "train.py"), Answer(200, b"print('h4ck')\n")) as server,
        pytest.raises(JobArtifactNotFound, match=r"the MD5 of train\.py is wrong"),
    ):
        artifacts(server).download("a", tmp_path, digest=digest_of(contents))


def test_an_artifact_with_the_digest_of_another_is_not_downloaded(tmp_path: Path) -> None:
    contents, others = {"train.py": {"digest": md5(TEXT)}}, {"train.py": {"digest": md5(b"another")}}
    with (
        answering(*of_code(contents, "train.py"), Answer(200, TEXT)) as server,
        pytest.raises(JobArtifactNotFound, match="the digest of another"),
    ):
        artifacts(server).download("a", tmp_path, digest=digest_of(others))
    assert list(tmp_path.iterdir()) == []


def recorded(name: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the digests that the wandb client sent in a recorded session, each with its list of uploaded files."""
    sent = [each for each in json.loads((EXCHANGES / f"{name}.json").read_text()) if isinstance(each, dict)]
    inputs = [
        each["variables"]["input"]
        for each in sent
        if each.get("operation") == "CreateArtifact" and "input" in each["variables"]
    ]
    manifests = [
        each["content"]["contents"]
        for each in sent
        if "/storage/manifest/" in each.get("path", "") and "content" in each
    ]
    return list(zip([each["digest"] for each in inputs], manifests, strict=True))


@pytest.mark.parametrize(
    "session",
    ["job-create-code", "job-create-code-base-image", "job-create-git", "run-creates-code-job", "run-creates-git-job"],
)
def test_the_digest_of_jobs_and_code_is_the_one_that_the_wandb_client_computes(session: str, tmp_path: Path) -> None:
    artifacts_sent = recorded(session)
    assert artifacts_sent
    for digest, contents in artifacts_sent:
        assert digest == digest_of(contents)
        with answering(*of_code(contents)) as server:
            assert artifacts(server).download("a", tmp_path, digest=digest) == []


@pytest.mark.parametrize(
    "manifest",
    [b"", b"[]", b"{", b'{"contents": []}', b'{"contents": {"a": null}}', b'{"contents": {"a": {}}}', b"[" * 100_000],
)
def test_a_list_of_files_that_is_none_is_said_so(tmp_path: Path, manifest: bytes) -> None:
    first, _, _ = of_code({})
    with (
        answering(first, Answer(200, manifest)) as server,
        pytest.raises(JobArtifactNotFound, match="the manifest of artifact a cannot be read"),
    ):
        artifacts(server).download("a", tmp_path, digest="d")


def test_a_file_in_the_way_of_another_is_said_so(tmp_path: Path) -> None:
    contents = {"a": {"digest": md5(TEXT)}, "a/b": {"digest": md5(TEXT)}}
    with (
        answering(*of_code(contents, "a", "a/b"), Answer(200, TEXT), Answer(200, TEXT)) as server,
        pytest.raises(UnsupportedJobSource, match="cannot be written"),
    ):
        artifacts(server).download("a", tmp_path, digest=digest_of(contents))


@pytest.mark.parametrize(
    ("path", "entry", "words"),
    [
        ("data.csv", {"digest": "x", "ref": "s3://bucket/data.csv"}, r"reference to s3://bucket/data\.csv"),
        ("../evil", {"digest": "x"}, "leads out of the folder of the code"),
        ("/etc/passwd", {"digest": "x"}, "leads out of the folder of the code"),
        ("a\0b", {"digest": "x"}, "leads out of the folder of the code"),
        ("data.csv", {"digest": "x", "extra": {"alg": "XXH128"}}, "checksum of the kind XXH128"),
    ],
)
def test_what_is_no_file_within_the_code_is_refused(
    tmp_path: Path, path: str, entry: dict[str, Any], words: str
) -> None:
    with answering(*of_code({path: entry}, path)) as server, pytest.raises(UnsupportedJobSource, match=words):
        artifacts(server).download("a", tmp_path, digest=digest_of({path: entry}))
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_w_and_b_does_not_answer_can_be_tried_again(tmp_path: Path) -> None:
    contents = {"train.py": {"digest": md5(TEXT)}}
    answers = of_code(contents, "train.py")
    with answering(*answers, Answer(503)) as server, pytest.raises(WandbUnavailable):
        artifacts(server).download("a", tmp_path, digest=digest_of(contents))


def code_of(server: AnsweringServer, reference: str) -> ArtifactCode:
    job = JobArtifact(artifact_id="j", digest="d", source_type="artifact", source=JobSource(artifact=reference))
    return artifacts(server).code(job, "team/jobs/job:v1", entity="team", project="jobs")


def test_the_code_of_a_job_is_found_by_id_or_by_name() -> None:
    found = {"id": "a", "digest": "c1", "state": "COMMITTED"}
    with answering(Answer(200, {"data": {"artifact": found}})) as server:
        assert code_of(server, "wandb-artifact://_id/QXJ0aWZhY3Q6MTc=") == ArtifactCode(artifact_id="a", digest="c1")
    assert server.asked[0].json["variables"] == {"id": "QXJ0aWZhY3Q6MTc="}
    membership = {"artifact": found, "files": {"edges": []}}
    by_name = {"project": {"artifactCollection": {"artifactMembership": membership}}}
    with answering(Answer(200, {"data": by_name})) as server:
        assert code_of(server, "wandb-artifact://team/jobs/code:v2") == ArtifactCode(artifact_id="a", digest="c1")
    assert json.loads(server.asked[0].body)["variables"]["collection"] == "code"


@pytest.mark.parametrize("artifact", [None, {"id": "a", "digest": "c1", "state": "DELETED"}])
def test_code_that_was_deleted_is_said_so(artifact: Any) -> None:
    with (
        answering(Answer(200, {"data": {"artifact": artifact}})) as server,
        pytest.raises(JobArtifactNotFound, match="was deleted, or the API key cannot read it"),
    ):
        code_of(server, "wandb-artifact://_id/x")
