"""The end of a run: leave nothing behind in AWS, free its slot, tell W&B how it ended, and close it, last.

Repeated, it changes nothing. An execution does this at its end; a sweep does it for one that could not.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

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
from launch_agent.outcome.judgement import STOPPED, Failure, OnItem, SeenRun, judge
from launch_agent.outcome.log_lines import headline, plain
from launch_agent.outcome.report import LOG_FILE, algorithm_run, error_log, links, message
from launch_agent.plan.launch_plan import LaunchPlan
from launch_agent.run_queue.items import ItemRef, parse_run_spec
from launch_agent.runs.record import RunDetails, RunRecord
from launch_agent.training.training_job import TrainingEnd, TrainingJob, Verdict
from launch_agent.wiring import Clients

logger = Logger(child=True)

Found = TypeVar("Found")
Tails = list[tuple[str, list[str]]]
Words = Callable[[str, Tails], str]
_PASSING = {kind.__name__ for kind in Transient.__subclasses__()}
_RUN_OF_ANOTHER = (
    "Its metrics are not in W&B: the run {} was there before, and stays as it is. Queue the run with another run id."
)


def _reason_alone(reason: str, _: Tails) -> str:
    return reason


class _Run(NamedTuple):
    """The run that is being ended."""

    record: RunRecord
    details: RunDetails
    execution_arn: str

    @property
    def item(self) -> ItemRef:
        return self.record.item


class Ending:
    """Ends runs. Every method may raise AwsThrottled, WandbUnavailable and WandbKeyRejected: it can be called again.

    What AWS and W&B refuse keeps no run from ending, but for what says whether it is open, and closes it.
    """

    def __init__(self, clients: Clients, *, without_key: bool = False) -> None:
        """Take the clients, and whether runs end though W&B does not take the API key, without a word to it."""
        self._clients, self._wandb, self._runs = clients, clients.wandb, clients.runs
        self._refusals: tuple[type[LaunchError], ...] = (WandbRefused, *([WandbKeyRejected] if without_key else []))

    def end(
        self, item_id: str, *, execution_arn: str, training: TrainingEnd | None = None, failure: Failure | None = None
    ) -> dict[str, str]:
        """Report how an item's run ended, by its training job or by a failure; close it; return verdict and reason.

        Raises RunNotSeen while the run of an ended training job may still appear in W&B.
        """
        record = self._runs.get(item_id)
        if record is None or not record.is_unreported:
            return (record and record.outcome) or _outcome(Verdict.NOT_LAUNCHED, "The run is not open here.")
        if not self._is_ours(record):
            self._runs.give_back(record, refusal=_refusal_in(failure))
            return _outcome(Verdict.NOT_LAUNCHED, "The item was not acknowledged; W&B hands it out again.")
        job = self._leave_no_job(record) if failure else None
        # Before a word is said: W&B may be unavailable for days, and a run may still appear.
        self._runs.end(record)
        run = _Run(record, _optional(lambda: self._runs.details(item_id)) or RunDetails(), execution_arn)
        result = self._report(run, training, failure, job)
        self._runs.close(record, result)
        logger.info("run closed", run_id=record.item.run_id, verdict=result["verdict"])
        return result

    def end_for(self, execution: Execution, record: RunRecord) -> dict[str, str]:
        """Report and close a run whose execution has ended without doing so, however its training job stands."""
        return self.end(record.item.id, execution_arn=execution.arn, failure=_failure_of(execution))

    def _is_ours(self, record: RunRecord) -> bool:
        """Return whether W&B took our acknowledgement; it may have taken one that no function lived to hear of."""
        try:
            return record.acked or self._wandb.holds(record.item, record.launch_agent_id)
        except self._refusals:
            logger.exception("W&B refuses to say who has the item")
            return False

    def _leave_no_job(self, record: RunRecord) -> TrainingJob | None:
        """Return the training job that a failed launch waited for, if there is one; stop it if it lives."""
        job = self._job_of(record) if record.awaits_job else None
        if job and job.verdict is None:
            # Where that is refused the sweep tries it again: the job is one that no open run waits for.
            _optional(lambda: self._clients.sagemaker.stop(job.name))
        return job

    def _report(
        self, run: _Run, training: TrainingEnd | None, failure: Failure | None, job: TrainingJob | None
    ) -> dict[str, str]:
        """Report the end of a training job or, where there was none that says more, a failure; return the outcome."""
        if failure and not training:
            training = _end_in_spite_of(failure, job)
        if training:
            return self._report_end(run, training)
        if failure:
            return self._report_failure(run, failure)
        raise ValueError("a run ends by its training job or by a failure")

    def _report_end(self, run: _Run, end: TrainingEnd) -> dict[str, str]:
        """Report a training job that ended, however it did. Raises RunNotSeen while its run may still appear."""
        plan, seen = run.details.plan, self._seen(run.record)
        judgement = judge(
            end,
            run=seen,
            stop_requested=run.record.stop_requested_at is not None,
            expects_wandb_init=plan is None or plan.expects_wandb_init,
            now=datetime.now(UTC),
            grace=self._clients.env.wandb_init_grace,
        ).also(seen.refusal)
        if plan and plan.is_provided_algorithm:
            judgement = judgement.also(self._write_algorithm_run(run, plan, seen, end))
        if judgement.on_item is not OnItem.LEAVE:
            words = headline if end.verdict is Verdict.FAILED else _reason_alone
            self._tell(run, judgement.reason, stage="run", on_item=judgement.on_item, words=words)
        return _outcome(judgement.verdict, judgement.reason)

    def _seen(self, record: RunRecord) -> SeenRun:
        """Return the run as W&B has it. Before it is planned, nobody knows in which project it would be."""
        if record.entity is None or record.project is None:
            return SeenRun()
        try:
            return self._wandb.seen_run(record.entity, record.project, record.item.run_id)
        except self._refusals as error:
            return SeenRun(refusal=str(error))

    def _job_of(self, record: RunRecord) -> TrainingJob | None:
        return _optional(lambda: self._clients.sagemaker.job_of(record))

    def _write_algorithm_run(self, run: _Run, plan: LaunchPlan, seen: SeenRun, end: TrainingEnd) -> str:
        """Show in W&B the run of an algorithm that cannot do so; return why not where that is not possible."""
        if not seen.may_be_written(run.item.id):
            return "" if seen.refusal else _RUN_OF_ANOTHER.format(run.item.run_id)
        try:
            self._wandb.write_run(algorithm_run(parse_run_spec(run.details.spec), plan, end))
        except self._refusals as error:
            return f"Its metrics are not in W&B: {error}"
        return ""

    def _report_failure(self, run: _Run, failure: Failure) -> dict[str, str]:
        """Report what kept the launch from going on."""
        build = run.details.plan.build if run.details.plan else None
        if failure.stage == "build" and build and failure.error != ImageBuildFailed.__name__:
            return self._report_build(run, failure, build.tag)
        if build:
            tag = build.tag
            _optional(lambda: self._clients.image_claims.release(tag, run.item.id))
        if failure.is_stop:
            return self._report_stop(run, failure)
        reason = f"{failure.error}: {failure.reason}"
        self._tell(run, reason, stage=failure.stage, on_item=OnItem.FAIL)
        return _outcome(Verdict.NOT_LAUNCHED, reason)

    def _report_stop(self, run: _Run, failure: Failure) -> dict[str, str]:
        """Report a stop: W&B shows a run that it has seen by itself, and is told of an item without one."""
        if not self._seen(run.record).has_begun:
            self._tell(run, failure.reason, stage=failure.stage, on_item=OnItem.FAIL)
        return _outcome(Verdict.STOPPED, failure.reason)

    def _report_build(self, run: _Run, failure: Failure, tag: str) -> dict[str, str]:
        """Report a build that ended without an image, to this item and to those that wait for the same image."""
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
    ) -> None:
        """Put the reason on the queue item, with error.log. If W&B refuses that, the run ends all the same.

        `build` is the build that failed, if one did, and `log` the end of its log. `words` makes what the item says, of
        the reason and the logs.
        """
        where, tails = self._evidence(run, build, log)
        text = error_log(reason, where, tails)
        kind, put = ("error", self._wandb.fail) if on_item is OnItem.FAIL else ("warning", self._wandb.warn)
        try:
            put(run.item, message(words(reason, tails)), stage, self._attach(run.record, kind, text))
        except self._refusals:
            logger.exception("W&B refused the report")

    def _attach(self, record: RunRecord, kind: str, text: str) -> Sequence[str]:
        """Upload error.log; return its name as W&B knows it. If W&B refuses that, the reason goes without it."""
        try:
            return self._wandb.attach(record.item, record.launch_agent_name, kind=kind, files={LOG_FILE: text})
        except self._refusals:
            logger.exception("W&B refused the log; the reason goes without it")
            return ()

    def _evidence(self, run: _Run, build: Build | None, log: Sequence[str]) -> tuple[list[str], Tails]:
        """Return where to look, and the ends of the logs of the training job and of the build.

        The record names a job from before SageMaker took it: its log is shown only if the job is the run's.
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
    """Return what a call to AWS answers; None where AWS refuses it."""
    try:
        return call()
    except AwsRefused:
        logger.exception("the run ends without that")
        return None


