"""A world: W&B with its queue, AWS with one or more stacks, users, and time. It checks the invariants."""

import base64
import hashlib
import json
import logging
import random
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launch_agent.clients import metrics, secrets
from launch_agent.run_queue.items import SCHEDULER_URI
from launch_agent.wiring import Clients
from local.wandb import WandbServer
from local.wandb.answers import Refused as WandbRefused
from local.wandb.answers import opaque
from local.wandb.artifacts import Artifact, Collection, Manifest, content_path
from local.wandb.queues import ItemState, RunQueueItem
from local.wandb.runs import Run
from local.wandb.sweeps import Sweep, upsert_sweep
from tests.documents import MACHINE, runs_table
from tests.golden.cases import load
from tests.handlers import properties_of
from tests.simulation import others
from tests.simulation.builds import IMAGE_CONFIG, REPOSITORY, Builds
from tests.simulation.clock import Clock
from tests.simulation.dynamodb import Refused, Table
from tests.simulation.events import execution_ended, job_changed, scheduled, stack_change
from tests.simulation.faults import Faults
from tests.simulation.functions import Functions, Latency, Pool
from tests.simulation.machine import Done, Execution, StateMachine, TaskFailed
from tests.simulation.others import FORBIDDEN, Others
from tests.simulation.service_limits import check_limits
from tests.simulation.ticks import Ticks
from tests.simulation.training import STACK_TAG, Job, Script, Training
from tests.simulation.transport import answered, asgi

SERVICE = "launch-agent"
ENTITY, QUEUE, PROJECT, JOB = "team", "sagemaker", "p", "team/jobs/git:latest"
API_KEY, KEY_OF_RUN, SECRET_OF_QUEUE = "a" * 40, "b" * 40, "hunter2-of-the-queue"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:v1"
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
CREDENTIALS = "credentials"
STACK_ANSWERS = "/stack-answers"
_DETAILS = "-details"
_QUEUES = "https://sqs.us-east-1.amazonaws.com/123456789012/"
LEFT_TO_LIFECYCLE = "the credentials bucket still has"
_FOLDER = re.compile(r"/[0-9a-f]{32}/")
_FORBIDDEN = "permission denied"
_BEGINS = 1_800_057_600.0
"""The start time of every world. Each has its own clients, so that no client remembers a later time."""


@dataclass(frozen=True)
class Delivery:
    """The shares of events that are dropped, delivered twice, or delivered much later."""

    dropped: float = 0.0
    twice: float = 0.0
    late: float = 0.0


@dataclass
class Found:
    """Descriptions of all violations."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return the counts as in the soak's last line: `other` only if there are any."""
        names = ("lost", "doubled", "leaked", "secrets", *(("other",) if self.other else ()))
        counts = {name: len(getattr(self, name)) for name in names}
        return " ".join(f"{name} {count}" for name, count in counts.items())

    @property
    def everything(self) -> list[str]:
        """All violations."""
        return [*self.lost, *self.doubled, *self.leaked, *self.secrets, *self.other]


@dataclass
class Stack:
    """One deployed stack."""

    name: str
    table: Table
    functions: Functions
    machine: StateMachine
    ticks: Ticks
    open: set[str] = field(default_factory=set)
    """The runs that hold a slot."""
    is_deleted: bool = False
    unreported: set[str] = field(default_factory=set)
    """The runs without an outcome, which hold a slot or have held one."""


