"""Jobs that come as code: built into an image once, pushed, run, and seen in W&B."""

import sys
from typing import Any

import pytest

from local.wandb.queues import RunQueueItem
from tests.e2e.conftest import ENTITY, QUEUE, Application, wait_for
from tests.wandb.client import Client

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
TRAIN = """
import sys, wandb
with wandb.init() as run:
    for step in range(3):
        run.log({"loss": 1 / (step + 1)})
print("trained by", sys.executable)
"""


@pytest.fixture(scope="session", autouse=True)
def container_tool(deployed_application: Application) -> str:
    """The tool that builds; a machine without one is no place for these tests."""
    tool: str = deployed_application.deployed.cloud.get("containers")["tool"]
    if tool == "none":
        pytest.skip("this machine has neither buildah, podman nor a Docker engine")
    return tool


def code_job(client: Client, name: str, files: dict[str, str], *options: str) -> str:
    """Make a code job with the real client; return its name."""
    folder = client.home / name
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    client.run(
        *("wandb", "job", "create", "code", name, "-e", ENTITY, "-p", "cli", "-n", name, "-r", PYTHON),
        *("-E", "python train.py", *options),
    )
    return f"{ENTITY}/cli/{name}:latest"


def builds(app: Application) -> list[dict[str, Any]]:
    """Return the builds of the project, oldest first."""
    codebuild = app.deployed.cloud.client("codebuild")
    project = app.deployed.outputs["BuildProjectName"]
    ids = codebuild.list_builds_for_project(projectName=project, sortOrder="ASCENDING")["ids"]
    return list(codebuild.batch_get_builds(ids=ids)["builds"]) if ids else []


def log_of(app: Application, build: dict[str, Any]) -> str:
    """Return the log of a build."""
    logs = app.deployed.cloud.client("logs")
    where = {"logGroupName": build["logs"]["groupName"], "logStreamName": build["logs"]["streamName"]}
    return "\n".join(event["message"] for event in logs.get_log_events(**where, startFromHead=True)["events"])


def image_of(app: Application, item: RunQueueItem) -> dict[str, Any]:
    """Return the image, in the registry, that an item's training job ran."""
    (job,) = app.training_jobs(item)
    repository, _, digest = job["AlgorithmSpecification"]["TrainingImage"].partition("/")[2].partition("@")
    ecr = app.deployed.cloud.client("ecr")
    (image,) = ecr.describe_images(repositoryName=repository, imageIds=[{"imageDigest": digest}])["imageDetails"]
    return dict(image)


def queued(app: Application, client: Client, job: str, *options: str) -> RunQueueItem:
    """Queue a run of a job with the real `wandb launch`; return its item."""
    before = set(app.server.state.items)
    client.run("wandb", "launch", "-q", QUEUE, "-e", ENTITY, "-p", "cli", "-j", job, *options)
    (item_id,) = set(app.server.state.items) - before
    return app.server.state.items[item_id]


def test_a_code_job_is_built_pushed_and_trained_and_the_second_run_builds_nothing(
    app: Application, client: Client
) -> None:
    job = code_job(client, "built", {"train.py": TRAIN, "requirements.txt": "wandb\n"})
    before = len(builds(app))
    item = queued(app, client, job)
    assert app.outcome(item, within=180)["verdict"] == "finished"
    (build,) = builds(app)[before:]
    assert build["buildStatus"] == "SUCCEEDED"
    assert "Dockerfile generated: the job names no Dockerfile" in log_of(app, build)
    run = app.run(item)
    assert run
    assert [row["loss"] for row in run.rows] == [1.0, 0.5, pytest.approx(1 / 3)]
    image = image_of(app, item)
    assert image["imageManifestMediaType"] == "application/vnd.docker.distribution.manifest.v2+json"

    again = queued(app, client, job)
    assert app.outcome(again, within=60)["verdict"] == "finished"
    assert len(builds(app)) == before + 1
    assert image_of(app, again) == image


def test_ten_items_of_one_code_job_are_one_build_and_ten_training_jobs(app: Application, client: Client) -> None:
    job = code_job(client, "ten", {"train.py": "print('trained')\n"})
    before = len(builds(app))
    offline = {"Environment": {"WANDB_MODE": "offline"}}
    items = [app.push(job=job, sagemaker=offline) for _ in range(10)]
    for item in items:
        assert app.outcome(item, within=240)["verdict"] == "finished"
    assert len(builds(app)) == before + 1
    assert len({image_of(app, item)["imageDigest"] for item in items}) == 1
    assert all(len(app.training_jobs(item)) == 1 for item in items)


def test_a_build_that_fails_says_where_and_why(app: Application, client: Client) -> None:
    job = code_job(client, "broken", {"train.py": "", "requirements.txt": "no-such-package-anywhere==1.2.3\n"})
    item = queued(app, client, job)
    assert "ImageBuildFailed" in app.ended(item, within=120)["cause"]
    assert item.error
    assert item.error["stage"] == "build"
    assert "in phase BUILD" in item.error["message"]
    log = app.error_log(item)
    assert "no-such-package-anywhere" in log
    assert "Build log:    https://" in log


def test_stopping_the_execution_stops_the_build(app: Application, client: Client) -> None:
    dockerfile = f"FROM public.ecr.aws/docker/library/python:{PYTHON}-slim-trixie\nRUN sleep 300\n"
    job = code_job(client, "slow", {"train.py": "", "Dockerfile.wandb": dockerfile})
    before = len(builds(app))
    item = queued(app, client, job)
    wait_for(lambda: [each for each in builds(app)[before:] if each["currentPhase"] == "BUILD"], within=60)
    execution = app.execution(item)
    assert execution
    app.deployed.cloud.client("stepfunctions").stop_execution(executionArn=execution["executionArn"])
    wait_for(lambda: [each for each in builds(app)[before:] if each["buildStatus"] == "STOPPED"], within=30)
    app.close_by_hand(item)
