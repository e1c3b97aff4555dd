"""The reasons for a build without an image."""

import json
from typing import Any

import pytest

from launch_agent.image.build_failure import Build, build_id_in, explain, explain_without_build

ID = "wandb-launch-BuildProject:0f4a9d3e-7f6e-4d2b-9a53-1c9d0a5e7b11"


def build(status: str, *phases: tuple[str, str, str]) -> Build:
    described: dict[str, Any] = {
        "id": ID,
        "buildStatus": status,
        "phases": [
            {"phaseType": name, "phaseStatus": ended, "contexts": [{"statusCode": "X", "message": message}]}
            for name, ended, message in phases
        ],
        "logs": {"groupName": "/aws/codebuild/launch", "streamName": "s", "deepLink": "https://console"},
    }
    return Build.model_validate(described)


def test_the_builders_own_words_are_the_reason() -> None:
    failed = build("FAILED", ("INSTALL", "SUCCEEDED", ""), ("BUILD", "FAILED", "exit status 1"))
    log = ["#7 0.1 launch-agent: error: not this", "launch-agent: error: UnsupportedJobSource: no Dockerfile", "bye"]
    reason = explain(failed, log)
    assert reason.startswith("The image build failed in phase BUILD: UnsupportedJobSource: no Dockerfile")
    assert "error.log" in reason


def test_without_them_it_is_what_codebuild_says_of_the_phase() -> None:
    failed = build("FAILED", ("INSTALL", "FAILED", "Error while executing command: curl. Reason: exit status 6"))
    assert "in phase INSTALL: Error while executing command: curl. Reason: exit status 6" in explain(failed, [])


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("STOPPED", "Someone stopped"),
        ("TIMED_OUT", "took longer than a build may take"),
        ("FAULT", "CodeBuild itself failed"),
        ("FAILED", "gives no reason"),
        ("A_NEW_ONE", "gives no reason"),
    ],
)
def test_each_end_of_a_build_is_explained(status: str, words: str) -> None:
    assert words in explain(build(status), [])


def test_the_build_is_known_by_the_cause_even_where_that_is_cut() -> None:
    cause = json.dumps({"Build": {"Arn": "arn:...", "Id": ID, "BuildStatus": "FAILED", "Phases": ["x" * 100]}})
    assert build_id_in(cause) == ID
    assert build_id_in(cause[:150]) == ID
    assert build_id_in("no such project") is None


def test_a_build_that_never_began_is_explained() -> None:
    quota = explain_without_build("CodeBuild.AccountLimitExceededException", "Cannot have more than 0 builds in queue.")
    assert "Service Quotas" in quota
    assert "CodeBuild.InvalidInputException: no" in explain_without_build("CodeBuild.InvalidInputException", "no")
