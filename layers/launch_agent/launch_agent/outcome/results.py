"""What a run in W&B shows of its training job: keys of its config from the beginning, keys of its summary at the end.

All of them begin with `sagemaker/`. docs/operations.md lists them.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from launch_agent.deployment import Deployment
from launch_agent.run_queue.items import RunSpec
from launch_agent.runs.record import RunRecord
from launch_agent.training.instances import Instances, Resources
from launch_agent.training.training_job import TrainingJob, Verdict
from launch_agent.training.usage import cost, seconds_of, spot_saving

if TYPE_CHECKING:
    from launch_agent.plan.launch_plan import LaunchPlan

PREFIX = "sagemaker/"
METRICS = "metrics/"
COST = f"{PREFIX}estimated_cost_usd"
RUN_STATES = {
    Verdict.FINISHED: "finished",
    Verdict.FAILED: "failed",
    Verdict.STOPPED: "killed",
    Verdict.NOT_LAUNCHED: "failed",
}
"""The state in W&B of a run that the launch agent writes, by its verdict."""
PENDING = "pending"
"""The state of a run that has not begun. W&B does not expect that its process sends anything."""


class Prices(NamedTuple):
    """The prices of an hour of instances in US dollars, by type, and the day on which AWS gave the oldest of them."""

    an_hour: Mapping[str, float] = {}
    day: str | None = None


def config_keys(deployment: Deployment, record: RunRecord, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of the config, from the request that is about to create a run's training job."""
    instances = Resources.model_validate(request["ResourceConfig"]).instances
    spot = bool(request.get("EnableManagedSpotTraining"))
    return _named(_identity(deployment, record, request["TrainingJobName"], instances, spot))


def summary_keys(deployment: Deployment, record: RunRecord, job: TrainingJob, prices: Prices) -> dict[str, Any]:
    """Return the keys of the summary, from a run's training job that has ended."""
    seconds = seconds_of(job, opened_at=record.opened_at)
    dollars = cost(job, prices.an_hour)
    return _named(
        {
            **_identity(deployment, record, job.name, job.resources.instances, job.is_spot),
            "status": job.status,
            "secondary_status": job.secondary_status or None,
            **{f"{name}_seconds": each for name, each in seconds.model_dump().items()},
            "spot_saving_percent": spot_saving(seconds) if job.is_spot else None,
            "estimated_cost_usd": dollars,
            "price_day": prices.day if dollars is not None else None,
            "failure_reason": (job.failure_reason or None) if job.verdict is Verdict.FAILED else None,
            "model_uri": (job.model.uri or None) if job.verdict is Verdict.FINISHED else None,
            **{f"{METRICS}{metric.name}": metric.value for metric in job.metrics},
        }
    )


def algorithm_config(spec: RunSpec, plan: "LaunchPlan") -> dict[str, Any]:
    """Return the config of a run that the launch agent writes, as its container does not call wandb.init.

    Its `launch_trace_id` is the run queue item, as in a run that the wandb SDK creates.
    """
    return {
        **plan.training_request.get("HyperParameters", {}),
        **(spec.overrides.run_config or {}),
        "_wandb": {"launch_trace_id": plan.item.id},
    }


def _identity(
    deployment: Deployment, record: RunRecord, name: str, instances: tuple[Instances, ...], spot: bool
) -> dict[str, Any]:
    execution = record.execution_arn
    return {
        "job_name": name,
        "job_arn": deployment.training_job_arn(name),
        "region": deployment.region,
        "job_url": deployment.training_job_page(name),
        "log_url": deployment.training_logs_page(name),
        "execution_url": deployment.execution_page(execution) if execution else None,
        "instance_type": ", ".join(dict.fromkeys(each.type for each in instances)) or None,
        "instance_count": sum(each.number for each in instances) or None,
        "spot": spot,
    }


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{PREFIX}{name}": value for name, value in values.items() if value is not None}
