"""An upgrade loses nothing: runs of version 0.1.0 are in every phase when this version is deployed. Then a rollback."""

import io
import json
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from local.demo.git_server import git_server
from local.stack import (
    DEMO_KEY,
    ROOT,
    STACK_NAME,
    WANDB_PYTHON,
    Deployed,
    LocalCloud,
    WandbLogin,
    deploy,
    deploy_built,
    embedded_cloud,
)
from local.wandb import WandbServer
from local.wandb.queues import RunQueueItem
from tests.e2e.conftest import ENTITY, GRACE_SECONDS, QUEUE, SPEED, Application, wait_for
from tests.e2e.images.test_builds import OFFLINE, PYTHON, builds, code_job, image_of
from tests.e2e.test_stops import QUOTA
from tests.wandb.client import Client

BEFORE = "22d784da78f9b5407bcd7b2e16a092f427ed60db"
"""The commit of version 0.1.0."""
WITH_ITS_KEY = {"WandbApiKeySecretArn": "", "WandbApiKey": DEMO_KEY}
"""What 0.1.0 was deployed with: the stack made the secret of the API key."""
OLD_BUILD_LOG = "log-group:/aws/codebuild/wandb-launch:"
"""Deleted by the upgrade from 0.1.0: builds go on without a log."""
ASK = "import urllib.request; print(urllib.request.urlopen('{}').read().decode())"


def source_of(commit: str, folder: Path) -> Path:
    """Write the files of a commit into a folder."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"this clone does not have commit {commit[:7]}: git fetch --unshallow gets it")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


@contextmanager
def gate() -> Iterator[tuple[str, threading.Event]]:
    """Serve an address; who asks there waits until the event is set."""
    opened = threading.Event()

    class Gate(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            opened.wait()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"launch-agent: not installed: a-package")

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Gate)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", opened
    finally:
        opened.set()
        server.shutdown()
        server.server_close()


def deployed(cloud: LocalCloud, wandb: WandbLogin, **of_the_version_before: Any) -> Deployed:
    """Deploy this version, or the one before it, over whatever is there."""
    return deploy(
        cloud, wandb, max_jobs=6, grace_seconds=GRACE_SECONDS, console=Console(quiet=True), **of_the_version_before
    )


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    """The version before this one, deployed."""
    source = source_of(BEFORE, tmp_path / "before")
    server = WandbServer(entity=ENTITY, api_key=DEMO_KEY)
    server.create_queue(QUEUE, config={})
    with (
        server.running() as url,
        git_server(tmp_path, tmp_path) as git,
        embedded_cloud(tmp_path, speed=SPEED) as cloud,
    ):
        if cloud.get("containers")["tool"] == "none":
            pytest.skip("this machine has neither buildah, podman nor a Docker engine")
        wandb = WandbLogin(url, ENTITY, QUEUE, DEMO_KEY)
        before = deployed(cloud, wandb, source=source, more_parameters=WITH_ITS_KEY)
        server.create_queue(QUEUE, config=json.loads(before.outputs["QueueConfiguration"]))
        yield Application(before, server, git, tmp_path)


def history(app: Application, item: RunQueueItem) -> str:
    """Return all that the history of an item's execution says."""
    execution = app.execution(item)
    if execution is None:
        return ""
    pages = app.deployed.cloud.client("stepfunctions").get_paginator("get_execution_history")
    return json.dumps(list(pages.paginate(executionArn=execution["executionArn"])), default=str)


def has(app: Application, item: RunQueueItem, attribute: str) -> bool:
    """Say whether the record of an item's run has an attribute."""
    return attribute in (app.record(item) or {})


def roles_of(cloud: LocalCloud) -> dict[str, str]:
    """Return the names of the stack's roles by their names in the template."""
    found = cloud.client("cloudformation").describe_stack_resources(StackName=STACK_NAME)["StackResources"]
    return {
        each["LogicalResourceId"]: each["PhysicalResourceId"]
        for each in found
        if each["ResourceType"] == "AWS::IAM::Role"
    }


def status(app: Application, item: RunQueueItem) -> str:
    """Return the status of an item's execution."""
    execution = app.execution(item)
    return execution["status"] if execution else ""


