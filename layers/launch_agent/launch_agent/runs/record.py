"""The record of a run: what this application knows of a run queue item between its pop and its outcome."""

import hashlib
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from launch_agent.model import Model
from launch_agent.run_queue.items import ItemRef, Slot
from launch_agent.runs.life import RunState

if TYPE_CHECKING:  # a poll needs no plan, and plans are half of what it would import
    from launch_agent.plan.launch_plan import LaunchPlan

_MAX_ID_IN_NAME = 75  # of the 80 characters that Step Functions takes; attempts have a number


class RunRecord(Model):
    """One run. It has nothing that is secret but the task token, and that while it is open."""

    item: ItemRef
    slot: Slot
    state: RunState
    attempt: int
    execution_name: str
    launch_agent_id: str
    launch_agent_name: str
    opened_at: datetime
    acked: bool = False
    entity: str | None = None
    project: str | None = None
    """Where the run is in W&B; known from the plan on."""
    awaits_build_of: str | None = None
    """The run queue item whose execution builds the image this run needs too."""
    training_job_name: str | None = None
    """The training job whose end answers the task token; there may be none of this name yet."""
    task_token: str | None = None
    jobs_without_capacity: frozenset[str] = frozenset()
    jobs_sagemaker_failed: frozenset[str] = frozenset()
    """Training jobs that came to nothing and were tried again, by the reason for it."""
    capacity_awaited_since: datetime | None = None
    warned: frozenset[str] = frozenset()
    """What the queue item has been warned of, in words that stay the same from one try to the next."""
    stop_requested_at: datetime | None = None
    """When we first saw that somebody stopped the run in W&B."""
    refusals: int = 0
    """How often it went back to W&B because W&B or AWS refused something for good."""
    refusal: str | None = None
    """What was refused for the last time."""
    redrives: int = 0
    """How often its execution had been redriven when it was launched for the last time."""
    outcome: dict[str, str] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the run holds a slot, and may go on."""
        return self.state is RunState.OPEN

    @property
    def is_unreported(self) -> bool:
        """Whether the run has no outcome yet; it may hold no slot any more."""
        return self.state in (RunState.OPEN, RunState.ENDED)

    @property
    def ended_jobs(self) -> frozenset[str]:
        """The training jobs that came to nothing."""
        return self.jobs_without_capacity | self.jobs_sagemaker_failed

    @property
    def awaits_job(self) -> bool:
        """Whether the execution waits for the training job named here; not where that one came to nothing."""
        return self.training_job_name is not None and self.training_job_name not in self.ended_jobs


class RunDetails(NamedTuple):
    """What of an open run can be long or secret. Closing the run deletes it."""

    spec: Any = None
    plan: "LaunchPlan | None" = None
    """None before the run is planned, and where an older version of the launch agent planned it otherwise."""


class AgentRecord(Model):
    """This launch agent, as registered with W&B, and how many slots its open runs hold."""

    entity: str
    launch_agent_id: str
    launch_agent_name: str
    config_fingerprint: str
    stop_polling: bool = False
    jobs_open: int = 0
    schedulers_open: int = 0
    changed_at: datetime | None = None
    """When a slot was taken or freed for the last time."""


def execution_name(item_id: str, attempt: int) -> str:
    """Name the execution of an item: the item's id, so that the console finds it, and a number from attempt 2 on.

    CloudWatch Logs gets nothing of an execution whose name has other characters than letters, digits, - and _
    (https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html). W&B's ids are base64, of
    which the padding can be left out. What is not is cut and replaced, with a hash that keeps two items apart.
    """
    name = item_id.rstrip("=")
    if len(name) > _MAX_ID_IN_NAME or len(item_id) % 4 or not re.fullmatch("[A-Za-z0-9]+={0,2}", item_id):
        name = f"{re.sub('[^A-Za-z0-9_-]', '-', name)[:50]}-{hashlib.sha256(item_id.encode()).hexdigest()[:16]}"
    return name if attempt == 1 else f"{name}-{attempt}"
