"""Models in S3 become reference artifacts of their runs, as the wandb client would log them."""

import json
from pathlib import Path
from typing import Any

import pytest

from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.model_artifacts import ModelArtifacts, model_artifact_name
from launch_agent.clients.wandb_runs import WandbRuns
from launch_agent.errors import WandbRefused
from launch_agent.run_queue.items import RunPath
from local.wandb import WandbServer
from tests.answering import Answer, answering

KEY = "k" * 40
PATH = RunPath("team", "train", "run1")
URI = "s3://bkt/out/abc/output/model.tar.gz"
RECORDED = json.loads((Path(__file__).parent.parent / "wandb/exchanges/artifact-reference.json").read_text())


def recorded(operation: str) -> dict[str, Any]:
    """Return the variables of the wandb client's operation in a recorded session that logged the same reference."""
    found: dict[str, Any] = next(each for each in RECORDED if each.get("operation") == operation)["variables"]
    return found


def test_a_model_is_an_output_of_its_run_and_logged_once() -> None:
    server = WandbServer(entity="team", api_key=KEY)
    with server.running() as url:
        graphql = GraphqlClient(url, lambda: KEY)
        WandbRuns(graphql).write(PATH, state="finished", name=None, config={}, summary={})
        for uri in (URI, URI, URI.replace("abc", "abd")):
            ModelArtifacts(graphql).log(PATH, uri, {"sagemaker/job_name": "abc"})
    first, second = server.state.projects["team", "train"].collections["run-run1-model"].versions
    assert (first.state, second.state) == ("COMMITTED", "COMMITTED")
    assert first.collection.type_name == "model"
    assert first.created_by is server.state.runs["team", "train", "run1"]
    assert first.contents == recorded_manifest()["contents"]
    assert first.digest == recorded("CreateArtifact")["input"]["digest"]
    assert (first.alias_names, second.alias_names) == ([], ["latest"])
    assert json.loads(first.metadata or "") == {"sagemaker/job_name": "abc"}


def recorded_manifest() -> dict[str, Any]:
    """Return the manifest that the wandb client uploaded in that session."""
    found: dict[str, Any] = next(each["content"] for each in RECORDED if each.get("method") == "PUT")
    return found


def test_the_requests_have_the_keys_of_the_wandb_clients() -> None:
    answers = [
        Answer(200, {"data": {"createArtifact": {"artifact": {"id": "a", "state": "PENDING"}}}}),
        Answer(200, {"data": {"createArtifactManifest": {"artifactManifest": {"file": {"uploadUrl": "/m"}}}}}),
        Answer(200, b""),
        Answer(200, {"data": {"commitArtifact": {"artifact": {"id": "a"}}}}),
    ]
    with answering(*answers) as server:
        ModelArtifacts(GraphqlClient(server.url, lambda: KEY)).log(PATH, URI, {})
        created, manifest, upload, committed = server.asked
    sent, theirs = created.json["variables"]["input"], recorded("CreateArtifact")["input"]
    assert {
        key: sent[key] for key in ("digest", "digestAlgorithm", "enableDigestDeduplication", "artifactTypeName")
    } == {key: theirs[key] for key in ("digest", "digestAlgorithm", "enableDigestDeduplication", "artifactTypeName")}
    assert sent.keys() <= theirs.keys()
    assert len(sent["clientID"]) == 128
    assert upload.json == recorded_manifest()
    assert manifest.json["variables"]["input"]["name"] == "wandb_manifest.json"
    assert committed.json["variables"]["input"] == {"artifactID": "a"}


def test_an_answer_that_is_no_artifact_is_a_refusal() -> None:
    with answering(Answer(200, {"data": {"createArtifact": {"artifact": {}}}})) as server, pytest.raises(WandbRefused):
        ModelArtifacts(GraphqlClient(server.url, lambda: KEY)).log(PATH, URI, {})


@pytest.mark.parametrize(
    ("run_id", "name"),
    [("limzn0a6", "run-limzn0a6-model"), ("a b@c", "run-a-b-c-model"), ("x" * 128, f"run-{'x' * 118}-model")],
)
def test_the_name_is_one_that_w_and_b_accepts(run_id: str, name: str) -> None:
    assert model_artifact_name(run_id) == name
    assert len(name) <= 128
