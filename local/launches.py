"""What the page of the local W&B server shows of the embedded AWS: executions, and training jobs with their logs.

The embedded AWS refuses browsers, so this process asks it with the owner's key, and shows the answers without secrets.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.stack import Deployed

_TRAINING_LOGS = "/aws/sagemaker/TrainingJobs"
_LINES = 1_000
_STOPPED = "The run was stopped on the page of the local W&B server."


class Launches:
    """The executions and training jobs of a deployed stack, as JSON."""

    def __init__(self, deployed: Deployed) -> None:
        """Show this stack; nothing is sent yet."""
        self._states = deployed.cloud.client("stepfunctions")
        self._sagemaker = deployed.cloud.client("sagemaker")
        self._logs = deployed.cloud.client("logs")
        self._machine = deployed.outputs["StateMachineArn"]
        self._item_of: dict[str, str] = {}
        """The queue item of each execution and training job, by ARN; neither changes."""

    def of_item(self, item_id: str) -> dict[str, Any] | None:
        """Return the names and states of an item's executions and training jobs, newest first; None if it has none."""
        executions = [{"name": each["name"], "state": each["status"]} for each in self._executions(item_id)]
        return {"executions": executions, "jobs": self._jobs_of(item_id)} if executions else None

    def execution(self, name: str) -> dict[str, Any] | None:
        """Return an execution with its steps; None if it does not exist."""
        arn = f"{self._machine.replace(':stateMachine:', ':execution:')}:{name}"
        try:
            found = self._states.describe_execution(executionArn=arn)
            pages = self._states.get_paginator("get_execution_history").paginate(executionArn=arn)
            events = [event for page in pages for event in page["events"]]
        except (ClientError, BotoCoreError):
            return None
        item_id = _item_in(found.get("input", ""))
        return {
            "name": name,
            "arn": arn,
            "state": found["status"],
            "started": _time(found["startDate"]),
            "ended": _time(found.get("stopDate")),
            "item": item_id,
            "steps": list(_steps(events)),
            "jobs": self._jobs_of(item_id),
            "texts": [
                (title, _pretty(found[key]))
                for title, key in (("Error", "error"), ("Cause", "cause"), ("Input", "input"), ("Output", "output"))
                if found.get(key)
            ],
        }

    def training_job(self, name: str) -> dict[str, Any] | None:
        """Return a training job with the end of its log; None if it does not exist.

        Of its environment and its hyperparameters, only the names are shown: the values may be secret.
        """
        try:
            job = self._sagemaker.describe_training_job(TrainingJobName=name)
        except (ClientError, BotoCoreError):
            return None
        resources, image = job.get("ResourceConfig", {}), job.get("AlgorithmSpecification", {})
        facts = {
            "ARN": job["TrainingJobArn"],
            "Instance": f"{resources.get('InstanceCount', '')} x {resources.get('InstanceType', '')}",
            "Image": image.get("TrainingImage") or image.get("AlgorithmName"),
            "Billable seconds": job.get("BillableTimeInSeconds"),
            "Failure reason": job.get("FailureReason"),
            "Model": job.get("ModelArtifacts", {}).get("S3ModelArtifacts"),
            "Environment": ", ".join(sorted(job.get("Environment", {}))),
            "Hyperparameters": ", ".join(sorted(job.get("HyperParameters", {}))),
        }
        return {
            "name": name,
            "state": job["TrainingJobStatus"],
            "started": _time(job["CreationTime"]),
            "ended": _time(job.get("TrainingEndTime")),
            "item": job.get("Environment", {}).get("WANDB_LAUNCH_TRACE_ID", ""),
            "steps": [
                {"name": each["Status"], "started": _time(each["StartTime"]), "ended": _time(each.get("EndTime"))}
                for each in job.get("SecondaryStatusTransitions", [])
            ],
            "facts": [(title, str(value)) for title, value in facts.items() if value not in (None, "")],
            "log": self._log(name),
        }

    def stop(self, item_id: str) -> bool:
        """Stop an item's running execution, as in the Step Functions console; return whether there was one."""
        running = [each["executionArn"] for each in self._executions(item_id) if each["status"] == "RUNNING"]
        for arn in running:
            self._states.stop_execution(executionArn=arn, error="Stopped", cause=_STOPPED)
        return bool(running)

    def _executions(self, item_id: str) -> list[dict[str, Any]]:
        try:
            pages = self._states.get_paginator("list_executions").paginate(stateMachineArn=self._machine)
            listed = [each for page in pages for each in page["executions"]]
            for arn in (each["executionArn"] for each in listed if each["executionArn"] not in self._item_of):
                self._item_of[arn] = _item_in(self._states.describe_execution(executionArn=arn).get("input", ""))
        except (ClientError, BotoCoreError):
            return []
        found = [each for each in listed if self._item_of[each["executionArn"]] == item_id]
        return sorted(found, key=lambda each: each["startDate"], reverse=True)

    def _jobs_of(self, item_id: str) -> list[dict[str, str]]:
        try:
            pages = self._sagemaker.get_paginator("list_training_jobs").paginate()
            listed = [each for page in pages for each in page["TrainingJobSummaries"]]
            for job in (each for each in listed if each["TrainingJobArn"] not in self._item_of):
                described = self._sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"])
                of = described.get("Environment", {}).get("WANDB_LAUNCH_TRACE_ID", "")
                self._item_of[job["TrainingJobArn"]] = of
        except (ClientError, BotoCoreError):
            return []
        return [
            {"name": job["TrainingJobName"], "state": job["TrainingJobStatus"]}
            for job in listed
            if item_id and self._item_of[job["TrainingJobArn"]] == item_id
        ]

    def _log(self, job: str) -> dict[str, Any]:
        """Return the end of the log of a training job's containers."""
        lines: list[str] = []
        try:
            streams = self._logs.describe_log_streams(logGroupName=_TRAINING_LOGS, logStreamNamePrefix=f"{job}/")
            for stream in streams["logStreams"]:
                where = {"logGroupName": _TRAINING_LOGS, "logStreamName": stream["logStreamName"]}
                lines += [each["message"] for each in self._logs.get_log_events(**where, startFromHead=True)["events"]]
        except (ClientError, BotoCoreError):
            return {"first": 0, "lines": []}
        return {"first": max(0, len(lines) - _LINES), "lines": lines[-_LINES:]}


def _steps(events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the states that were entered, in order, and when each was entered and left."""
    left: dict[str, list[datetime]] = {}
    for event in events:
        if exited := event.get("stateExitedEventDetails"):
            left.setdefault(exited["name"], []).append(event["timestamp"])
    for event in events:
        if entered := event.get("stateEnteredEventDetails"):
            ends = left.get(entered["name"], [])
            ended = ends.pop(0) if ends else None
            yield {"name": entered["name"], "started": _time(event["timestamp"]), "ended": _time(ended)}


def _item_in(text: str) -> str:
    """Return the queue item in the input of an execution; empty for an execution of another form."""
    try:
        return str(json.loads(text)["run_queue_item_id"])
    except (ValueError, TypeError, KeyError):
        return ""


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=1, ensure_ascii=False)
    except ValueError:
        return text


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
