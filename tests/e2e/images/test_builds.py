"""Jobs made from code: built into an image once, pushed, run, and shown in W&B."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from local.aws.registry_client import RegistryClient
from local.demo.git_server import make_repository
from local.dump import dump
from local.stack import STACK_NAME, deploy_built
from local.wandb.queues import RunQueueItem
from tests.build.package_index import package_index
from tests.e2e.conftest import ENTITY, PASSWORD, QUEUE, Application, wait_for
from tests.e2e.secrets import places
from tests.wandb.client import Client

pytestmark = pytest.mark.images

OFFLINE = {"Environment": {"WANDB_MODE": "offline"}}
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
TRAIN = """
import sys, wandb
with wandb.init() as run:
    for step in range(3):
        run.log({"loss": 1 / (step + 1)})
print("trained by", sys.executable)
"""


def code_job(client: Client, name: str, files: dict[str, str], *options: str) -> str:
    """Create a code job with the real client; return its name."""
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
    """Return the registry's description of the image that an item's training job ran."""
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
    assert "Failed to download partial job info" not in app.training_log(item)
    run = app.run(item)
    assert run
    assert [row["loss"] for row in run.rows] == [1.0, 0.5, pytest.approx(1 / 3)]
    image = image_of(app, item)
    assert image["imageManifestMediaType"] == "application/vnd.docker.distribution.manifest.v2+json"

    again = queued(app, client, job)
    assert app.outcome(again, within=60)["verdict"] == "finished"
    assert len(builds(app)) == before + 1
    assert image_of(app, again) == image


def test_a_job_from_git_is_built_of_its_commit(app: Application, client: Client) -> None:
    files = {"src/train.py": "import sys\nprint('trained', sys.argv[1])\n", "other.py": ""}
    commit = make_repository(files, app.repositories / "job.git")
    client.run(
        *("wandb", "job", "create", "git", f"{app.git.url}/job.git", "-g", "main", "-e", ENTITY, "-p", "cli"),
        *("-n", "from-git", "-r", PYTHON, "-E", "python src/train.py"),
        GIT_SSL_CAINFO=str(app.git.certificate),
    )
    before = len(builds(app))
    options = {"overrides": {"args": ["well"]}, "resource_args": {"sagemaker": OFFLINE}}
    item = queued(app, client, f"{ENTITY}/cli/from-git:latest", "-c", json.dumps(options))
    assert app.outcome(item, within=120)["verdict"] == "finished"
    (build,) = builds(app)[before:]
    assert f"fetched commit {commit}" in log_of(app, build)
    assert "trained well" in app.training_log(item)


def test_a_job_with_a_base_image_is_that_image_with_the_code(app: Application, client: Client) -> None:
    base = f"public.ecr.aws/docker/library/python:{PYTHON}-slim-trixie"
    job = code_job(client, "based", {"train.py": "print('trained on a base')"}, "-B", base)
    before = len(builds(app))
    item = app.push(job=job, sagemaker=OFFLINE)
    assert app.outcome(item, within=120)["verdict"] == "finished"
    (build,) = builds(app)[before:]
    assert f"FROM {base}" in log_of(app, build)
    assert "trained on a base" in app.training_log(item)

    # The next job's build takes the layers of this one, up to its own code.
    changed = code_job(client, "based-too", {"train.py": "print('trained on the same base')"}, "-B", base)
    again = app.push(job=changed, sagemaker=OFFLINE)
    assert app.outcome(again, within=120)["verdict"] == "finished"
    (build,) = builds(app)[before + 1 :]
    assert any(words in log_of(app, build) for words in ("Using cache", "CACHED"))
    assert "trained on the same base" in app.training_log(again)


def test_ten_items_of_one_code_job_are_one_build_and_ten_training_jobs(app: Application, client: Client) -> None:
    job = code_job(client, "ten", {"train.py": "print('trained')\n"})
    before = len(builds(app))
    items = [app.push(job=job, sagemaker=OFFLINE) for _ in range(10)]
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
    app.stop_execution(item)
    wait_for(lambda: [each for each in builds(app)[before:] if each["buildStatus"] == "STOPPED"], within=30)
    assert app.closed(item)["verdict"] == "stopped"


def layer_versions(app: Application) -> set[str]:
    """Return the ARNs of all versions of the package's layer."""
    layer = app.deployed.cloud.client("lambda")
    versions = layer.list_layer_versions(LayerName=f"{STACK_NAME}-agent")["LayerVersions"]
    return {each["LayerVersionArn"] for each in versions}


def test_a_deployment_while_a_build_is_queued_does_not_fail_it(app: Application, client: Client) -> None:
    cloud, before = app.deployed.cloud, len(builds(app))
    job = code_job(client, "queued", {"train.py": "print('trained')\n"})
    versions = layer_versions(app)
    cloud.hold_builds(True)
    try:
        item = app.push(job=job, sagemaker=OFFLINE)
        wait_for(lambda: [each for each in builds(app)[before:] if each["currentPhase"] == "QUEUED"], within=60)
        (cloud.folder / "build/LaunchAgentLayer/python/changed.txt").write_text("another version of the package")
        deploy_built(cloud)
    finally:
        cloud.hold_builds(False)
    assert app.outcome(item, within=180)["verdict"] == "finished"
    (build,) = builds(app)[before:]
    variables = {each["name"]: each["value"] for each in build["environment"]["environmentVariables"]}
    # The version that planned it also built it; the stack now uses another version.
    assert variables["LAUNCH_AGENT_LAYER"] in versions
    assert layer_versions(app) > versions


def test_a_build_signs_in_to_a_private_index_and_its_image_and_log_do_not_have_the_password(
    app: Application, client: Client, tmp_path: Path
) -> None:
    shown = "import importlib.metadata; print('six', importlib.metadata.version('six'))"
    with package_index({"six": {"1.16.0": ()}}, sign_in=f"reader:{PASSWORD}") as index:
        requirements = f"--index-url {index.url}/simple\nsix==1.16.0\n"
        job = code_job(client, "private", {"train.py": shown, "requirements.txt": requirements})
        secrets = {"netrc": "machine 127.0.0.1 login reader password ${secret:team/db:password}"}
        block = {**OFFLINE, "launch_agent": {"calls_wandb_init": False}, "builder": {"secrets": secrets}}
        before = len(builds(app))
        item = app.push(job=job, sagemaker=block)
        outcome = app.outcome(item, within=180)
    (build,) = builds(app)[before:]
    log = log_of(app, build)
    assert outcome["verdict"] == "finished", log
    (data,) = app.deployed.cloud.client("ecr").get_authorization_token()["authorizationData"]
    registry = RegistryClient(app.deployed.cloud.url, f"Basic {data['authorizationToken']}")
    (job_shown,) = app.training_jobs(item)
    repository, _, digest = job_shown["AlgorithmSpecification"]["TrainingImage"].partition("/")[2].partition("@")
    image = registry.image(repository, digest)
    assert image
    assert image.config["history"]
    layers = [gzip.decompress(registry.blob(repository, each["digest"])) for each in image.manifest["layers"]]
    contents = [*layers, json.dumps([image.config, image.manifest]).encode(), log.encode()]
    assert any(b"six-1.16.0" in content for content in contents)
    assert not [content for content in contents if PASSWORD.encode() in content]
    dump(app.deployed, tmp_path)
    assert places(tmp_path, PASSWORD) == set()
