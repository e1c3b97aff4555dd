"""Reads an execution's history: its state, how it ended, how long each step took, and what that cost."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from launch_agent.outcome.judgement import Failure

Events = Sequence[Mapping[str, Any]]

_ENDS = ("ExecutionSucceeded", "ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut")
PRICES_OF = "May 2026"
_BUILD_MINUTE = {"BUILD_GENERAL1_SMALL": 0.005, "BUILD_GENERAL1_MEDIUM": 0.01, "BUILD_GENERAL1_LARGE": 0.02}
_INSTANCE_HOUR = {"ml.m5.large": 0.115}
"""Dollars, in us-east-1: https://aws.amazon.com/codebuild/pricing and https://aws.amazon.com/sagemaker/ai/pricing"""
_FAILED = "Report failure"


class Step(NamedTuple):
    """A task state, and how long it took."""

    name: str
    seconds: float


def steps(events: Events) -> list[Step]:
    """Return the steps that started, in order. A step without an end counts until the last event."""
    left = {each["stateExitedEventDetails"]["name"]: each for each in events if "stateExitedEventDetails" in each}
    found = []
    for each in (each for each in events if each["type"] == "TaskStateEntered"):
        name = each["stateEnteredEventDetails"]["name"]
        ended = left.get(name, events[-1])["timestamp"]
        found.append(Step(name, (ended - each["timestamp"]).total_seconds()))
    return found


def state(events: Events) -> str:
    """Return the last entered state; empty before the first."""
    names = [each["stateEnteredEventDetails"]["name"] for each in events if "stateEnteredEventDetails" in each]
    return names[-1] if names else ""


def failure(events: Events) -> Failure | None:
    """Return why the last attempt of the current state failed; None if none has failed."""
    for event in reversed(events):
        if "stateEnteredEventDetails" in event:
            break
        if event["type"] == "TaskFailed":
            return _failure(event["taskFailedEventDetails"], "")
    return None


def _failure(details: Mapping[str, Any], otherwise: str) -> Failure:
    return Failure(error=details.get("error", otherwise), cause=details.get("cause", ""), stage="agent")


def training_job(events: Events) -> str:
    """Return the name of the last submitted training job; empty if none was submitted."""
    submitted = [each["taskSubmittedEventDetails"] for each in events if "taskSubmittedEventDetails" in each]
    answers = [json.loads(each["output"])["Payload"] or {} for each in submitted if each["resourceType"] == "lambda"]
    names = [str(each["training_job_name"]) for each in answers if "training_job_name" in each]
    return names[-1] if names else ""


def has_ended(events: Events) -> bool:
    """Return whether the execution has ended."""
    return bool(events) and events[-1]["type"] in _ENDS


def fault(events: Events) -> str:
    """Return why an ended execution did not run the job successfully; empty if it did."""
    if state(events) == "Item is not ours":
        return "Another launch agent took the item from the run queue. Stop it, or give this stack a queue of its own."
    last = events[-1]
    if last["type"] != "ExecutionSucceeded":
        details: Any = next((value for name, value in last.items() if name.startswith("execution")), {})
        return f"{_failed_step(events)} failed: {_failure(details, last['type']).reason}"
    outcome = json.loads(last["executionSucceededEventDetails"]["output"])
    return "" if outcome["verdict"] == "finished" else f"The run {outcome['verdict']}: {outcome['reason']}"


def _failed_step(events: Events) -> str:
    """Return the step before the failure was reported or, if no failure was reported, the last step."""
    names = [step.name for step in steps(events)]
    done = names[: names.index(_FAILED)] if _FAILED in names else names
    return done[-1] if done else "The execution"


def cost(step: Step, compute_type: str, job: Mapping[str, Any]) -> tuple[float, str]:
    """Estimate what a step cost in dollars, and return for what; NaN if the price is not known.

    `job` is SageMaker's description of the training job. Functions and the state machine cost next to nothing.
    """
    if step.name == "Build image":
        minutes = math.ceil(step.seconds / 60)
        return minutes * _BUILD_MINUTE[compute_type], f"{minutes} min of {compute_type}"
    if step.name == "Train" and job:
        instances, seconds = job["ResourceConfig"], job.get("BillableTimeInSeconds", 0)
        kind, count = instances.get("InstanceType", "instance groups"), instances.get("InstanceCount", 1)
        return seconds * count * _INSTANCE_HOUR.get(kind, math.nan) / 3600, f"{seconds} billable s of {kind}"
    return 0.0, ""
