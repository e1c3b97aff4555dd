"""Others' resources in the same account and the same W&B: the application may look them up, and nothing else.

To find a training job's owner, the application must describe the job. It may not show the data of another's job, read
its log, or stop it.
"""

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

from local.wandb import WandbServer
from local.wandb.answers import Refused as WandbRefused
from local.wandb.queues import ItemState
from local.wandb.runs import Run
from local.wandb.state import Project
from tests.simulation.clock import Clock
from tests.simulation.dynamodb import Refused
from tests.simulation.training import STACK_TAG, Job, Script, Training

MARK = "payroll-of-another-team"
"""A text in all of the others' data."""

FINISHED_JOB, LIVE_JOB = "payroll-2026", "payroll-2027"
ENTITY, PROJECT, RUN = "others", "payments", "best-model"
FORBIDDEN = "forbidden"
"""An entity that W&B hides from the launch agent."""

Found = Callable[[str], None]


class Others:
    """Another team's training jobs with logs, and their run in W&B."""

    def __init__(
        self, clock: Clock, training: Training, server: WandbServer, stacks: Mapping[str, Any], found: Found
    ) -> None:
        """Add the others' resources to the world; call `found` with each violation."""
        self._training, self._server, self._stacks, self._found = training, server, stacks, found
        for name, status in ((FINISHED_JOB, "Completed"), (LIVE_JOB, "InProgress")):
            training.of_others[name] = _job(name, status, clock.now)
        server.state.entities[ENTITY] = copy.copy(server.state.team)
        server.state.entities[ENTITY].name = ENTITY
        project = server.state.project(ENTITY, PROJECT)
        self.run = project.runs_by_id[RUN] = Run(RUN, project, 1, display_name=MARK, stored_state="finished")
        self.run.config_values, self.run.summary = {"lr": {"value": 0.001}}, {"auc": 0.97}
        self._as_it_was = self._shown()
        find = server.state.find_project

        def find_project(entity: str | None, name: str | None) -> Project | None:
            if entity == FORBIDDEN:
                raise WandbRefused("permission denied", 403)
            return find(entity, name)

        server.state.find_project = find_project  # type: ignore[method-assign]  # only W&B knows these permissions

    def check(self) -> None:
        """Check that the others' resources are unchanged."""
        if self._shown() != self._as_it_was:
            self._found(f"the run {RUN} of others is {self._shown()}")
        if self._training.of_others[LIVE_JOB].shown["TrainingJobStatus"] != "InProgress":
            self._found(f"the training job {LIVE_JOB} of others was stopped")

    def check_call(self, service: str, operation: str, asked: Mapping[str, Any]) -> None:
        """Check a call to AWS."""
        if operation == "StopTrainingJob":
            self._check_job(asked["TrainingJobName"], "stopped")
        if operation == "CreateTrainingJob" and MARK in json.dumps(asked, default=str):
            self._found(f"a training job contains the others' data: {asked['TrainingJobName']}")
        if service == "cloudwatch-logs" and "TrainingJobs" in asked["logGroupName"]:
            stream = asked.get("logStreamName") or asked["logStreamNamePrefix"]
            self._check_job(stream.partition("/")[0], "read")

    def check_request(self, asked: Mapping[str, Any], agents: set[str]) -> None:
        """Check a GraphQL request to W&B from the stacks' launch agents."""
        if not any(word in asked["query"] for word in ("failRunQueueItem", "updateRunQueueItemWarning")):
            return
        for given in asked["variables"].values():
            item = self._server.state.items.get(given["runQueueItemId"])
            if item and item.state is ItemState.CLAIMED and item.launch_agent_id not in agents:
                self._found(f"item {item.id} of launch agent {item.launch_agent_id} was changed by another agent")

    def logs(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a request to CloudWatch Logs: every training job that ran has a log. Raises Refused."""
        if "TrainingJobs" not in asked["logGroupName"]:
            raise Refused("ResourceNotFoundException", "The specified log group does not exist.")
        if operation == "GetLogEvents":
            return {"events": [{"message": line} for line in self._lines(asked["logStreamName"].partition("/")[0])]}
        prefix = asked["logStreamNamePrefix"]
        jobs = [*self._training.jobs.values(), *self._training.of_others.values()]
        names = [f"{job.name}/algo-1-1" for job in jobs if "TrainingStartTime" in job.shown]
        return {"logStreams": [{"logStreamName": name} for name in names if name.startswith(prefix)]}

    def _lines(self, name: str) -> list[str]:
        return [MARK if name in (FINISHED_JOB, LIVE_JOB) else f"a line of {name}"]

    def _check_job(self, name: str, what: str) -> None:
        job = self._training.jobs.get(name)
        if job is None or job.tags.get(STACK_TAG) not in self._stacks:
            self._found(f"the training job {name}, which is not proven ours, is {what}")

    def _shown(self) -> dict[str, Any]:
        run = self.run
        shown = {"state": run.state, "config": run.config_values, "summary": run.summary, "name": run.display_name}
        return copy.deepcopy(shown | {"stopped": run.stopped, "files": list(run.files_by_name), "notes": run.notes})


def _job(name: str, status: str, now: float) -> Job:
    shown = {
        "TrainingJobName": name,
        "TrainingJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{name}",
        "TrainingJobStatus": status,
        "SecondaryStatus": status if status != "InProgress" else "Training",
        "FailureReason": f"AlgorithmError: {MARK}",
        "RoleArn": f"arn:aws:iam::123456789012:role/{MARK}",
        "ModelArtifacts": {"S3ModelArtifacts": f"s3://{MARK}/model.tar.gz"},
        "FinalMetricDataList": [{"MetricName": MARK, "Value": 1.0, "Timestamp": now}],
        "CreationTime": now - 100,
        "TrainingStartTime": now - 90,
        "LastModifiedTime": now - 10,
        "SecondaryStatusTransitions": [{"Status": "Starting", "StartTime": now - 100, "StatusMessage": MARK}],
        **({"TrainingEndTime": now - 10, "BillableTimeInSeconds": 80} if status == "Completed" else {}),
    }
    return Job({"TrainingJobName": name, "Environment": {}}, shown, Script(), {"Team": MARK})