class World:
    """The whole simulation, from one seed."""

    def __init__(
        self,
        clock: Clock,
        faults: Faults,
        *,
        folder: Path,
        stacks: int = 1,
        max_jobs: int = 4,
        max_schedulers: int = 2,
        secure_mode: bool = False,
        config: Mapping[str, Any] | None = None,
        quota: int = 100,
        capacity_wait_hours: float = 24,
        delivery: Delivery | None = None,
        script: Callable[[dict[str, Any]], Script] | None = None,
        builds_fail: Callable[[], bool] | None = None,
        duplicated: tuple[str, ...] = (),
        poll_every: float = MINUTE,
        latency: Latency | None = None,
        poll_interval: int = 60,
    ) -> None:
        """Create a world; the arguments are its differences from an undisturbed one."""
        self.clock, self.max_jobs, self.delivery = clock, max_jobs, delivery or Delivery()
        self.max_schedulers = max_schedulers
        limits = {"max_jobs": max_jobs, "max_schedulers": max_schedulers}
        self._config = {**limits, "secure_mode": secure_mode, "stopped_run_timeout": 30}
        self._config |= config or {}
        self._poll_interval = poll_interval
        self._duplicated, self._poll_every, self._latency = duplicated, poll_every, latency or Latency()
        self.found = Found()
        self._items_of_run: dict[tuple[str, str, str], set[str]] = {}
        """The items whose training jobs are of a run."""
        self._models_of: dict[int, list[str]] = {}
        """The states of the artifacts that a run has created."""
        self.undelivered = 0
        self.shows_keys = False
        """Whether training jobs may show API keys in their environment, as those planned by version 0.1.0 do."""
        self.logged: set[str] = set()
        """The training jobs whose containers have logged to W&B."""
        self.events: list[dict[str, Any]] = []
        """The events that functions have put on the default bus."""
        self.metrics: list[dict[str, Any]] = []
        """What the functions have written in the embedded metric format."""
        self.stack_answers: list[str] = []
        """What CloudFormation was answered when a stack was made, changed or deleted."""
        self.redriven: set[str] = set()
        """The items whose executions were redriven."""
        self.server = WandbServer(entity=ENTITY, api_key=API_KEY)
        self.server.create_queue(QUEUE, config={**queue_config(), "Environment": {"SECRET": SECRET_OF_QUEUE}})
        self.queue = self.server.state.project(ENTITY, "model-registry").queues[QUEUE]
        _add_job(self.server)
        self.training = Training(
            clock,
            quota=quota,
            script=script or (lambda _: Script()),
            created=self._job_created,
            changed=self.job_changed,
            can_read=self._can_read,
        )
        self.builds = Builds(clock, seconds=180, fails=builds_fail or (lambda: False))
        self.objects = self.builds.objects
        self.buckets: dict[str, str | Refused] = {}
        """The regions of buckets that are not in the stack's, and what S3 refuses of others."""
        self.price_list = [json.dumps(price_of("ml.m4.xlarge", "0.2800000000"))]
        """The products that every request for prices is answered with."""
        self.stacks: dict[str, Stack] = {}
        self.others = Others(clock, self.training, self.server, self.stacks, self.found.other.append)
        self._raw: dict[bytes, bytes] = {}
        self._has_sweeps = False
        self._heard: set[tuple[str, ...]] = set()
        with answered(self, self):
            for number in range(stacks):
                self._deploy(f"launch{number or ''}", faults, folder, capacity_wait_hours)
        logger = logging.getLogger(SERVICE)
        logger.propagate = False
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.stream = self

    # --- deployment and services
    def _deploy(self, name: str, faults: Faults, folder: Path, capacity_wait_hours: float) -> None:
        arn = f"arn:aws:states:us-east-1:123456789012:stateMachine:{name}"
        environment = {
            "ACCOUNT_ID": "123456789012",
            "BUILD_BUCKET": "bucket",
            "BUILD_COMPUTE_TYPE": "BUILD_GENERAL1_MEDIUM",
            "CAPACITY_WAIT_HOURS": str(capacity_wait_hours),
            "CREDENTIALS_BUCKET": CREDENTIALS,
            "DATA_KMS_KEY_ARN": "",
            "HTTPS_PROXY": "",
            "IMAGE_REPOSITORY": REPOSITORY,
            "NO_PROXY": "",
            "PARTITION": "aws",
            "POLL_INTERVAL_SECONDS": str(self._poll_interval),
            "POWERTOOLS_SERVICE_NAME": SERVICE,
            "QUEUE_CONFIGURATION": json.dumps(queue_config()),
            "REGION": "us-east-1",
            "RUN_API_KEY_SECRET": "",
            "RUN_SECRET_ARNS": "",
            "RUN_DETAILS_TABLE": f"{name}{_DETAILS}",
            "RUNS_TABLE": name,
            "SECRET_KMS_KEY_ARN": "",
            "STACK_NAME": name,
            "STATE_MACHINE_ARN": arn,
            "TICKS_QUEUE_URL": f"{_QUEUES}{name}" if self._poll_interval < MINUTE else "",
            "TRAINING_IN_VPC": "false",
            "TRAINING_ROLE_ARNS": "",
            "VOLUME_KMS_KEY_ARN": "",
            "VPC_ID": "",
            "WANDB_API_KEY_SECRET": "arn:aws:secretsmanager:us-east-1:123456789012:secret:key",
            "WANDB_BASE_URL": "http://wandb",
            "WANDB_INIT_GRACE_SECONDS": "60",
        }
        config = {"entity": ENTITY, "queues": [QUEUE], **self._config}
        (folder / "launch-config.yaml").write_text(json.dumps(config))
        functions = Functions(environment, self.clock, faults)
        functions.duplicated, functions.latency = self._duplicated, self._latency
        machine = StateMachine(
            arn,
            MACHINE,
            clock=self.clock,
            tasks=Tasks(functions, self.builds),
            written=lambda value: self._look_for_secrets(value, f"execution history of {name}"),
            ended=lambda execution: self._execution_ended(stack, execution),
        )
        ticks = Ticks(self.clock, self.delivery, lambda event, done: self._tick(stack, event, done))
        stack = self.stacks[name] = Stack(name, Table(runs_table()), functions, machine, ticks)
        self._every(self._poll_every, lambda: self._schedule(stack, "poll_queues"))
        self._every(5 * self._poll_every, lambda: self._schedule(stack, "sweep_runs"))

    def _schedule(self, stack: Stack, function: str) -> None:
        if not stack.is_deleted:
            self.invoke(stack, function, scheduled())

    def _tick(self, stack: Stack, event: Any, done: Done) -> None:
        if not stack.is_deleted:
            stack.functions.invoke("poll_queues", event, done)

    def _every(self, seconds: float, happens: Callable[[], None]) -> None:
        def again() -> None:
            happens()
            self.clock.after(seconds, again)

        self.clock.after(self.clock.random.uniform(0, seconds), again)

    def answer(self, *asked: Any) -> Any:
        """Answer a request to AWS (service, operation, request) or W&B (method, URL, headers, body)."""
        return self._answer_for_wandb(*asked) if len(asked) == 4 else self._answer_for_aws(*asked)

    def _answer_for_aws(self, service: str, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        if service == "dynamodb":
            return self._table(operation, asked)
        if service == "s3":
            return self._bucket(asked["Bucket"])
        check_limits(service, operation, asked)
        self.others.check_call(service, operation, asked)
        if operation == "CreateTrainingJob" and not self.shows_keys:
            self._look_for_keys(asked)
        services: dict[str, Callable[[], dict[str, Any]]] = {
            "sagemaker": lambda: self.training.answer(operation, asked),
            "sfn": lambda: self._machine_of(asked).answer(operation, asked),
            "secrets-manager": lambda: {"SecretString": API_KEY, "Name": "key", "ARN": asked["SecretId"]},
            "pricing": lambda: {"FormatVersion": "aws_v1", "PriceList": self.price_list},
            "eventbridge": lambda: self._take_events(asked),
            "sqs": lambda: self.stacks[asked["QueueUrl"].removeprefix(_QUEUES)].ticks.take(asked),
            "cloudwatch-logs": lambda: self.others.logs(operation, asked),
        }
        return services.get(service, lambda: self.builds.answer(operation, asked))()

    def _take_events(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.events += asked["Entries"]
        self._look_for_secrets(asked, "an event")
        return {"FailedEntryCount": 0, "Entries": [{"EventId": str(len(self.events))}]}

    def _bucket(self, name: str) -> dict[str, Any]:
        found = self.buckets.get(name, "us-east-1")
        if isinstance(found, Refused):
            raise found
        return {"BucketRegion": found}

    def _can_read(self, uri: str) -> bool:
        prefix = uri.removeprefix(f"s3://{CREDENTIALS}")
        return prefix == uri or any(key.startswith(prefix) for key in self.objects)

    def _machine_of(self, asked: Mapping[str, Any]) -> StateMachine:
        arn = asked.get("stateMachineArn") or asked.get("executionArn")
        name = arn.split(":")[6] if arn else asked["taskToken"].partition("/")[0]
        return self.stacks[name].machine

    def _table(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        writes = [next(iter(each.values())) for each in asked.get("TransactItems", [])] or [asked]
        # One table contains the items of both tables; their keys have different suffixes.
        stack = self.stacks[writes[0]["TableName"].removesuffix(_DETAILS)]
        answer = stack.table.answer(operation, asked)
        if operation == "TransactWriteItems":
            self._check_slots(stack, [write["Key"]["pk"]["S"] for write in writes])
        return answer

    def _answer_for_wandb(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        if others.MARK.encode() in body:
            self.found.other.append(f"W&B gets the others' data: {body[:300]!r}")
        if url == STACK_ANSWERS:
            self.stack_answers.append(json.loads(body)["Status"])
            return 200, b""
        if url == f"/{IMAGE_CONFIG.partition('/')[2]}":
            return 200, json.dumps({"config": {"Entrypoint": ["/usr/bin/entry"]}}).encode()
        if url != "/graphql":
            return asgi(self.server.app, method, url, headers, body)
        asked = json.loads(body)
        self.others.check_request(asked, self._agents())
        answer, status = self.server.execute(asked["query"], asked["variables"])
        if any(_FORBIDDEN in error["message"] for error in answer.get("errors", [])):
            status = 403  # W&B's status if any part is forbidden
        content = json.dumps(answer).encode()
        for marker, raw in self._raw.items():
            content = content.replace(marker, raw)
        return status, content

    def _agents(self) -> set[str]:
        """Return the ids of the launch agents that the stacks have registered."""
        return {each.id for each in self.server.state.agents.values() if each.hostname in self.stacks}

    # --- what happens
    def invoke(self, stack: Stack, function: str, given: Any, *, failures: int = 0) -> None:
        """Invoke a function like EventBridge; Lambda retries according to the function's properties."""

        def done(_: Any, failure: TaskFailed | None) -> None:
            if failure is None:
                return
            if failures < int(properties_of(function)["EventInvokeConfig"]["MaximumRetryAttempts"]):
                self.clock.after(
                    (failures + 1) * MINUTE, lambda: self.invoke(stack, function, given, failures=failures + 1)
                )
            else:
                self.undelivered += 1

        stack.functions.invoke(function, given, done)

    def _deliver(self, stack: Stack, function: str, given: Any) -> None:
        """Deliver an event once, twice or not at all, after a random delay."""
        draws, delivery = self.clock.random, self.delivery
        times = 0 if draws.random() < delivery.dropped else 2 if draws.random() < delivery.twice else 1
        for _ in range(times):
            delay = draws.uniform(0, HOUR) if draws.random() < delivery.late else draws.expovariate(1 / 2)
            self.clock.after(delay, lambda: self.invoke(stack, function, given))

    def _execution_ended(self, stack: Stack, execution: Execution) -> None:
        if execution.status != "SUCCEEDED":
            self._deliver(stack, "sweep_runs", execution_ended(execution, self.clock.random))

    def _job_created(self, job: Job) -> None:
        live = [each.name for each in self.training.of_item[job.item] if each.is_live]
        if len(live) > 1:
            self.found.doubled.append(f"item {job.item} has training jobs {live} at a time")

    def job_changed(self, job: Job) -> None:
        """Notify the container, and each stack whose EventBridge rule matches, of a training job's change."""
        self._tell_container(job)
        event = job_changed(job, self.clock.random)
        for stack in self.stacks.values():
            # If an event has no tags, an EventBridge rule cannot find out which stack it belongs to.
            if job.tags.get(STACK_TAG) == stack.name or not event["detail"].get("Tags"):
                self._deliver(stack, "resume_run", event)

    def _tell_container(self, job: Job) -> None:
        """Act as the code in the container: create the run, and end it."""
        environment, status = job.request["Environment"], job.shown["SecondaryStatus"]
        is_algorithm = "AlgorithmName" in job.request.get("AlgorithmSpecification", {})  # which never calls wandb.init
        if is_algorithm or not job.script.calls_init or status not in ("Training", "Completed", "Failed", "Stopped"):
            return
        if status != "Training" and "TrainingStartTime" not in job.shown:
            return
        try:
            run = self.run(environment["WANDB_ENTITY"], environment["WANDB_PROJECT"], environment["WANDB_RUN_ID"])
        except WandbRefused:
            return  # the container may not write to this entity either
        run.config_values["_wandb"] = {"value": {"launch_trace_id": environment["WANDB_LAUNCH_TRACE_ID"]}}
        run.summary.setdefault("loss", 0.25)
        self.logged.add(job.name)
        states = {"Training": "running", "Completed": "finished", "Failed": "killed" if run.stopped else "failed"}
        run.state = states.get(status, "killed")

    def run(self, entity: str, project_name: str, name: str, state: str = "pending") -> Run:
        """Return a run in W&B; create it if needed."""
        project = self.server.state.project(entity, project_name)
        if name not in project.runs_by_id:
            project.runs_by_id[name] = Run(name, project, self.server.state.number(), stored_state=state)
        return project.runs_by_id[name]

    # --- users' actions
    def push(self, *, job: str | None = None, queue: str = QUEUE, **spec: Any) -> RunQueueItem:
        """Queue a run of an image, or of a job."""
        source = {"job": job} if job else {"docker": {"docker_image": IMAGE}}
        spec = {"entity": ENTITY, "project": PROJECT, "_wandb_api_key": KEY_OF_RUN, **source, **spec}
        return self.server.state.items[self.server.push(queue, spec)]

    def sweep(self, *, workers: int = 2, launch: dict[str, Any] | None = None, **config: Any) -> Sweep:
        """Create a sweep as `wandb launch-sweep` does: W&B queues its scheduler. By default it is a grid of three."""
        parameters = {"lr": {"values": [0.1, 0.2, 0.3]}}
        config = {"method": "grid", "image_uri": IMAGE, "parameters": parameters, **config}
        name = "WANDB_SWEEP_ID"
        args = ["--queue", f"'{QUEUE}'", "--project", f"'{PROJECT}'", "--author", "'me'", "--image_uri", IMAGE]
        run_config = {"scheduler": {"num_workers": workers}, **({"launch": launch} if launch else {})}
        spec = {
            "uri": SCHEDULER_URI,
            "entity": ENTITY,
            "project": PROJECT,
            "run_id": name,
            "name": f"Scheduler.{name}",
            "docker": {},
            "git": {},
            "resource": "local-process",
            "overrides": {"entry_point": ["wandb", "scheduler", name], "args": args, "run_config": run_config},
        }
        order = {"queue": QUEUE, "run_queue_project": "model-registry", "run_spec": json.dumps(spec)}
        self._advance_sweeps()
        given = {"entityName": ENTITY, "projectName": PROJECT, "config": json.dumps(config)}
        return upsert_sweep(self.server.state, {**given, "launchScheduler": json.dumps(order), "state": "PENDING"})

    def _advance_sweeps(self) -> None:
        """Begin the schedule of sweeps. A world without sweeps leaves it out: its function would do nothing there."""
        for stack in () if self._has_sweeps else self.stacks.values():
            self._every(self._poll_every, partial(self._schedule, stack, "advance_sweeps"))
        self._has_sweeps = True

    def scheduler_of(self, sweep: Sweep) -> RunQueueItem:
        """Return the run queue item of a sweep's scheduler."""
        (item,) = (each for each in self.server.state.items.values() if _run_id(each) == sweep.name)
        return item

    def items_of(self, sweep: Sweep) -> list[RunQueueItem]:
        """Return the run queue items of a sweep's runs."""
        return [each for each in self.server.state.items.values() if _spec(each).get("sweep_id") == sweep.name]

    def push_raw(self, spec: Any, *, run_name_refused: bool = False) -> RunQueueItem:
        """Queue any JSON, without the server's checks. The server can refuse the run's name later."""
        number = self.server.state.number()
        kind = _WithoutAck if run_name_refused else RunQueueItem
        item = kind(opaque("RunQueueItem", number), number, self.queue, spec, 2)
        self.queue.items[item.id] = self.queue.waiting[item.id] = self.server.state.items[item.id] = item
        return item

    def raw(self, text: bytes) -> str:
        """Return a value that appears in W&B's answers as this text, which need not be JSON."""
        marker = f"raw-json-{len(self._raw)}"
        self._raw[f'"{marker}"'.encode()] = text
        return marker

    def stop_in_wandb(self, item: RunQueueItem) -> None:
        """Stop an item's run in W&B, if it has been acknowledged."""
        if item.associated_run_id:
            self.run(ENTITY, PROJECT, item.associated_run_id).stopped = True
        for job in self.jobs(item):
            if job.script.obeys_stops:
                self.training.interrupt(job)

    def stop_in_console(self, item: RunQueueItem) -> None:
        """Stop an item's execution in the Step Functions console, if it is running."""
        execution = self.execution(item)
        if execution and execution.status == "RUNNING":
            self._machine_of({"executionArn": execution.arn}).answer("StopExecution", {"executionArn": execution.arn})

    def stop_job(self, item: RunQueueItem) -> None:
        """Stop an item's training job in the SageMaker console, if it is in progress."""
        for job in self.jobs(item):
            if job.is_live:
                self.training.answer("StopTrainingJob", {"TrainingJobName": job.name})

    def redrive(self, item: RunQueueItem) -> None:
        """Redrive an item's execution in the Step Functions console; in W&B, the item stays failed."""
        execution = self.execution(item)
        if execution:
            self.redriven.add(item.id)
            self._machine_of({"executionArn": execution.arn}).answer(
                "RedriveExecution", {"executionArn": execution.arn}
            )

    def delete_stack(self) -> None:
        """Delete every stack, as far as its launch agent is concerned; its schedules go first."""
        for stack in self.stacks.values():
            stack.is_deleted = True
        self.change_stack("Delete")

    def change_stack(self, kind: str) -> None:
        """Have CloudFormation tell of a change of every stack."""
        for stack in self.stacks.values():
            self.invoke(stack, "retire_agent", stack_change(kind, f"http://wandb{STACK_ANSWERS}"))

    # --- observations
    def execution(self, item: RunQueueItem) -> Execution | None:
        """Return the newest execution of an item."""
        found = [
            each
            for stack in self.stacks.values()
            for each in stack.machine.executions.values()
            if each.input["run_queue_item_id"] == item.id
        ]
        return found[-1] if found else None

    def jobs(self, item: RunQueueItem) -> list[Job]:
        """Return the training jobs made for an item."""
        return list(self.training.of_item[item.id])

    def records(self, item_id: str) -> list[dict[str, Any]]:
        """Return the records of an item, one for each stack that has had it."""
        return [
            stack.table.items[f"run#{item_id}"]
            for stack in self.stacks.values()
            if f"run#{item_id}" in stack.table.items
        ]

    def outcome(self, item: RunQueueItem) -> dict[str, str] | None:
        """Return how an item's run ended; None if it has not."""
        for record in self.records(item.id):
            if "outcome" in record and record["state"]["S"] == "closed":
                return {name: value["S"] for name, value in record["outcome"]["M"].items()}
        return None

    @property
    def is_idle(self) -> bool:
        """Whether every item has ended, and nothing is in progress."""
        return (
            not self.queue.waiting
            and not any(stack.unreported for stack in self.stacks.values())
            and not self.training.live
            and not any(stack.machine.running for stack in self.stacks.values())
        )

    def run_until_idle(self, *, within: float = 2 * DAY, until: Callable[[], bool] = lambda: True) -> bool:
        """Let time pass until everything has ended and `until` is true; return whether that happened."""
        end = self.clock.now + within
        while self.clock.now < end:
            self.clock.run(MINUTE)
            if self.is_idle and until():
                self.clock.run(30)
                return True
        return False

    @property
    def is_closed(self) -> bool:
        """Whether no run is open and nothing is in progress; items may still be in W&B's queue."""
        in_progress = any(build.status == "IN_PROGRESS" for build in self.builds.builds.values())
        stacks = self.stacks.values()
        return not (
            self.training.live or in_progress or any(each.unreported or each.machine.running for each in stacks)
        )

    def run_until_closed(self, *, within: float) -> bool:
        """Let time pass until all has ended, or nothing was open for half an hour; return whether that happened."""
        end, closed_for = self.clock.now + within, 0.0
        while self.clock.now < end and not (self.is_idle and closed_for >= 5 * MINUTE):
            self.clock.run(MINUTE)
            closed_for = closed_for + MINUTE if self.is_closed else 0.0
            if closed_for >= HOUR / 2:
                return True
        return self.is_closed

    # --- violations
    def _check_slots(self, stack: Stack, keys: list[str]) -> None:
        for key in keys:
            if key.startswith("run#"):
                state = stack.table.items.get(key, {}).get("state", {}).get("S")
                (stack.open.add if state == "open" else stack.open.discard)(key)
                (stack.unreported.add if state in ("open", "ended") else stack.unreported.discard)(key)
        agent = stack.table.items[f"agent#{ENTITY}"]
        counted = sum(int(agent.get(name, {"N": "0"})["N"]) for name in ("jobs_open", "schedulers_open"))
        if counted != len(stack.open):
            self.found.leaked.append(f"{counted} slots are in use, {len(stack.open)} runs are open")
        if int(agent.get("schedulers_open", {"N": "0"})["N"]) > self.max_schedulers:
            self.found.other.append(f"{agent['schedulers_open']} schedulers are open, {self.max_schedulers} may be")
        if int(agent.get("jobs_open", {"N": "0"})["N"]) > self.max_jobs:
            self.found.other.append(f"{len(stack.open)} runs are open, {self.max_jobs} may be")

    def write(self, text: str) -> None:
        """Check a text from the functions' log for secrets."""
        self._look_for_secrets(text, "a log")

    def measured(self, line: str) -> None:
        """Keep a line of metrics."""
        self.write(line)
        self.metrics.append(json.loads(line))

    def flush(self) -> None:
        """Do nothing."""

    def _look_for_secrets(self, value: Any, where: str) -> None:
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        for secret in (API_KEY, KEY_OF_RUN, SECRET_OF_QUEUE, others.MARK):
            if secret in text:
                self.found.secrets.append(f"{where} has {secret[:8]}...: {text[:300]}")

    def _look_for_keys(self, asked: dict[str, Any]) -> None:
        shown = {**asked, "Environment": {**asked["Environment"], "SECRET": "the queue's own variable"}}
        self._look_for_secrets(shown, f"the training job {asked['TrainingJobName']}")

    def check(self, *, refused: bool = False) -> Found:
        """Check everything at the end; return all violations.

        If something was permanently `refused`, W&B may have items again, and may not know of an end.
        """
        self._index()
        for item in self.server.state.items.values():
            self._check_item(item, refused=refused)
        self._check_sweeps(refused=refused)
        for stack in self.stacks.values():
            self._check_stack(stack)
            if stack.is_deleted and not refused:
                self._check_deleted(stack)
        self.others.check()
        if not refused:
            self._check_credentials()
        for job in self.training.live.values():
            self.found.leaked.append(f"training job {job.name} of item {job.item} is in progress")
        for build in self.builds.builds.values():
            if build.status == "IN_PROGRESS":
                self.found.leaked.append(f"build {build.id} is in progress")
        return self.found

    def _index(self) -> None:
        """Look through all jobs and artifacts once, and not for each item: a soak has ten thousand."""
        self._items_of_run, self._models_of = defaultdict(set), defaultdict(list)
        for job in self.training.jobs.values():
            if job.item:  # another team's job has no run
                self._items_of_run[job.run].add(job.item)
        for artifact in self.server.state.artifacts.values():
            self._models_of[id(artifact.created_by)].append(artifact.state)

    def _check_item(self, item: RunQueueItem, *, refused: bool) -> None:
        outcome, jobs = self.outcome(item), self.jobs(item)
        is_back = {record["state"]["S"] for record in self.records(item.id)} <= {"returned"}
        if is_back and (refused or item.state is ItemState.FAILED):
            return  # it was not opened, or not again: W&B knows why, or has it, or refuses to say which agent has it
        if outcome is None:
            self.found.lost.append(f"item {item.id} is {item.state} and has no outcome: {self.records(item.id)}")
            return
        closed = [record for record in self.records(item.id) if record["state"]["S"] == "closed"]
        if len(closed) > 1:
            self.found.doubled.append(f"item {item.id} has {len(closed)} outcomes")
        completed = [job for job in jobs if job.shown["TrainingJobStatus"] == "Completed"]
        if len(completed) > 1:
            self.found.doubled.append(f"item {item.id} was trained {len(completed)} times")
        if not refused and _spec(item).get("uri") != SCHEDULER_URI:
            self._check_report(item, outcome, completed)

    def _check_sweeps(self, *, refused: bool) -> None:
        for sweep in self.server.state.project(ENTITY, PROJECT).sweeps.values():
            self._check_sweep(sweep, refused=refused)

    def _check_sweep(self, sweep: Sweep, *, refused: bool) -> None:
        """Check that each run of a sweep was queued once, and that nothing waits for a sweep that is over."""
        queued = Counter(_run_id(item) for item in self.items_of(sweep))
        for run, times in queued.items():
            if times > 1:
                self.found.doubled.append(f"run {run} of sweep {sweep.name} was queued {times} times")
        lost = [run.name for run in sweep.made if run.name not in queued and run.state in ("pending", "running")]
        if lost and not refused:
            self.found.lost.append(f"runs {lost} of sweep {sweep.name}, which is {sweep.state}, were not queued")
        if sweep.live and not refused:
            self.found.leaked.append(f"runs {[run.name for run in sweep.live]} of sweep {sweep.name} are live")
        if sweep.state in ("RUNNING", "PENDING") and not refused:
            self.found.leaked.append(f"sweep {sweep.name} is {sweep.state}")

    def _check_report(self, item: RunQueueItem, outcome: Mapping[str, str], completed: list[Job]) -> None:
        verdict, is_failed = outcome["verdict"], item.state is ItemState.FAILED
        if verdict == "finished" and (not completed or (is_failed and item.id not in self.redriven)):
            self.found.other.append(f"item {item.id} counts as finished: jobs {completed}, {item.state}")
        if verdict == "not launched" and not is_failed:
            self.found.other.append(f"item {item.id} was not launched, and W&B does not know: {outcome}")
        is_trained = completed and all(job.script.calls_init for job in self.jobs(item))
        if is_trained and verdict in ("not launched", "failed"):
            self.found.other.append(f"item {item.id} was trained, and is {verdict}: {outcome['reason']}")

        if outcome["verdict"] in ("finished", "failed") and is_trained:
            self._check_run(item)

    def _check_run(self, item: RunQueueItem) -> None:
        """Check that a run in W&B has what its process logged, and the results of its training job."""
        names = [record["training_job_name"]["S"] for record in self.records(item.id) if "training_job_name" in record]
        job = self.training.jobs[names[-1]]
        if self._items_of_run[job.run] - {item.id} or job.run[0] == FORBIDDEN or job.name not in self.logged:
            return  # a hostile item has the run of another, or one that cannot be read
        run = self.run(*job.run)
        models = self._models_of[id(run)]
        has_model = job.shown["TrainingJobStatus"] == "Completed" and "ModelArtifacts" in job.shown
        logs_model = has_model and self._config.get("log_model_artifact", True)
        if logs_model and models != ["COMMITTED"]:
            self.found.other.append(f"the run of item {item.id} has the models {models}")
        if run.summary.get("loss") != 0.25 or run.summary.get("sagemaker/job_name") != job.name:
            self.found.other.append(f"the run of item {item.id} has the summary {run.summary}")

    def _check_deleted(self, stack: Stack) -> None:
        if set(self.stack_answers) != {"SUCCESS"}:
            self.found.other.append(f"the deletion of {stack.name} waits for an answer: {self.stack_answers}")
        agent = self.server.state.agents[stack.table.items[f"agent#{ENTITY}"]["launch_agent_id"]["S"]]
        if agent.agent_status != "KILLED":
            self.found.other.append(f"the launch agent of {stack.name}, which is deleted, is {agent.agent_status}")

    def _check_credentials(self) -> None:
        left = [key for key in self.objects if _FOLDER.match(key)]
        if left:
            self.found.secrets.append(f"{LEFT_TO_LIFECYCLE} {left}")

    def _check_stack(self, stack: Stack) -> None:
        for execution in stack.machine.running.values():
            self.found.leaked.append(f"execution {execution.name} runs, in state {execution.state}")
        for key, item in stack.table.items.items():
            kept = {"spec", "plan", "order", "task_token", "open", "credentials"} & item.keys()
            run = stack.table.items.get(key.removesuffix("#details"))
            if key.startswith("run#") and kept and (run is None or run["state"]["S"] != "open"):
                self.found.secrets.append(f"{key} has {sorted(kept)}, and the run is not open")
            self._look_for_secrets(item, f"the table's {key}")

    def verdicts(self) -> Counter[str]:
        outcomes = (self.outcome(item) for item in self.server.state.items.values())
        return Counter(outcome["verdict"] if outcome else "none" for outcome in outcomes)


def _spec(item: RunQueueItem) -> Mapping[str, Any]:
    return item.run_spec if isinstance(item.run_spec, dict) else {}


def _run_id(item: RunQueueItem) -> Any:
    return _spec(item).get("run_id")


class _WithoutAck(RunQueueItem):
    """An item whose acknowledgement W&B always refuses."""

    def ack(self, run_name: str) -> bool:
        raise WandbRefused(f"invalid run name {run_name[:20]}")


class Tasks:
    """The tasks that a stack's executions call."""

    def __init__(self, functions: Functions, builds: Builds) -> None:
        self._functions, self._builds = functions, builds

    def invoke(self, function: str, payload: dict[str, Any], done: Done) -> None:
        """Invoke a function by its logical id, `PlanRunFunction`."""
        words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in function)
        self._functions.invoke(words.removesuffix("_function").lstrip("_"), payload, done)

    def start_build(self, arguments: dict[str, Any], done: Done) -> str:
        return self._builds.start(arguments, done)

    def stop_build(self, build_id: str) -> None:
        self._builds.stop(build_id)


@contextmanager
def world(seed: int, faults: Faults, *, begins: float = _BEGINS, **different: Any) -> Iterator[World]:
    """Create a world in virtual time."""
    recursion_limit = sys.getrecursionlimit()  # functions and jsonata change it, and Hypothesis minds that
    with tempfile.TemporaryDirectory() as folder, Clock(seed, begins) as clock, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [folder, *sys.path])  # for launch-config.yaml
        patch.setattr(Clients, "pool", Pool())
        patch.setattr(secrets, "time", SimpleNamespace(monotonic=lambda: clock.now))
        random.seed(seed)  # botocore draws its delays from the process's generator
        made = World(clock, faults, folder=Path(folder), **different)
        patch.setattr(metrics, "print", made.measured, raising=False)
        try:
            with answered(made, made):
                yield made
        finally:
            sys.setrecursionlimit(recursion_limit)


def price_of(instance_type: str, dollars: str) -> dict[str, Any]:
    """Return a product of the AWS Price List: a training instance."""
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": dollars}}
    return {
        "product": {"attributes": {"usagetype": f"USE1-Train:{instance_type}", "instanceName": instance_type}},
        "terms": {"OnDemand": {"S.J": {"priceDimensions": {"S.J.6": dimension}}}},
    }


def queue_config() -> dict[str, Any]:
    """Return a queue's configuration for SageMaker."""
    config: dict[str, Any] = load("image-job", "run_spec.json")["resource_args"]["sagemaker"]
    return config


def _add_job(server: WandbServer) -> None:
    """Store a git job like the real client: an artifact with one file."""
    text = json.dumps(load("git-job", "wandb-job.json")).encode()
    project, state = server.state.project(ENTITY, "jobs"), server.state
    md5 = base64.b64encode(hashlib.md5(text, usedforsecurity=False).digest()).decode()
    collection = project.collections["git"] = Collection("collection", "git", project, "job")
    artifact = Artifact("artifact", collection, "digest", alias_names=["latest"])
    artifact.current_manifest = Manifest("manifest", artifact, "wandb_manifest.json", "digest")
    contents = {"wandb-job.json": {"digest": md5, "size": len(text)}}
    state.storage[content_path(project, md5)] = text
    state.storage[artifact.current_manifest.file.path] = json.dumps({"contents": contents}).encode()
    collection.versions.append(artifact)
    state.artifacts[artifact.id] = artifact
    artifact.commit()
