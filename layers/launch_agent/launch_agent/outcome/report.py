"""What a user finds in W&B: error.log beside a queue item, and the run of an algorithm that cannot log itself."""

import json
import re
from collections.abc import Iterable
from typing import Any

from launch_agent.deployment import Deployment
from launch_agent.plan.launch_plan import LaunchPlan
from launch_agent.run_queue.items import RunSpec
from launch_agent.safe_text import MAX_TEXT, safe
from launch_agent.training.training_job import TrainingEnd, Verdict

LOG_FILE = "error.log"
_RUN_STATES = {Verdict.FINISHED: "finished", Verdict.FAILED: "failed", Verdict.STOPPED: "killed"}


def message(reason: str) -> str:
    """Make a reason safe, and cut it to a length that fits on a queue item; all of it is in error.log."""
    rest = f"... ({LOG_FILE} has the rest)"
    text = safe(reason, limit=len(reason) + MAX_TEXT)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - len(rest)]}{rest}"


def links(deployment: Deployment, *, execution_arn: str, training_job_name: str | None) -> list[str]:
    """Say where in the AWS console to look."""
    lines = [f"Execution:    {deployment.execution_page(execution_arn)}"]
    if training_job_name:
        lines.append(f"Training job: {deployment.training_job_page(training_job_name)}")
        lines.append(f"Its log:      {deployment.training_logs_page(training_job_name)}")
    return lines


def error_log(reason: str, where: Iterable[str], log_tails: Iterable[tuple[str, list[str]]]) -> str:
    """Write error.log: the reason, where to look, and the last lines that each host of the training job wrote."""
    lines = [reason, "", *where]
    for stream, tail in log_tails:
        lines += ["", f"--- the last {len(tail)} lines of {stream}", *tail]
    return "\n".join(lines) + "\n"


def interruption_warning() -> str:
    """Say what happens to a job whose spot instance is taken away."""
    return (
        "The spot instance was taken away. SageMaker starts the training job again when there is another one; the run "
        "goes on, from its last checkpoint if the job writes any."
    )


def capacity_warning(words: str) -> str:
    """Say what a launch waits for, in words that are the same at every try; `words` are SageMaker's."""
    quota = re.search(r"'([^']+ for [^']+ usage)'", words)
    if quota:
        return f"waiting for quota: {quota[1]}. A higher one can be asked for in the Service Quotas console."
    return f"waiting for capacity: {re.sub(r'[0-9]+ ', '', words)}"


def retry_warning(name: str) -> str:
    """Say that a training job is followed by another one."""
    return f"SageMaker itself failed while it ran the training job {name}. Another training job goes on with the run."


def algorithm_run(spec: RunSpec, plan: LaunchPlan, end: TrainingEnd) -> dict[str, Any]:
    """Describe the run of one of SageMaker's own algorithms, which cannot log to W&B, as an UpsertBucketInput.

    `launch_trace_id` says whose run it is, as it does where the wandb SDK makes the run.
    """
    config = {
        **plan.training_request.get("HyperParameters", {}),
        **(spec.overrides.run_config or {}),
        "_wandb": {"launch_trace_id": plan.item.id},
    }
    return {
        "name": plan.item.run_id,
        "entityName": spec.entity,
        "modelName": spec.project,
        "displayName": spec.name,
        "state": _RUN_STATES[end.verdict],
        "config": json.dumps({key: {"value": value} for key, value in config.items()}),
        "summaryMetrics": json.dumps(end.metrics),
    }
