"""W&B's runs are changed without losing what a user logged."""

import json
from typing import Any

import pytest

from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.wandb_runs import WandbRuns
from launch_agent.errors import WandbRefused
from launch_agent.run_queue.items import RunPath
from launch_agent.safe_text import forget_secrets, keep_secret
from tests.answering import Answer, AnsweringServer, answering

PATH = RunPath("team", "train", "run1")
WRITTEN = Answer(200, {"data": {"upsertBucket": {"bucket": {"id": "x", "name": "run1"}}}})


def run(**contents: Any) -> Answer:
    return Answer(200, {"data": {"project": {"run": contents or None}}})


def runs(server: AnsweringServer) -> WandbRuns:
    return WandbRuns(GraphqlClient(server.url, lambda: "key"))


def written(server: AnsweringServer) -> dict[str, Any]:
    """Return the last UpsertBucketInput."""
    given: dict[str, Any] = server.asked[-1].json["variables"]["input"]
    return given


@pytest.mark.parametrize(
    "summary",
    [
        '{"loss": 0.1, "best": {"loss": 0.05}, "_wandb": {"runtime": 7}}',
        '{"big": 123456789012345678901234567890, "none": null, "nan": NaN, "text": "\\ud83d"}',
        "{}",
        None,
    ],
)
def test_what_a_user_logged_stays_in_the_summary(summary: str | None) -> None:
    with answering(run(summaryMetrics=summary, config="{}"), WRITTEN) as server:
        runs(server).add_to_summary(PATH, {"sagemaker/status": "Completed"})
        sent = written(server)
    assert sent.keys() == {"name", "entityName", "modelName", "summaryMetrics"}
    expected = (summary or "{}")[:-1] + ', "sagemaker/status": "Completed"}'
    assert sent["summaryMetrics"] == expected.replace("{, ", "{")


@pytest.mark.parametrize("summary", ["[]", "no JSON", "1", "[" * 100_000])
def test_a_summary_that_cannot_be_read_is_not_replaced(summary: str) -> None:
    with answering(run(summaryMetrics=summary), WRITTEN) as server, pytest.raises(WandbRefused, match="no JSON object"):
        runs(server).add_to_summary(PATH, {"sagemaker/status": "Completed"})
    assert len(server.asked) == 1


def test_a_new_run_gets_a_name_and_one_that_is_there_keeps_its_own() -> None:
    with answering(
        run(), WRITTEN, run(config='{"mine": {"value": 1}}', summaryMetrics='{"seen": 2}'), WRITTEN
    ) as server:
        for state in ("pending", "finished"):
            runs(server).write(PATH, state=state, name="first", config={"lr": 0.1}, summary={"rmse": 0.5})
            sent = written(server)
            assert sent["state"] == state
            assert ("displayName" in sent) is (state == "pending")
    assert json.loads(sent["config"]) == {"mine": {"value": 1}, "lr": {"value": 0.1}}
    assert json.loads(sent["summaryMetrics"]) == {"seen": 2, "rmse": 0.5}


def test_no_secret_comes_into_a_summary() -> None:
    keep_secret("hunter2-of-the-queue")
    with answering(run(summaryMetrics='{"mine": "hunter2-of-the-queue"}'), WRITTEN) as server:
        runs(server).add_to_summary(PATH, {"sagemaker/failure_reason": "AlgorithmError: hunter2-of-the-queue"})
        sent = json.loads(written(server)["summaryMetrics"])
    forget_secrets()
    assert sent == {"mine": "hunter2-of-the-queue", "sagemaker/failure_reason": "AlgorithmError: ***"}
