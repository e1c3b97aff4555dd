"""The whole application, deployed once for all end-to-end tests: two runs at a time, IAM enforced, short waits."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from rich.console import Console

from launch_agent.run_queue.items import QueueItem
from launch_agent.runs.execution import execution_name
from local.demo.demo import image_of
from local.demo.git_server import GitServer, git_server
from local.stack import DEMO_KEY, Deployed, WandbLogin, deploy, embedded_cloud
from local.wandb import Behaviour, WandbServer
from local.wandb.queues import RunQueueItem
from local.wandb.runs import Run
from tests.wandb.client import Client

if TYPE_CHECKING:
    from tests.e2e.workshop import Workshop

Found = TypeVar("Found")
QUEUE, ENTITY = "sagemaker", "team"
SPEED = 60.0
GRACE_SECONDS = 2
MAX_JOBS = 2
PASSWORD = "hunter2-of-the-database"
"""In the secret `team/db`, which queues can name."""
STOPPED_RUN_TIMEOUT = 1


@dataclass
class Application:
    """The deployed application, its W&B server, and methods for tests."""

    deployed: Deployed
    server: WandbServer
    git: GitServer
    """Serves the bare repositories in the folder `repositories`."""
    repositories: Path
    images: dict[str, str] = field(default_factory=dict)

    def image(self, name: str, *command: str) -> str:
        """Store an image that runs a command; return its address."""
        return self.deployed.cloud.put_image(
            f"tests:{name}", {"entrypoint": list(command), "env": {"PATH": "/usr/bin:/bin"}}
        )

    def push(
        self, image: str | None = None, *, sagemaker: Mapping[str, Any] | None = None, **spec: Any
    ) -> RunQueueItem:
        """Queue a run; return its item."""
        docker = {"docker": {"docker_image": image}} if image else {}
        args = {"resource_args": {"sagemaker": dict(sagemaker)}} if sagemaker else {}
        item_id = self.server.push(QUEUE, {"entity": ENTITY, "project": "p", **docker, **args, **spec})
        return self.server.state.items[item_id]

    def quick(self, **spec: Any) -> RunQueueItem:
        """Queue a run that ends immediately, without logging to W&B."""
        image = self.image("true", "true")
        return self.push(image, sagemaker={"Environment": {"WANDB_MODE": "offline"}}, **spec)

    def execution(self, item: RunQueueItem, *, attempt: int = 1) -> dict[str, Any] | None:
        """Return an item's execution; None if it has not started."""
        states = self.deployed.cloud.client("stepfunctions")
        run_id = QueueItem(id=item.id, run_spec=item.run_spec).run_id
        of_first_version = item.id if attempt == 1 else f"{item.id}-{attempt}"  # an upgrade finds these
        arn = self.deployed.outputs["StateMachineArn"].replace(":stateMachine:", ":execution:")
        for name in (execution_name(item.id, run_id, attempt), of_first_version):
            with suppress(states.exceptions.ExecutionDoesNotExist):
                return dict(states.describe_execution(executionArn=f"{arn}:{name}"))
        return None

    def ended(self, item: RunQueueItem, *, attempt: int = 1, within: float = 60) -> dict[str, Any]:
        """Wait for an item's execution to end; return it."""

        def look() -> dict[str, Any] | None:
            execution = self.execution(item, attempt=attempt)
            return execution if execution and execution["status"] != "RUNNING" else None

        return wait_for(look, within=within)

    def outcome(self, item: RunQueueItem, **more: Any) -> dict[str, Any]:
        """Wait for an item's execution to end; return its output."""
        execution = self.ended(item, **more)
        assert execution["status"] == "SUCCEEDED", execution.get("cause")
        return dict(json.loads(execution["output"]))

    def run(self, item: RunQueueItem) -> Run | None:
        """Return an item's run in W&B; None if it does not exist."""
        project = self.server.state.find_project(item.run_spec["entity"], item.run_spec["project"])
        return project.run(item.associated_run_id or "") if project else None

    def training_jobs(self, item: RunQueueItem) -> list[dict[str, Any]]:
        """Return the training jobs made for an item."""
        sagemaker = self.deployed.cloud.client("sagemaker")
        pages = sagemaker.get_paginator("list_training_jobs").paginate()
        names = [each["TrainingJobName"] for page in pages for each in page["TrainingJobSummaries"]]
        jobs = [sagemaker.describe_training_job(TrainingJobName=name) for name in names]
        return [job for job in jobs if job.get("Environment", {}).get("WANDB_LAUNCH_TRACE_ID") == item.id]

    def training_log(self, item: RunQueueItem) -> str:
        """Return the output of the containers of an item's training jobs."""
        logs, group, text = self.deployed.cloud.client("logs"), "/aws/sagemaker/TrainingJobs", []
        for job in self.training_jobs(item):
            streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job['TrainingJobName']}/")
            for stream in streams["logStreams"]:
                where = {"logGroupName": group, "logStreamName": stream["logStreamName"]}
                text += [event["message"] for event in logs.get_log_events(**where, startFromHead=True)["events"]]
        return "\n".join(text)

    def record(self, item: RunQueueItem) -> dict[str, Any] | None:
        """Return the attributes of an item's record in the table."""
        dynamodb = self.deployed.cloud.client("dynamodb")
        key = {"pk": {"S": f"run#{item.id}"}}
        found = dynamodb.get_item(TableName=self.deployed.outputs["RunsTable"], Key=key, ConsistentRead=True).get(
            "Item"
        )
        return {name: next(iter(value.values())) for name, value in found.items()} if found else None

    def slots(self) -> int:
        """Return the number of slots in use."""
        dynamodb = self.deployed.cloud.client("dynamodb")
        key = {"pk": {"S": f"agent#{ENTITY}"}}
        found = dynamodb.get_item(TableName=self.deployed.outputs["RunsTable"], Key=key, ConsistentRead=True).get(
            "Item"
        )
        return int(found["jobs_open"]["N"]) if found and "jobs_open" in found else 0

    def error_log(self, item: RunQueueItem, kind: str = "error") -> str:
        """Return the text of an item's error.log in W&B."""
        name = f"{item.id}/{kind}/error.log"
        for run in self.server.state.runs.values():
            if name in run.files_by_name:
                return self.server.state.storage[run.files_by_name[name].path].decode()
        raise AssertionError(f"no {name}")

    def poll(self) -> dict[str, Any]:
        """Poll now, in addition to the schedule; return the function's result."""
        return self._invoke("PollQueuesFunctionName")

    def sweep(self) -> dict[str, Any]:
        """Sweep now, in addition to the schedule; return the function's result."""
        return self._invoke("SweepRunsFunctionName")

    def _invoke(self, output: str) -> dict[str, Any]:
        client = self.deployed.cloud.client("lambda")
        answer = client.invoke(FunctionName=self.deployed.outputs[output], Payload=b"{}")
        return dict(json.loads(answer["Payload"].read()))

    def closed(self, item: RunQueueItem, *, within: float = 60) -> dict[str, str]:
        """Wait until an item's run is closed; return its verdict and reason."""

        def look() -> dict[str, Any] | None:
            record = self.record(item)
            return record if record and record["state"] == "closed" else None

        outcome = wait_for(look, within=within)["outcome"]
        return {name: next(iter(value.values())) for name, value in outcome.items()}

    def stop_execution(self, item: RunQueueItem) -> None:
        """Stop an item's execution, as in the Step Functions console."""
        execution = self.execution(item)
        assert execution
        self.deployed.cloud.client("stepfunctions").stop_execution(executionArn=execution["executionArn"])

    def stop_in_wandb(self, item: RunQueueItem, state: str = "running") -> None:
        """Stop an item's run, as in W&B's user interface; if it does not exist, first create it in this state."""
        run = self.run(item)
        if run is None:
            project = self.server.state.project(item.run_spec["entity"], item.run_spec["project"])
            run = Run(item.associated_run_id or "", project, self.server.state.number(), stored_state=state)
            project.runs_by_id[run.name] = run
        run.stopped = True


