"""Shows a run's training job on the run in W&B. If W&B or AWS refuse a part of that, the run goes on without it."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from aws_lambda_powertools import Logger

from launch_agent.errors import LaunchError
from launch_agent.operations.metrics import spent
from launch_agent.outcome.judgement import SeenRun
from launch_agent.outcome.results import COST, PENDING, RUN_STATES, Prices, algorithm_config, config_keys, summary_keys
from launch_agent.run_queue.items import RunPath, parse_run_spec
from launch_agent.runs.record import RunDetails, RunRecord
from launch_agent.training.training_job import TrainingEnd, TrainingJob, Verdict
from launch_agent.training.usage import cost
from launch_agent.wiring import Clients

if TYPE_CHECKING:
    from launch_agent.plan.launch_plan import LaunchPlan

logger = Logger(child=True)

_RUN_OF_ANOTHER = (
    "Its metrics are not in W&B: the run {} existed before and was not changed. Queue the run with another run id."
)


class Finished(NamedTuple):
    """What came of writing the results of a training job."""

    note: str
    """Why an algorithm's run could not be written; empty in all other cases."""
    dollars: float | None
    """The estimated cost of the job; None if it is not known."""


class Results:
    """Writes what is known of training jobs into runs. Every call can be repeated."""

    def __init__(self, clients: Clients, refusals: tuple[type[LaunchError], ...] = ()) -> None:
        """`refusals` are the errors of W&B without which a run goes on."""
        self._clients, self._refusals = clients, refusals

    def begin(self, record: RunRecord, details: RunDetails, request: Mapping[str, Any]) -> None:
        """Create the run of an algorithm, which does not call wandb.init, before its training job."""
        plan = details.plan
        if plan is None or not plan.is_provided_algorithm:
            return
        try:
            seen = self._clients.wandb.seen_run(plan.entity, plan.project, plan.item.run_id)
            of_sweep = parse_run_spec(details.spec).sweep_id
            if not seen.has_begun and seen.may_be_written(record.item.id, of_sweep):
                self._write(record, details.spec, plan, state=PENDING, request=request)
        except LaunchError:
            logger.warning("the run is in W&B only when its training job has ended", exc_info=True)

    def finish(
        self, record: RunRecord, details: RunDetails, seen: SeenRun, *, end: TrainingEnd, job: TrainingJob | None
    ) -> Finished:
        """Write the results of a training job that has ended into its run."""
        keys = summary_keys(self._clients.env.deployment, record, job, self._prices(job)) if job else {}
        plan, note, is_written = details.plan, "", seen.belongs_to(record.item.id)
        path = RunPath(record.entity or "", record.project or "", record.item.run_id)
        if plan and plan.is_provided_algorithm:
            note = self._finish_algorithm(record, details, seen, end=end, keys=keys)
            is_written = not note and not seen.refusal
        elif keys and is_written:
            self._unless_refused(lambda: self._clients.wandb_runs.add_to_summary(path, keys))
        if job and is_written:
            self._log_model(path, job)
        return Finished(note, keys.get(COST))

    def _log_model(self, path: RunPath, job: TrainingJob) -> None:
        """Log the model of a completed training job as an artifact of its run, unless launch-config.yaml forbids it."""
        if job.verdict is Verdict.FINISHED and job.model.uri and self._clients.config.log_model_artifact:
            metadata = {"sagemaker/job_name": job.name, "sagemaker/job_arn": job.arn}
            self._unless_refused(lambda: self._clients.model_artifacts.log(path, job.model.uri, metadata))

    def _unless_refused(self, write: Callable[[], None]) -> None:
        try:
            write()
        except self._refusals:
            logger.exception("W&B refused results of the training job")

    def _prices(self, job: TrainingJob) -> Prices:
        """Return the prices of a job's instances; without a permission or a price, the run shows no cost."""
        types = {each.type for each in job.resources.instances}
        try:
            return self._clients.prices.of(types) if types and job.billable_seconds else Prices()
        except LaunchError:
            logger.warning("no price for the run", exc_info=True)
            return Prices()

    def finish_late(self, record: RunRecord, name: str) -> None:
        """Count and write the results of a training job that ends after its run was closed, if it has ended.

        An execution that is stopped does not wait for its job. What the job costs is counted once.
        """
        outcome = record.outcome or {}
        if not outcome or "billable_seconds" in outcome:
            return
        try:
            job = self._clients.sagemaker.describe(name)
            if job is None or job.verdict is None:
                return
            prices = self._prices(job)
            if self._clients.runs.job_counted(record.item.id, name):
                self._clients.metrics.put(spent(job.billable_seconds, cost(job, prices.an_hour)))
            if outcome.get("verdict") == Verdict.STOPPED:
                self._finish_stopped(record, job, prices)
        except LaunchError:
            logger.exception("the results of a training job that ended after its run are missing")

    def _finish_stopped(self, record: RunRecord, job: TrainingJob, prices: Prices) -> None:
        path = RunPath(record.entity or "", record.project or "", record.item.run_id)
        if self._clients.wandb.seen_run(path.entity, path.project, path.run_id).belongs_to(record.item.id):
            # SageMaker's reason may repeat the run's secrets, and which these were is no longer stored.
            job = job.model_copy(update={"failure_reason": ""})
            keys = summary_keys(self._clients.env.deployment, record, job, prices)
            self._clients.wandb_runs.add_to_summary(path, keys)

    def abandon(self, record: RunRecord, details: RunDetails, verdict: Verdict) -> None:
        """End the run of an algorithm whose launch failed after `begin`."""
        plan = details.plan
        if plan is None or not plan.is_provided_algorithm:
            return
        try:
            seen = self._clients.wandb.seen_run(plan.entity, plan.project, plan.item.run_id)
            if seen.belongs_to(plan.item.id):
                self._write(record, details.spec, plan, state=RUN_STATES[verdict])
        except self._refusals:
            logger.exception("W&B refused the end of the run")

    def _finish_algorithm(
        self, record: RunRecord, details: RunDetails, seen: SeenRun, *, end: TrainingEnd, keys: Mapping[str, Any]
    ) -> str:
        if details.plan is None or seen.refusal:
            return ""
        if not seen.may_be_written(record.item.id, parse_run_spec(details.spec).sweep_id):
            return _RUN_OF_ANOTHER.format(record.item.run_id)
        state, summary = RUN_STATES[end.verdict], {**end.metrics, **keys}
        try:
            self._write(record, details.spec, details.plan, state=state, summary=summary)
        except self._refusals as error:
            return f"Its metrics are not in W&B: {error}"
        return ""

    def _write(
        self,
        record: RunRecord,
        raw: Any,
        plan: "LaunchPlan",
        *,
        state: str,
        request: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the run of an algorithm. `request` is the one for its training job, if that is not the planned one."""
        spec = parse_run_spec(raw)
        asked = request or {
            **plan.training_request,
            "TrainingJobName": record.training_job_name or plan.training_job_name,
        }
        keys = config_keys(self._clients.env.deployment, record, asked)
        self._clients.wandb_runs.write(
            RunPath(spec.entity, spec.project, plan.item.run_id),
            state=state,
            name=spec.name,
            config={**keys, **algorithm_config(spec, plan)},
            summary=summary or {},
        )