def _refusal_in(failure: Failure | None) -> str:
    """Return what was refused for good, where that is why a launch failed: what passes, and a stop, is no refusal."""
    if failure is None or failure.is_stop or failure.error in _PASSING or "." in failure.error:
        return ""
    return message(f"{failure.error}: {failure.reason}")


def _outcome(verdict: Verdict, reason: str) -> dict[str, str]:
    """Say how it ended, as the record keeps it and the execution shows it."""
    return {"verdict": verdict.value, "reason": message(reason)}


def _end_in_spite_of(failure: Failure, job: TrainingJob | None) -> TrainingEnd | None:
    """Return the end of a training job that says more than what befell its execution.

    One that was stopped says more about a stop only: another failure has us stop the job, at an earlier try perhaps.
    """
    end = TrainingEnd.of(job) if job else None
    return end if end and (end.verdict is not Verdict.STOPPED or failure.is_stop) else None


def _failure_of(execution: Execution) -> Failure:
    """Say what an execution that ended on its own leaves to be said of its run."""
    if execution.status == "ABORTED":
        return Failure(
            error=STOPPED, cause=execution.cause or "The execution was stopped in Step Functions.", stage="agent"
        )
    error = execution.error or f"Execution {execution.status}"
    return Failure(error=error, cause=execution.cause, stage="agent")