@pytest.mark.long
def test_an_upgrade_and_a_rollback_lose_no_run(app: Application, tmp_path: Path) -> None:
    cloud, wandb, outputs = app.deployed.cloud, app.deployed.wandb, app.deployed.outputs
    client = Client(tmp_path, wandb.url)
    refused = {"match": "refused", "code": "ValidationException", "message": "Could not assume role", "times": 1000}
    waits = {"match": "waits", "code": "ResourceLimitExceeded", "message": QUOTA, "times": 1000}
    cloud.put_faults([refused, waits])
    with gate() as (address, opened):
        ask = ASK.format(address)
        dockerfile = (
            f'FROM public.ecr.aws/docker/library/python:{PYTHON}-slim-trixie\nRUN python -c "{ask}"\nCOPY . .\n'
        )
        job = code_job(client, "held", {"train.py": "print('trained')", "Dockerfile.wandb": dockerfile})

        built_before = shutil.copytree(cloud.folder / "build", tmp_path / "built-before")

        failed, waiting = app.quick(run_id="refused"), app.quick(run_id="waits")
        training = app.push(app.image("held", str(WANDB_PYTHON), "-c", ask), sagemaker=OFFLINE)
        building, sharing = app.push(job=job, sagemaker=OFFLINE), app.push(job=job, sagemaker=OFFLINE)
        app.server.answers_to_lose += ["query RunState"] * 1000
        reporting = app.quick()
        assert "TrainingJobRejected" in app.ended(failed)["cause"]
        wait_for(lambda: has(app, waiting, "capacity_awaited_since"))
        wait_for(lambda: [each["SecondaryStatus"] for each in app.training_jobs(training)] == ["Training"])
        wait_for(lambda: [each["currentPhase"] for each in builds(app)] == ["BUILD"])
        wait_for(lambda: has(app, building, "awaits_build_of") or has(app, sharing, "awaits_build_of"))
        # 0.1.0 does not understand an event with nulls: its sweep does the work.
        wait_for(lambda: app.sweep() and "Report outcome" in history(app, reporting))

        roles = roles_of(cloud)
        app.deployed = deployed(cloud, wandb)
        # SAM made a role for each schedule of 0.1.0; SchedulesRole has taken their place. All others are kept.
        kept = {name: role for name, role in roles.items() if "FunctionEvery" not in name}
        assert kept.items() <= roles_of(cloud).items()
        (stack,) = cloud.client("cloudformation").describe_stacks(StackName=STACK_NAME)["Stacks"]
        polls = {
            each["ParameterKey"]: each["ParameterValue"]
            for each in stack["Parameters"]
            if "Poll" in each["ParameterKey"]
        }
        assert polls == {"PollIntervalSeconds": "15"}  # 0.1.0 had PollSchedule
        # Roles change some seconds before the functions do: those of 0.1.0 may be refused until they are replaced.
        denied_meanwhile = cloud.get("denials")
        named = ("StateMachineArn", "RunsTable", "QueueConfiguration", "ImageRepository", "BuildProjectName")
        assert {name: app.deployed.outputs[name] for name in named} == {name: outputs[name] for name in named}
        cloud.put_faults([])
        app.server.answers_to_lose.clear()
        opened.set()
        cloud.client("stepfunctions").redrive_execution(executionArn=app.ended(failed)["executionArn"])
        for item in (waiting, training, building, sharing, reporting):
            assert app.outcome(item, within=120)["verdict"] == "finished"
        wait_for(lambda: status(app, failed) == "SUCCEEDED")
        after = app.push(job=job, sagemaker=OFFLINE)
        assert app.outcome(after, within=120)["verdict"] == "finished"

    runs = (failed, waiting, training, building, sharing, reporting, after)
    assert [len(app.training_jobs(item)) for item in runs] == [1] * len(runs)
    assert image_of(app, building) == image_of(app, sharing)
    assert len(builds(app)) == 2  # that of 0.1.0, and another for the run after the upgrade: the recipe has changed
    # The redriven execution has kept its state machine, in which the function that reports launched runs again.
    assert "RelaunchRunFunction" not in history(app, failed)
    assert app.slots() == 0
    denials = cloud.get("denials")[len(denied_meanwhile) :]
    assert [denial for denial in denials if OLD_BUILD_LOG not in denial] == []

    # As an operator does it: what was built then is deployed with the parameters that the stack has now.
    shutil.rmtree(cloud.folder / "build")
    built_before.rename(cloud.folder / "build")
    deploy_built(cloud)
    again = app.quick()
    wait_for(lambda: app.sweep() and status(app, again) == "SUCCEEDED")
    assert app.outcome(again)["verdict"] == "finished"
