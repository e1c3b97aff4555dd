"""`builder.secrets` of a queue: only references to secrets that the stack lists, and never their values."""

import json
from typing import Any

import pytest

from launch_agent.errors import InvalidRunSpec
from launch_agent.image.recipe import ArtifactCode
from launch_agent.plan.launch_plan import LaunchPlan, plan_launch
from launch_agent.plan.source import Job
from launch_agent.run_queue.items import parse_run_spec
from launch_agent.run_queue.job_artifact import parse_job_artifact
from tests.golden.cases import DEPLOYMENT, item_of, load
from tests.make import agent

LISTED = "arn:aws:secretsmanager:us-east-1:123456789012:secret:team/pypi-AbC123"
SPEC: dict[str, Any] = load("code-job", "run_spec.json")
JOB = parse_job_artifact(SPEC["job"], load("code-job", "wandb-job.json"), artifact_id="j", digest="d")


def plan(secrets: Any, config: str = "queues: [sm]") -> LaunchPlan:
    spec = json.loads(json.dumps(SPEC))
    spec["resource_args"]["sagemaker"]["builder"] = {"secrets": secrets}
    known = agent(config)._replace(deployment=DEPLOYMENT.model_copy(update={"run_secret_arns": LISTED}))
    return plan_launch(parse_run_spec(spec), Job(JOB, ArtifactCode(artifact_id="a", digest="d")), item_of(spec), known)


@pytest.mark.parametrize(
    "value", ["${secret:team/pypi}", "${secret:team/pypi:key}", f"https://u:${{secret:{LISTED}:key}}@host/simple"]
)
def test_a_build_gets_the_names_of_secrets_and_their_references(value: str) -> None:
    build = plan({"UV_INDEX_TEAM_PASSWORD": value, "netrc": value}).build
    assert build
    assert build.secrets == {"UV_INDEX_TEAM_PASSWORD": value, "netrc": value}
    assert build.recipe.secrets == ("UV_INDEX_TEAM_PASSWORD", "netrc")


def test_a_new_name_builds_another_image_and_another_secret_does_not() -> None:
    builds = [plan(secrets).build for secrets in ({"A": "${secret:team/pypi}"}, {"A": "${secret:team/pypi:k}"}, {})]
    one, other, without = (build.tag for build in builds if build)
    assert one == other != without


@pytest.mark.parametrize(
    ("secrets", "words"),
    [
        (
            {"A": "s3cret"},
            "builder.secrets.A has a value that everyone can read who can read the queue. Store it in AWS",
        ),
        (
            {"A": "${secret:others}"},
            "builder.secrets.A names the secret others, and the stack's parameter RunSecretArns",
        ),
        ({"A": "${secret:team/pypi} ${secret:others}"}, "names the secret others"),
        ({"A B": "${secret:team/pypi}"}, "expected the name of an environment variable, or netrc"),
        ({"../x": "${secret:team/pypi}"}, "expected the name of an environment variable, or netrc"),
        ({"A,src=/etc/passwd": "${secret:team/pypi}"}, "expected the name of an environment variable, or netrc"),
        ({"A": ["s3cret"]}, "builder.secrets.A"),
        (["s3cret"], "builder.secrets"),
    ],
)
def test_what_is_no_reference_to_a_listed_secret_is_refused_without_its_value(secrets: Any, words: str) -> None:
    with pytest.raises(InvalidRunSpec, match=words) as raised:
        plan(secrets)
    assert "s3cret" not in str(raised.value)


def test_in_secure_mode_the_secrets_are_the_queues_own() -> None:
    with pytest.raises(InvalidRunSpec, match="builder is not allowed"):
        plan({"A": "${secret:team/pypi}"}, "{queues: [sm], secure_mode: true}")
