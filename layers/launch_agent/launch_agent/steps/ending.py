"""Ends a run: leaves nothing behind in AWS, frees its slot, reports to W&B how it ended, and then closes it.

An execution does this at its end, and a sweep does it for an execution that could not. A repeated call changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from aws_lambda_powertools import Logger

from launch_agent.clients.executions import Execution
from launch_agent.errors import (
    AwsRefused,
    ImageBuildFailed,
    LaunchError,
    Transient,
    WandbKeyRejected,
    WandbRefused,
)
from launch_agent.image.build_failure import Build, build_id_in, explain, explain_without_build
from launch_agent.operations.metrics import BY_VERDICT, Metric, spent
from launch_agent.outcome.events import run_ended
from launch_agent.outcome.judgement import Failure, OnItem, SeenRun, judge, on_item_of_a_stop
from launch_agent.outcome.log_lines import headline, plain
from launch_agent.outcome.report import LOG_FILE, error_log, links, message
from launch_agent.run_queue.items import ItemRef
from launch_agent.runs.execution import execution_output
from launch_agent.runs.record import RunDetails, RunRecord
from launch_agent.steps.announcing import announce
from launch_agent.steps.ending_sweeps import end_failed_sweep, end_pending_run
from launch_agent.steps.results import Results
from launch_agent.sweeps.record import SweepEnd
from launch_agent.training.training_job import TrainingEnd, TrainingJob, Verdict
from launch_agent.wiring import Clients

logger = Logger(child=True)

Found = TypeVar("Found")
Tails = list[tuple[str, list[str]]]
Words = Callable[[str, Tails], str]
_PASSING = {kind.__name__ for kind in Transient.__subclasses__()}
_NOT_OPEN = "The run is not open here."


def _reason_alone(reason: str, _: Tails) -> str:
    return reason


class _Run(NamedTuple):
    """The run to end."""

    record: RunRecord
    details: RunDetails
    execution_arn: str

    @property
    def item(self) -> ItemRef:
        return self.record.item


class Ending:
    """Ends runs. Every method may raise AwsThrottled, WandbUnavailable and WandbKeyRejected, and can be repeated.

    A run ends even if AWS or W&B refuse a request. Only the table of runs has to be readable and writable.
    """

    def __init__(self, clients: Clients, *, without_key: bool = False) -> None:
        """With `without_key`, a run ends without a report to W&B if W&B rejects the API key."""
        self._clients, self._wandb, self._runs = clients, clients.wandb, clients.runs
        self._refusals: tuple[type[LaunchError], ...] = (WandbRefused, *([WandbKeyRejected] if without_key else []))
        self._results = Results(clients, self._refusals)

    def end(
        self, item_id: str, *, execution_arn: str, training: TrainingEnd | None = None, failure: Failure | None = None
    ) -> dict[str, Any]:
        """Report how a run ended, from its training job or a failure. Close it, and return the output of the execution.

        Raises RunNotSeen while the run of an ended training job may still appear in W&B.
        """
        record = self._runs.get(item_id)
        if record is None:
            return _outcome(Verdict.NOT_LAUNCHED, _NOT_OPEN)
        outcome = self._end(record, execution_arn, training, failure)
        return execution_output(record, outcome, self._clients.env.deployment)

    def _end(
        self, record: RunRecord, execution_arn: str, training: TrainingEnd | None, failure: Failure | None
    ) -> dict[str, str]:
        """Do it, and return the outcome."""
        if not record.is_unreported:
            return record.outcome or _outcome(Verdict.NOT_LAUNCHED, _NOT_OPEN)
        if not self._is_ours(record):
            self._runs.give_back(record, refusal=_refusal_in(failure))
            return _outcome(Verdict.NOT_LAUNCHED, "The item was not acknowledged. It returns to its queue.")
        job = self._leave_no_job(record) if failure else None
        # Before the report: W&B may be unavailable for days, and a run may still appear.
        self._runs.end(record)
        if record.credentials:
            folder = record.credentials
            _optional(lambda: self._clients.credentials_bucket.delete(folder))
        run = _Run(record, _optional(lambda: self._runs.details(record.item.id)) or RunDetails(), execution_arn)
        sweep = self._end_sweep(record, failure)
        result = self._report_sweep(run, sweep) if sweep else self._report(run, training, failure, job)
        if self._runs.close(record, result):  # by this call, not by another one at the same time
            self._count(result, failure)
            announce(self._clients, run_ended(record, result, execution_arn, self._clients.env.deployment))
            if job:  # it may have ended since: its last status event then found a run that was not closed
                self._results.finish_late(record.model_copy(update={"outcome": result}), job.name)
        logger.info("run closed", run_id=record.item.run_id, verdict=result["verdict"])
        return result

    def _count(self, outcome: Mapping[str, str], failure: Failure | None) -> None:
        """Write the metrics of a run that was closed."""
        metrics: dict[Metric, float] = {BY_VERDICT[Verdict(outcome["verdict"])]: 1}
        metrics |= spent(outcome.get("billable_seconds"), outcome.get("estimated_cost_usd"))
        if failure and failure.stage == "build" and not failure.is_stop:
            metrics[Metric.BUILDS_FAILED] = 1
        self._clients.metrics.put(metrics)

    def _end_sweep(self, record: RunRecord, failure: Failure | None) -> SweepEnd | None:
        """Return how the sweep of a scheduler ended, or None."""
        try:
            return end_failed_sweep(self._clients, record, failure)
        except self._refusals:
            logger.exception("the sweep is left as it is in W&B")
            return None

    def _report_sweep(self, run: _Run, end: SweepEnd) -> dict[str, str]:
        """Report how a sweep ended. The run of its scheduler shows that, and the item says why it failed."""
        if end.verdict is Verdict.FAILED:
            self._tell(run, end.reason, stage="agent", on_item=OnItem.FAIL)
        return _outcome(end.verdict, end.reason)

    def end_for(self, execution: Execution, record: RunRecord) -> dict[str, Any]:
        """Report and close a run whose execution ended without doing so, whether or not its training job still runs."""
        return self.end(record.item.id, execution_arn=execution.arn, failure=_failure_of(execution))

    def _is_ours(self, record: RunRecord) -> bool:
        """Whether W&B accepted the acknowledgement. The function may have ended before it could record that."""
        try:
            return record.acked or self._wandb.holds(record.item, record.launch_agent_id)
        except self._refusals:
            logger.exception("W&B does not show which agent has the item")
            return False

    def _leave_no_job(self, record: RunRecord) -> TrainingJob | None:
        """Return the training job that a failed launch waited for, if it has one; stop it if it is in progress."""
        job = self._job_of(record) if record.awaits_job else None
        if job and job.verdict is None:
            # If AWS refuses that, the sweep tries again: no open run waits for the job then.
            _optional(lambda: self._clients.sagemaker.stop(job.name))
        return job

    def _report(
        self, run: _Run, training: TrainingEnd | None, failure: Failure | None, job: TrainingJob | None
    ) -> dict[str, str]:
        """Report the end of the training job if it says more than the failure, else the failure; return the outcome."""
        if failure and not training:
            training = _end_in_spite_of(failure, job)
        if training:
            return self._report_end(run, training, job or self._job_of(run.record))
        if failure:
            return self._report_failure(run, failure) | ({"training_job_name": job.name} if job else {})
        raise ValueError("needs the end of a training job or a failure")

    def _report_end(self, run: _Run, end: TrainingEnd, job: TrainingJob | None) -> dict[str, str]:
        """Report the end of a training job. Raises RunNotSeen while its run may still appear in W&B."""
        plan, seen = run.details.plan, self._seen(run.record)
        judgement = judge(
            end,
            run=seen,
            stop_requested=run.record.stop_requested_at is not None,
            expects_wandb_init=plan is None or plan.expects_wandb_init,
            now=datetime.now(UTC),
            grace=self._clients.env.wandb_init_grace,
        ).also(seen.refusal)
        if judgement.on_item is OnItem.FAIL and not seen.has_begun:
            self._runs.never_begun(run.record.item.id)
        results = self._results.finish(run.record, run.details, seen, end=end, job=job)
        judgement = judgement.also(results.note)
        reason = judgement.reason
        if judgement.on_item is not OnItem.LEAVE:
            words = headline if end.verdict is Verdict.FAILED else _reason_alone
            reason = self._tell(run, reason, stage="run", on_item=judgement.on_item, words=words)
        return _outcome(judgement.verdict, reason) | _facts(end, results.dollars)

    def _seen(self, record: RunRecord) -> SeenRun:
        """Return the run in W&B. Before it is planned, its project is not known, so it cannot be looked up.

        If an earlier report has said that the run never appeared, the state that it has since is from that report.
        """
        if record.entity is None or record.project is None:
            return SeenRun()
        try:
            seen = self._wandb.seen_run(record.entity, record.project, record.item.run_id)
            return seen.model_copy(update={"state": None}) if record.never_begun else seen
        except self._refusals as error:
            return SeenRun(refusal=str(error))

    def _job_of(self, record: RunRecord) -> TrainingJob | None:
        return _optional(lambda: self._clients.sagemaker.job_of(record))

    def _report_failure(self, run: _Run, failure: Failure) -> dict[str, str]:
        """Report why the launch failed."""
        build = run.details.plan.build if run.details.plan else None
        if failure.stage == "build" and build and failure.error != ImageBuildFailed.__name__:
            return self._report_build(run, failure, build.tag)
        if build:
            tag = build.tag
            _optional(lambda: self._clients.image_claims.release(tag, run.item.id))
        self._results.abandon(run.record, run.details, Verdict.STOPPED if failure.is_stop else Verdict.NOT_LAUNCHED)
        if failure.is_stop:
            return self._report_stop(run, failure)
        reason = f"{failure.error}: {failure.reason}"
        self._tell(run, reason, stage=failure.stage, on_item=OnItem.FAIL)
        return _outcome(Verdict.NOT_LAUNCHED, reason)

    def _report_stop(self, run: _Run, failure: Failure) -> dict[str, str]:
        """Report a stop on the item, unless W&B shows it on the run by itself. Without a run, the item fails."""
        seen, asked = self._seen(run.record), run.record.stop_requested_at is not None
        on_item = on_item_of_a_stop(seen, unseen=not seen.has_begun, stop_requested=asked)
        if on_item is not OnItem.LEAVE:
            self._tell(run, failure.reason, stage=failure.stage, on_item=on_item)
        return _outcome(Verdict.STOPPED, failure.reason)

    def _report_build(self, run: _Run, failure: Failure, tag: str) -> dict[str, str]:
        """Report a build that ended without an image, on this item and to those that wait for the same image."""
        builds, build_id = self._clients.builds, build_id_in(failure.cause)
        build = _optional(lambda: builds.find(build_id)) if build_id else None
        log = (build and _optional(lambda: builds.log_tail(build))) or []
        why = message(explain(build, log) if build else explain_without_build(failure.error, failure.cause))
        reason = f"{ImageBuildFailed.__name__}: {why}"
        self._tell(run, reason, stage="build", on_item=OnItem.FAIL, build=build, log=log)
        _optional(lambda: self._clients.image_claims.fail(tag, run.item.id, why))
        return _outcome(Verdict.NOT_LAUNCHED, reason)

    def _tell(
        self,
        run: _Run,
        reason: str,
        *,
        stage: str,
        on_item: OnItem,
        build: Build | None = None,
        log: Sequence[str] = (),
        words: Words = _reason_alone,
    ) -> str:
        """Put the reason on the queue item, with error.log; return what the item says.

        If W&B refuses that, the run ends without it. `build` is the build that failed, if one did, and `log` the end of
        its log. `words` makes what the item and error.log say, of the reason and the logs.
        """
        where, tails = self._evidence(run, build, log)
        reason = words(reason, tails)
        text, said = error_log(reason, where, tails), message(reason)
        kind, put = ("error", self._wandb.fail) if on_item is OnItem.FAIL else ("warning", self._wandb.warn)
        try:
            put(run.item, said, stage, self._attach(run.record, kind, text))
            if on_item is OnItem.FAIL:
                end_pending_run(self._clients, run.record, run.details.spec)
        except self._refusals:
            logger.exception("W&B refused the report")
        return said

    def _attach(self, record: RunRecord, kind: str, text: str) -> Sequence[str]:
        """Upload error.log; return its name in W&B. If W&B refuses that, the reason is reported without it."""
        try:
            return self._wandb.attach(record.item, record.launch_agent_name, kind=kind, files={LOG_FILE: text})
        except self._refusals:
            logger.exception("W&B refused the log; the reason is reported without it")
            return ()

    def _evidence(self, run: _Run, build: Build | None, log: Sequence[str]) -> tuple[list[str], Tails]:
        """Return links, and the last lines of the logs of the training job and of the build.

        The record names a job before SageMaker has accepted it, so the log is shown only if the job is the run's.
        """
        job = self._job_of(run.record)
        name = job.name if job else None
        where = links(self._clients.env.deployment, execution_arn=run.execution_arn, training_job_name=name)
        tails = (name and _optional(lambda: self._clients.training_logs.tails(name))) or []
        if build:
            where.append(f"Build log:    {build.logs.page}")
            tails.append((f"build {build.id}", list(log)))
        return where, [(stream, [plain(line) for line in lines]) for stream, lines in tails]


def _optional(call: Callable[[], Found]) -> Found | None:
    """Return the result of a call to AWS, or None if AWS refuses it."""
    try:
        return call()
    except AwsRefused:
        logger.exception("AWS refused a request; the run ends without it")
        return None


def _refusal_in(failure: Failure | None) -> str:
    """Return the permanent refusal that made a launch fail; empty for a stop, and for an error that may pass."""
    if failure is None or failure.is_stop or failure.error in _PASSING or "." in failure.error:
        return ""
    return message(f"{failure.error}: {failure.reason}")


def _outcome(verdict: Verdict, reason: str) -> dict[str, str]:
    """Return the outcome, for the record and as the execution's output."""
    return {"verdict": verdict.value, "reason": message(reason)}


def _facts(end: TrainingEnd, dollars: float | None) -> dict[str, str]:
    """Return what the outcome says of the training job, as far as it is known."""
    numbers = {"billable_seconds": end.billable_seconds, "estimated_cost_usd": dollars}
    known = {name: str(number) for name, number in numbers.items() if number is not None}
    return {"training_job_name": end.training_job_name, **known}


def _end_in_spite_of(failure: Failure, job: TrainingJob | None) -> TrainingEnd | None:
    """Return the end of a training job if it says more than the failure of its execution, else None.

    The end of a stopped job says more only if the execution was stopped too: after any other failure, the agent itself
    stops the job, perhaps at an earlier try.
    """
    end = TrainingEnd.of(job) if job else None
    return end if end and (end.verdict is not Verdict.STOPPED or failure.is_stop) else None


def _failure_of(execution: Execution) -> Failure:
    """Return the failure of an execution that ended without reporting its run."""
    if execution.status == "ABORTED":
        return Failure.of_stop(execution.cause)
    error = execution.error or f"Execution {execution.status}"
    return Failure(error=error, cause=execution.cause, stage="agent")
