"""The runs of a stack, as its executions and training jobs show them: on AWS, and on the embedded AWS."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from launch_agent.outcome.judgement import Failure
from operate.verify.history import failure, state, training_job

_PHASES = {
    "": "planning",
    "Plan run": "planning",
    "Image ready?": "planning",
    "Build image": "building the image",
    "Train": "starting",
    "Run sweep": "queueing runs",
}
_WAITS = {"CapacityUnavailable": "waiting for capacity", "ImageBeingBuilt": "waiting for the image"}
_ENDED = ("Completed", "Failed", "Stopped")
_LAST_EVENTS = 100


class WatchedRun(NamedTuple):
    """One run: where it is, and what is known of it."""

    execution: str
    """The ARN of its execution."""
    item_id: str
    run_id: str
    name: str
    began: datetime
    ended: datetime | None
    phase: str
    """What happens now; of an ended run, its verdict."""
    reason: str = ""
    url: str = ""
    image: str = ""
    training_job: str = ""
    instance: str = ""

    def seconds(self, now: datetime) -> float:
        """Return how long the run has taken so far."""
        return ((self.ended or now) - self.began).total_seconds()


class Runs:
    """The runs of one state machine. Ended ones are asked for once. Every method can raise botocore's errors."""

    def __init__(self, client: Callable[[str], Any], state_machine_arn: str) -> None:
        """`client` returns the AWS client of a service."""
        self._states, self._sagemaker = client("stepfunctions"), client("sagemaker")
        self._state_machine_arn = state_machine_arn
        self._ended: dict[str, WatchedRun] = {}

    def newest(self, most: int) -> list[WatchedRun]:
        """Return the newest runs, the oldest of them first."""
        listed = self._states.list_executions(stateMachineArn=self._state_machine_arn, maxResults=most)["executions"]
        return [self._look(each["executionArn"]) for each in reversed(listed)]

    def _look(self, arn: str) -> WatchedRun:
        if arn not in self._ended:
            found = self._of(self._states.describe_execution(executionArn=arn))
            if not found.ended:
                return found
            self._ended[arn] = found
        return self._ended[arn]

    def _of(self, execution: Mapping[str, Any]) -> WatchedRun:
        arn, asked = execution["executionArn"], json.loads(execution.get("input") or "{}")
        newest = self._states.get_execution_history(executionArn=arn, reverseOrder=True, maxResults=_LAST_EVENTS)
        events = newest["events"][::-1]
        plan, name = _plan(events), training_job(events)
        job = self._sagemaker.describe_training_job(TrainingJobName=name) if name else {}
        run_id = asked.get("run_id", "")
        return WatchedRun(
            execution=arn,
            item_id=asked.get("run_queue_item_id", arn.rpartition(":")[2]),
            run_id=run_id,
            name=asked.get("run_name") or run_id,
            began=execution["startDate"],
            ended=execution.get("stopDate"),
            url=asked.get("run_url") or plan.get("run_url", ""),
            image=plan.get("image", ""),
            training_job=name,
            instance=_instance(job),
            **_where(execution, events, job),
        )


def _plan(events: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the output of the last "Plan run" that succeeded."""
    exits = [event["stateExitedEventDetails"] for event in events if "stateExitedEventDetails" in event]
    outputs = [json.loads(each["output"]) for each in exits if each["name"] == "Plan run"]
    return outputs[-1] if outputs and isinstance(outputs[-1], dict) else {}


def _where(execution: Mapping[str, Any], events: Sequence[Mapping[str, Any]], job: Mapping[str, Any]) -> dict[str, str]:
    """Return the phase and the reason of a run."""
    if execution["status"] == "RUNNING":
        why = failure(events)
        now = _PHASES.get(state(events), "reporting")
        if why:
            return {"phase": _WAITS.get(why.error, f"{now}, again"), "reason": why.reason}
        if state(events) == "Train" and job:
            has_ended = job.get("TrainingJobStatus") in _ENDED
            return {"phase": "reporting" if has_ended else job["SecondaryStatus"].lower()}
        return {"phase": now}
    outcome = json.loads(execution.get("output") or "{}")
    if "verdict" in outcome:
        return {"phase": outcome["verdict"], "reason": outcome["reason"]}
    if execution["status"] == "SUCCEEDED":
        return {"phase": "taken by another launch agent"}
    cause = execution.get("cause", "")
    if execution["status"] == "ABORTED":
        return {"phase": "stopped", "reason": Failure.of_stop(cause).reason}
    why = Failure(error=execution.get("error", ""), cause=cause, stage="agent")
    return {"phase": "not launched", "reason": why.reason}


def _instance(job: Mapping[str, Any]) -> str:
    resources = job.get("ResourceConfig", {})
    count, kind = resources.get("InstanceCount", 1), resources.get("InstanceType", "")
    spot = " spot" if job.get("EnableManagedSpotTraining") else ""
    return f"{count} x {kind}{spot}" if kind and count > 1 else f"{kind}{spot}"
