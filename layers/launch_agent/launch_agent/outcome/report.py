"""What a queue item shows in W&B: its messages and error.log."""

import re
from collections.abc import Iterable

from launch_agent.deployment import Deployment
from launch_agent.safe_text import MAX_TEXT, safe

LOG_FILE = "error.log"
_SLOT = "waiting for a slot"


def message(reason: str) -> str:
    """Return a reason without secrets, cut to fit on a queue item. error.log has all of it."""
    rest = f"... ({LOG_FILE} has the rest)"
    text = safe(reason, limit=len(reason) + MAX_TEXT)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - len(rest)]}{rest}"


def links(deployment: Deployment, *, execution_arn: str, training_job_name: str | None) -> list[str]:
    """Return lines with links to the AWS console."""
    lines = [f"Execution:    {deployment.execution_page(execution_arn)}"]
    if training_job_name:
        lines.append(f"Training job: {deployment.training_job_page(training_job_name)}")
        lines.append(f"Its log:      {deployment.training_logs_page(training_job_name)}")
    return lines


def error_log(reason: str, where: Iterable[str], log_tails: Iterable[tuple[str, list[str]]]) -> str:
    """Return error.log: the reason, the lines of `where`, and the last lines of each log, by its name."""
    lines = [reason, "", *where]
    for stream, tail in log_tails:
        lines += ["", f"--- the last {len(tail)} lines of {stream}", *tail]
    return "\n".join(lines) + "\n"


def interruption_warning() -> str:
    """Return the warning for a job whose spot instance was interrupted."""
    return (
        "The spot instance was interrupted. SageMaker starts the training job again when it has another one. The run "
        "then continues, from its last checkpoint if the job writes checkpoints."
    )


def slot_warning(limit: int, key: str = "max_jobs", of: str = "") -> str:
    """Return what an item waits for while all slots of a limit in launch-config.yaml are in use. `of` says which."""
    return f"{_SLOT}: {limit} of {limit} slots{of} in use. {key} in launch-config.yaml is their number."


BUILDING = "building the image of the job. AWS CodeBuild has the log; the execution links to it."
AWAITING_BUILD = "waiting for the image of the job, which another run is building."


def waited_for(name: str) -> str:
    """Return what follows the wait of a run: its training job."""
    return f"The training job {name} has its instances."


def capacity_warning(words: str) -> str:
    """Return what a launch waits for, in the same words at every try. `words` is SageMaker's message or our own."""
    if words.startswith(_SLOT):
        return words
    quota = re.search(r"'([^']+ usage)'", words)
    if quota:
        return f"waiting for quota: {quota[1]}. Request a higher quota in the Service Quotas console."
    return f"waiting for capacity: {re.sub(r'(?<![0-9])[0-9]+ ', '', words)}"


def retry_warning(name: str) -> str:
    """Return the warning for a training job that another one follows."""
    return f"SageMaker itself failed while it ran the training job {name}. Another training job continues the run."
