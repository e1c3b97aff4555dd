"""SageMaker: training jobs that go through their states in virtual time, and report each change."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.clock import Clock
from tests.simulation.dynamodb import Refused

QUOTA = (
    "The account-level service limit 'ml.m5.large for training job usage' is {limit} Instances, with current "
    "utilization of {used} Instances and a request delta of 1 Instances. Please use AWS Service Quotas to request an "
    "increase for this quota."
)
TERMINAL = ("Completed", "Failed", "Stopped")
ITEM_TAG, STACK_TAG = "WandbRunQueueItemId", "LaunchStack"


@dataclass
class Script:
    """The course of a training job: how long its phases take, and how it ends."""

    pending: float = 30
    training: float = 120
    uploading: float = 10
    failure: str = ""
    """A FailureReason. SageMaker's own failures come before the container runs, others after."""
    given_up: bool = False
    """SageMaker itself stops the job before it starts."""
    interruptions: int = 0
    calls_init: bool = True
    obeys_stops: bool = False
    """Its process is interrupted as soon as its run is stopped in W&B, as with the wandb SDK."""


@dataclass
class Job:
    """A training job: DescribeTrainingJob's answer, and the simulation's own data."""

    request: dict[str, Any]
    shown: dict[str, Any]
    script: Script
    tags: dict[str, str]
    step: int = 0
    told: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.shown["TrainingJobName"])

    @property
    def item(self) -> str:
        """The id of its run queue item."""
        return self.tags.get(ITEM_TAG, "")

    @property
    def run(self) -> tuple[str, str, str]:
        """The entity, the project and the id of its run."""
        environment = self.request["Environment"]
        return environment["WANDB_ENTITY"], environment["WANDB_PROJECT"], environment["WANDB_RUN_ID"]

    @property
    def is_live(self) -> bool:
        """Whether the job has not ended."""
        return self.shown["TrainingJobStatus"] not in TERMINAL


