"""How a run ended: the verdict, the reason, and what to do about it."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import Field, Json, model_validator

from launch_agent.errors import ImageBuildFailed, RunNotSeen
from launch_agent.model import Model, Wire
from launch_agent.remedies import ENDINGS
from launch_agent.training.training_job import TrainingEnd, Verdict

STOPPED = "Stopped"
"""The error of an execution that was stopped, by the agent or in the console."""

STAGES = {"Build image": "build"}
"""The stage that W&B shows for a failed launch, by the state that failed; `agent` for every other state."""


class Failure(Model):
    """The error that a Catch of the state machine passes on."""

    error: str
    cause: str = ""
    stage: str
    """The stage that W&B shows: `agent`, `build` or `run`."""

    @model_validator(mode="before")
    @classmethod
    def _know_the_stage(cls, given: Any) -> Any:
        """Derive the stage from the state that failed. Executions of an older state machine send the stage itself."""
        if not isinstance(given, Mapping) or "state" not in given:
            return given
        rest = {name: value for name, value in given.items() if name != "state"}
        stage = "build" if rest.get("error") == ImageBuildFailed.__name__ else STAGES.get(given["state"], "agent")
        return {"stage": stage, **rest}

    @classmethod
    def of_stop(cls, cause: str) -> "Failure":
        """Return the failure of an execution that was stopped, with what was said when it was."""
        return cls(error=STOPPED, cause=cause or "The execution was stopped in Step Functions.", stage="agent")

    @property
    def is_stop(self) -> bool:
        """Whether the launch was stopped and did not fail."""
        return self.error == STOPPED

    @property
    def reason(self) -> str:
        """The message of the error that a function raised, else the message of Step Functions."""
        try:
            cause: Any = json.loads(self.cause)
        except ValueError:
            cause = None
        message = cause.get("errorMessage") if isinstance(cause, Mapping) else self.cause
        return str(message or ENDINGS.get(self.error) or f"{self.error}, without a message.")


class OnItem(StrEnum):
    """What to do with the run queue item when its run has ended."""

    LEAVE = "leave"
    WARN = "warn"
    FAIL = "fail"


class Judgement(Model):
    """How a run ended, and what to do with its queue item."""

    verdict: Verdict
    reason: str
    on_item: OnItem

    def also(self, note: str) -> "Judgement":
        """Return the judgement with a note added to its reason; an item with a note gets at least a warning."""
        if not note:
            return self
        on_item = OnItem.WARN if self.on_item is OnItem.LEAVE else self.on_item
        return self.model_copy(update={"reason": f"{self.reason} {note}", "on_item": on_item})


class _OwnConfig(Wire):
    launch_trace_id: str | None = None


class SeenRun(Wire):
    """A run in W&B. Without a state, the run does not exist."""

    state: str | None = None
    stopped: bool = False
    """Whether someone stopped the run in W&B. The SDK in the container then interrupts the process at once."""
    sweep: str | None = Field(alias="sweepName", default=None)
    """The id of the sweep that the run belongs to."""
    own_config: Json[_OwnConfig] = Field(alias="wandbConfig", default_factory=_OwnConfig)
    refusal: str = ""
    """W&B's message if the API key may not read the run."""

    @property
    def has_begun(self) -> bool:
        """Whether its process has called wandb.init(); true also for a run that the API key may not read."""
        return bool(self.refusal) or self.state not in (None, "pending")

    def belongs_to(self, item_id: str) -> bool:
        """Whether its config names this run queue item."""
        return not self.refusal and self.own_config.launch_trace_id == item_id

    def may_be_written(self, item_id: str, sweep_id: str | None) -> bool:
        """Whether the run belongs to this run queue item, or has not begun and belongs to no other sweep."""
        return self.belongs_to(item_id) if self.has_begun else self.sweep in (None, sweep_id)


_SHOWN_WITHIN = timedelta(seconds=5)
"""A run is in W&B before wandb.init() returns: what a failed job has not made by now, it will not make. W&B may show it
some seconds later."""


