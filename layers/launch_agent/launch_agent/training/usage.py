"""How long a training job took, and what it cost. Pure arithmetic on a training job's description.

Sources: BillableTimeInSeconds, TrainingStartTime and TrainingTimeInSeconds in
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from launch_agent.model import Model
from launch_agent.training.training_job import TrainingJob


class Seconds(Model):
    """How long the parts of a run took; None for one that has not happened."""

    queued: int | None = None
    """From the lease of the run queue item to the training job: planning, an image build, waiting for capacity."""
    starting: int | None = None
    """From the training job to its instances. SageMaker does not bill it."""
    training: int | None = None
    billable: int | None = None


def seconds_of(job: TrainingJob, *, opened_at: datetime) -> Seconds:
    """Return how long a run and its training job took."""
    ran = None
    if job.started_at and job.ended_at:
        ran = _whole(job.ended_at - job.started_at)
    return Seconds(
        queued=_whole(job.created_at - opened_at) if job.created_at else None,
        starting=_whole(job.started_at - job.created_at) if job.started_at and job.created_at else None,
        training=job.training_seconds if job.training_seconds is not None else ran,
        billable=job.billable_seconds,
    )


def spot_saving(seconds: Seconds) -> int | None:
    """Return how much less than all of its seconds are billed, in percent; None for a job that has not run."""
    if not seconds.training or seconds.billable is None:
        return None
    return max(0, round((1 - seconds.billable / seconds.training) * 100))


def cost(job: TrainingJob, prices: Mapping[str, float]) -> float | None:
    """Return the cost of a job's instances in US dollars; None if a price or the billable seconds are not known.

    `prices` are those of an hour by instance type. Volumes, storage and transfer are not included.
    """
    instances = job.resources.instances
    if job.billable_seconds is None or not instances or any(each.type not in prices for each in instances):
        return None
    an_hour = sum(prices[each.type] * each.number for each in instances)
    return round(an_hour * job.billable_seconds / 3600, 6)


def _whole(time: timedelta) -> int:
    return max(0, round(time.total_seconds()))