class Training:
    """The account's training jobs, and the API for them."""

    def __init__(
        self,
        clock: Clock,
        *,
        quota: int,
        script: Callable[[dict[str, Any]], Script],
        created: Callable[[Job], None],
        changed: Callable[[Job], None],
        can_read: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Allow `quota` jobs at a time; call `created` and `changed` with jobs, and `script` for each job's course.

        `can_read` says whether a job can download anything from an address in S3.
        """
        self._clock, self.quota, self._script, self._can_read = clock, quota, script, can_read
        self._created, self._changed = created, changed
        self.jobs: dict[str, Job] = {}
        self.live: dict[str, Job] = {}
        self.of_others: dict[str, Job] = {}
        """Training jobs that were not created through this API; they do not change."""
        self.of_item: defaultdict[str, list[Job]] = defaultdict(list)
        self.refuses = ""
        """The error code for every CreateTrainingJob; empty for none."""

    # --- API
    def answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer one request. Raises Refused."""
        operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "CreateTrainingJob": self._create,
            "DescribeTrainingJob": lambda asked: self._find(asked).shown,
            "StopTrainingJob": self._stop,
            "Search": self._search,
            "ListTags": self._list_tags,
        }
        return operations[operation](asked)

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        if self.refuses:
            raise Refused(self.refuses, "Could not assume role: please ensure that it exists.")
        used = len(self.live)
        # The quota is checked first, even for a job that already exists.
        if used >= self.quota:
            raise Refused("ResourceLimitExceeded", QUOTA.format(limit=self.quota, used=used))
        name = asked["TrainingJobName"]
        if name in self.jobs or name in self.of_others:
            raise Refused("ResourceInUse", "Training job names must be unique within an AWS account and region.")
        job = self.made(asked, self._script(asked))
        self._created(job)
        return {"TrainingJobArn": job.shown["TrainingJobArn"]}

    def made(self, asked: dict[str, Any], script: Script) -> Job:
        """Create a training job, and start it."""
        name = asked["TrainingJobName"]
        shown: dict[str, Any] = {
            "TrainingJobName": name,
            "TrainingJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{name.lower()}",
            "CreationTime": self._clock.now,
            "SecondaryStatusTransitions": [],
            "ModelArtifacts": {"S3ModelArtifacts": f"s3://models/{name}/output/model.tar.gz"},
            **{key: asked[key] for key in ("RoleArn", "ResourceConfig", "EnableManagedSpotTraining") if key in asked},
        }
        tags = {tag["Key"]: tag["Value"] for tag in asked.get("Tags", [])}
        job = self.jobs[name] = self.live[name] = Job(asked, shown, script, tags)
        self.of_item[job.item].append(job)
        self.move(job, "InProgress", "Starting")
        self._next(job, script.pending / 2, self._downloads)
        return job

    def restore(self, request: dict[str, Any], shown: dict[str, Any]) -> None:
        """Continue a stored training job."""
        tags = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        name, script = shown["TrainingJobName"], self._script(request)
        job = self.jobs[name] = Job({**request, "TrainingJobName": name}, shown, script, tags)
        self.of_item[job.item].append(job)
        if job.is_live:
            self.live[name] = job
            goes_on = {"Starting": self._downloads, "Downloading": self._trains, "Training": self._uploads}
            self._next(job, script.training, goes_on[shown["SecondaryStatus"]])

    def _find(self, asked: Mapping[str, Any]) -> Job:
        return self._named(asked["TrainingJobName"])

    def _named(self, name: str) -> Job:
        job = self.jobs.get(name) or self.of_others.get(name)
        if job is None:
            raise Refused("ValidationException", "Requested resource not found.")
        return job

    def _stop(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        job = self._find(asked)
        if not job.is_live:
            status = job.shown["TrainingJobStatus"]
            raise Refused("ValidationException", f"The request was rejected: the training job is {status}.")
        if job.shown["TrainingJobStatus"] != "Stopping":
            self.move(job, "Stopping", "Stopping")
            self._next(job, 20, lambda job: self.end(job, "Stopped", "Stopped"))
        return {}

    def _list_tags(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        name = asked["ResourceArn"].rpartition("/")[2]
        job = self.jobs.get(name) or self.of_others.get(name)
        if job is None:
            raise Refused("ValidationException", "Resource does not exist.")
        return {"Tags": _tags(job)}

    def _search(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        status, stack = (each["Value"] for each in asked["SearchExpression"]["Filters"])
        found = [
            {"TrainingJob": job.shown | {"Tags": _tags(job)}}
            for job in self.live.values()
            if job.shown["TrainingJobStatus"] == status and job.tags.get(STACK_TAG) == stack
        ]
        start = int(asked.get("NextToken", 0))
        more = {"NextToken": str(start + 100)} if start + 100 < len(found) else {}
        return {"Results": found[start : start + 100], **more}

    def interrupt(self, job: Job) -> None:
        """Make the process in a job's container exit with 1, like an interrupted process."""
        if job.shown["SecondaryStatus"] == "Training":
            job.shown["FailureReason"] = "AlgorithmError: , exit code: 1"
            self._next(job, 2, lambda job: self.end(job, "Failed", "Failed"))

    # --- a job's life
    def _next(self, job: Job, seconds: float, happens: Callable[[Job], None]) -> None:
        """Call `happens` after a while, unless the job changes before."""
        job.step += 1
        step = job.step
        self._clock.after(seconds, lambda: happens(job) if job.step == step else None)

    def _downloads(self, job: Job) -> None:
        script = job.script
        channels = job.request.get("InputDataConfig", [])
        missing = [uri for each in channels if not self._can_read(uri := each["DataSource"]["S3DataSource"]["S3Uri"])]
        if missing:
            script.failure = f"ClientError: Data download failed:No S3 objects found under {missing[0]}"
        if script.failure.startswith(("CapacityError", "InternalServerError", "ClientError")):
            job.shown["FailureReason"] = script.failure
            self.end(job, "Failed", "Failed")
        elif script.given_up:
            self.end(job, "Stopped", "Stopped")
        elif script.interruptions:
            script.interruptions -= 1
            self.move(job, "InProgress", "Interrupted")
            self._next(job, script.pending, self._downloads)
        else:
            self.move(job, "InProgress", "Downloading")
            self._next(job, script.pending / 2, self._trains)

    def _trains(self, job: Job) -> None:
        job.shown["TrainingStartTime"] = self._clock.now
        self.move(job, "InProgress", "Training")
        self._next(job, job.script.training, self._uploads)

    def _uploads(self, job: Job) -> None:
        if job.script.failure:
            job.shown["FailureReason"] = job.script.failure
            self.end(job, "Failed", "Failed")
        else:
            self.move(job, "InProgress", "Uploading")
            self._next(job, job.script.uploading, lambda job: self.end(job, "Completed", "Completed"))

    def end(self, job: Job, status: str, secondary: str) -> None:
        """End a training job now."""
        started = job.shown.get("TrainingStartTime")
        job.shown["TrainingEndTime"] = self._clock.now
        job.shown["BillableTimeInSeconds"] = int(self._clock.now - started) if started else 0
        self.move(job, status, secondary)

    def move(self, job: Job, status: str, secondary: str) -> None:
        """Change a training job's status, and report the change."""
        now = self._clock.now
        transitions = [*job.shown["SecondaryStatusTransitions"], {"Status": secondary, "StartTime": now}]
        job.shown = job.shown | {
            "TrainingJobStatus": status,
            "SecondaryStatus": secondary,
            "LastModifiedTime": now,
            "SecondaryStatusTransitions": transitions,
        }
        if not job.is_live:
            self.live.pop(job.name, None)
        if secondary != "Starting" or len(transitions) > 1:
            self._changed(job)


def _tags(job: Job) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in job.tags.items()]