def wait_for(look: Callable[[], Found | None], *, within: float = 60) -> Found:
    """Call `look` until it finds something; return that. Fails if it finds nothing in time."""
    deadline, pause = time.monotonic() + within, 0.05
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(pause)
        pause = min(
            1.2 * pause, 0.5
        )  # a look costs both sides; the longer it takes, the less it matters when it is seen
    raise AssertionError("it did not happen in time")


@pytest.fixture(scope="package")  # an application polls its queue, which takes processor time, until it is stopped
def deployed_application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """Boot and deploy once. Builds make pseudo images: `images/` has the tests with real ones."""
    with booted_application(tmp_path_factory.mktemp("cloud")) as application:
        yield application


@contextmanager
def booted_application(folder: Path, container_tool: str = "none") -> Iterator[Application]:
    """Boot and deploy."""
    # A shorter lease than W&B's: if concurrent polls lease too many items, these soon return to the queue.
    server = WandbServer(entity=ENTITY, api_key=DEMO_KEY, behaviour=Behaviour(lease_seconds=10))
    server.create_queue(QUEUE, config={})
    repositories = folder / "git"
    repositories.mkdir()
    with (
        server.running() as wandb_url,
        git_server(repositories, folder) as git,
        embedded_cloud(folder, speed=SPEED, container_tool=container_tool, trust_ca=git.certificate) as cloud,
    ):
        # Events in all forms that AWS's own sources show: tags as a map, as a list, or absent. Each event comes twice.
        cloud.behave(event_tags="mixed", event_copies=2)
        wandb = WandbLogin(wandb_url, ENTITY, QUEUE, DEMO_KEY)
        password = json.dumps({"password": PASSWORD})
        secret = cloud.client("secretsmanager").create_secret(Name="team/db", SecretString=password)
        run_key = cloud.client("secretsmanager").create_secret(Name="run-key", SecretString=DEMO_KEY)
        deployed = deploy(
            cloud,
            wandb,
            max_jobs=MAX_JOBS,
            grace_seconds=GRACE_SECONDS,
            stopped_run_timeout=STOPPED_RUN_TIMEOUT,
            console=Console(quiet=True),
            more_parameters={
                "PollIntervalSeconds": "30",
                "RunSecretArns": secret["ARN"],
                "RunApiKeySecretArn": run_key["ARN"],
            },
        )
        server.create_queue(QUEUE, config=json.loads(deployed.outputs["QueueConfiguration"]))
        application = Application(deployed, server, git, repositories)
        for script in ("train", "broken"):
            application.images[script] = cloud.put_image(f"demo:{script}", image_of(f"{script}.py"))
        # Tests that lose W&B's answers must not lose that to the registration, which W&B would then list twice.
        wait_for(lambda: application.poll()["status"] != "REGISTERING")
        yield application


@pytest.fixture
def app(deployed_application: Application) -> Iterator[Application]:
    """The application, idle before and after each test, and without unexpected denials."""
    application = deployed_application
    behaviour = application.server.state.behaviour
    denials = len(application.deployed.cloud.get("denials"))
    yield application
    application.server.state.behaviour = behaviour
    wait_for(lambda: application.slots() == 0, within=90)
    assert application.deployed.cloud.get("denials")[denials:] == []


@pytest.fixture
def shop(app: Application) -> "Workshop":
    """Creates roles, functions and state machines on the embedded AWS."""
    from tests.e2e.workshop import Workshop  # not earlier: it imports this module

    return Workshop(app.deployed.cloud)


@pytest.fixture
def client(deployed_application: Application, tmp_path: Path) -> Client:
    """A user's machine with the real wandb client."""
    return Client(tmp_path, deployed_application.deployed.wandb.url)
