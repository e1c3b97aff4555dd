"""The record of a run: what this application stores about a run queue item from its lease to its outcome."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from launch_agent.model import Model
from launch_agent.run_queue.items import ItemRef, RunPath, Slot
from launch_agent.runs.life import RunState

if TYPE_CHECKING:  # a poll needs no plan, and plans are half of what it would import
    from launch_agent.plan.launch_plan import LaunchPlan
    from launch_agent.sweeps.order import Order


class RunRecord(Model):
    """One run. Its only secret is the task token, which it has only while it is open."""

    item: ItemRef
    slot: Slot
    state: RunState
    attempt: int
    execution_name: str
    execution_arn: str | None = None  # None in version 0.1.0. Delete with tests/upgrade/0.1.0.
    launch_agent_id: str
    launch_agent_name: str
    opened_at: datetime
    acked: bool = False
    entity: str | None = None
    project: str | None = None
    """Where the run is in W&B; None until it is planned."""
    awaits_build_of: str | None = None
    """The run queue item whose execution builds the image that this run waits for."""
    training_job_name: str | None = None
    """The training job whose end answers the task token. The job may not exist yet."""
    task_token: str | None = None
    credentials: str | None = None
    """The folder of the credentials bucket with what the container gets. It may not have been stored yet."""
    jobs_without_capacity: frozenset[str] = frozenset()
    jobs_sagemaker_failed: frozenset[str] = frozenset()
    """Training jobs that failed and were tried again, by the reason for the retry."""
    capacity_awaited_since: datetime | None = None
    warned: frozenset[str] = frozenset()
    """The warnings that are on the queue item. The same warning has the same text at every try."""
    waits_for: str | None = None
    """What the queue item says that the run waits for."""
    stop_requested_at: datetime | None = None
    """When a poll first saw that someone stopped the run in W&B."""
    never_begun: bool = False
    """Whether a report has said that the run never appeared in W&B. Such a report may give the run a state there."""
    refusals: int = 0
    """How often the item went back to its queue because W&B or AWS refused a request for good."""
    refusal: str | None = None
    """The last refusal."""
    redrives: int = 0
    """How often its execution had been redriven when the run was last launched."""
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
        """The training jobs that failed and were followed by another try."""
        return self.jobs_without_capacity | self.jobs_sagemaker_failed

    @property
    def awaits_job(self) -> bool:
        """Whether the execution waits for the training job in `training_job_name`, and that job has not failed."""
        return self.training_job_name is not None and self.training_job_name not in self.ended_jobs


class PlannedRun(NamedTuple):
    """What a poll needs to know of an open run that is planned."""

    item_id: str
    path: RunPath
    stop_requested_at: datetime | None


class RunDetails(NamedTuple):
    """The data of an open run that can be long or secret. Closing the run deletes it."""

    spec: Any = None
    plan: "LaunchPlan | None" = None
    """None before the run is planned, and for a plan of an older version that this version cannot read."""
    order: "Order | None" = None
    """What a sweep's scheduler is asked to do; None for any other run, and before it is planned."""


class AgentRecord(Model):
    """This launch agent as registered with W&B, and the number of slots in use."""

    entity: str
    launch_agent_id: str
    launch_agent_name: str
    config_fingerprint: str
    stop_polling: bool = False
    jobs_open: int = 0
    schedulers_open: int = 0
    changed_at: datetime | None = None
    """When a slot was last taken or freed."""
    draining_until: int = 0
    """Until when, in seconds since the epoch, a poll that may still run leases whatever the queues have."""
    told_limits: dict[str, frozenset[str]] = Field(default_factory=dict)
    """By the key of a limit, the items in the queues that say that they wait because of it."""
    told_schedulers: frozenset[str] = frozenset()
    """The items of sweep schedulers that say that they wait for a slot."""