def judge(
    end: TrainingEnd,
    *,
    run: SeenRun,
    stop_requested: bool,
    expects_wandb_init: bool,
    now: datetime,
    grace: timedelta,
) -> Judgement:
    """Return how a run ended, from the end of its training job, its state in W&B, and whether it was stopped.

    `stop_requested` is whether an earlier poll saw a stop in W&B. Raises RunNotSeen if the container ran and its run
    has not appeared in W&B, for `grace` after a job completed, and for a few seconds after any other end.
    """
    unseen = expects_wandb_init and not run.has_begun
    _await_last_words(end, run, now=now, grace=grace)
    wait = grace if end.verdict is Verdict.FINISHED else min(grace, _SHOWN_WITHIN)
    if unseen and end.container_ran and now < end.ended_at + wait:
        seconds = f"{wait.total_seconds():g} seconds"
        raise RunNotSeen(f"the training job has ended, and its run has not appeared in W&B within {seconds}")
    if _was_stopped(end, run, stop_requested=stop_requested):
        reason = end.reason if end.verdict is Verdict.STOPPED else _STOPPED_IN_WANDB
        on_item = on_item_of_a_stop(run, unseen=unseen, stop_requested=stop_requested)
        return Judgement(verdict=Verdict.STOPPED, reason=reason, on_item=on_item)
    if unseen:
        verdict = Verdict.FAILED if end.verdict is Verdict.FINISHED else end.verdict
        return Judgement(verdict=verdict, reason=_never_seen(end), on_item=OnItem.FAIL)
    if end.verdict is Verdict.FINISHED:
        return Judgement(verdict=end.verdict, reason=end.reason, on_item=OnItem.LEAVE)
    # The run exists and W&B shows its own state; the item shows SageMaker's reason.
    on_item = OnItem.WARN if expects_wandb_init else OnItem.FAIL
    return Judgement(verdict=end.verdict, reason=end.reason, on_item=on_item)


def _await_last_words(end: TrainingEnd, run: SeenRun, *, now: datetime, grace: timedelta) -> None:
    """Raise RunNotSeen while W&B may still take in what the process of an ended training job has sent.

    The last request of the wandb SDK ends the run. The run of a process that was killed goes on as running for minutes.
    """
    if run.state == "running" and end.container_ran and now < end.ended_at + min(grace, _SHOWN_WITHIN):
        raise RunNotSeen("the training job has ended, and W&B still shows its run as running")


def on_item_of_a_stop(run: SeenRun, *, unseen: bool, stop_requested: bool) -> OnItem:
    """Return what to do with the item of a run that was stopped. `unseen` is whether W&B lacks a run that it expects.

    W&B shows a stop in W&B on the run itself. Of a stop elsewhere it shows nothing but that the run, minutes later, has
    crashed.
    """
    if unseen:
        return OnItem.FAIL
    return OnItem.LEAVE if _stopped_in_wandb(run, stop_requested=stop_requested) else OnItem.WARN


def _stopped_in_wandb(run: SeenRun, *, stop_requested: bool) -> bool:
    return run.stopped or stop_requested or run.state == "killed"


_STOPPED_IN_WANDB = "The run was stopped in W&B, and its training job ended."


def _was_stopped(end: TrainingEnd, run: SeenRun, *, stop_requested: bool) -> bool:
    """Return whether a person stopped the run, in W&B or in SageMaker.

    An interrupted process exits as failed or, if it handles the interrupt, as completed. A run that has finished in
    W&B too had finished before the stop.
    """
    asked = _stopped_in_wandb(run, stop_requested=stop_requested)
    return end.stopped_by_a_person or (asked and (end.verdict, run.state) != (Verdict.FINISHED, "finished"))


def _never_seen(end: TrainingEnd) -> str:
    if end.verdict is not Verdict.FINISHED:
        return end.reason
    return (
        "The training job exited successfully, but its run never appeared in W&B. Call wandb.init() in the job's code, "
        "and make sure that the container can reach the W&B server. The end of the job's log is in error.log."
    )
