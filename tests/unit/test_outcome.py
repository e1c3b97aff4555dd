"""A run's outcome, from SageMaker's and W&B's data."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from pydantic import ValidationError

from launch_agent.errors import RunNotSeen
from launch_agent.outcome.judgement import Failure, Judgement, OnItem, SeenRun, judge
from launch_agent.outcome.results import algorithm_config
from launch_agent.run_queue.items import RunSpec
from launch_agent.training.training_job import TrainingEnd, TrainingJob, Verdict
from tests.golden.cases import plan
from tests.make import NOW, training_job

ENDED = NOW
EXIT_1 = "AlgorithmError: , exit code: 1"


def job(status: str, secondary: str = "", **more: Any) -> TrainingJob:
    ended = int(ENDED.timestamp() * 1000)
    times = {"LastModifiedTime": ended, "TrainingStartTime": ended - 5000, "TrainingEndTime": ended}
    return training_job(status, secondary, **{**times, **more})


def end(*arguments: Any, **more: Any) -> TrainingEnd:
    ended = TrainingEnd.of(job(*arguments, **more))
    assert ended
    return ended


def judged(
    ended: TrainingEnd,
    run_state: str | None,
    *,
    after: float = 61,
    expects: bool = True,
    stopped: bool = False,
    stop_requested: bool = False,
    grace: float = 60,
) -> Judgement:
    return judge(
        ended,
        run=SeenRun(state=run_state, stopped=stopped),
        stop_requested=stop_requested,
        expects_wandb_init=expects,
        now=ENDED + timedelta(seconds=after),
        grace=timedelta(seconds=grace),
    )


def test_a_stopped_job_is_not_a_finished_run() -> None:
    for secondary in ("Stopped", "MaxRuntimeExceeded", "MaxWaitTimeExceeded", "SomethingNew"):
        assert end("Stopped", secondary).verdict is Verdict.STOPPED


@pytest.mark.parametrize("status", ["InProgress", "Stopping", "SomethingNew"])
def test_a_job_that_lives_or_whose_status_is_unknown_has_not_ended(status: str) -> None:
    assert TrainingEnd.of(job(status)) is None


@pytest.mark.parametrize("time", [1763985600000, "1763985600000", 1763985600000.0, "2025-11-24T12:00:00Z"])
def test_times_are_read_as_numbers_and_as_text(time: object) -> None:
    assert job("Completed", LastModifiedTime=time).modified_at == datetime(2025, 11, 24, 12, tzinfo=UTC)


NO_COMMAND = end(
    "Failed",
    FailureReason="AlgorithmError: , exit code: 127",
    AlgorithmSpecification={"ContainerEntrypoint": ["./run.sh", "a b"]},
)


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (end("Stopped", "MaxRuntimeExceeded"), "MaxRuntimeInSeconds. Raise that limit"),
        (end("Stopped", "MaxWaitTimeExceeded"), "MaxWaitTimeInSeconds"),
        (end("Stopped", "Stopped"), "Someone stopped it"),
        (end("Stopped", "Stopped", TrainingStartTime=None, BillableTimeInSeconds=0), "It never started"),
        (end("Failed", FailureReason="AlgorithmError: , exit code: 1"), "exit code: 1. The job's code failed"),
        (NO_COMMAND, "exit code: 127. A command was not found: the container runs ./run.sh 'a b'. The job's code"),
        (
            end("Failed", FailureReason="AlgorithmError: , exit code: 127", AlgorithmSpecification=None),
            "A command was not found: the container runs the image's own entry point.",
        ),
        (end("Failed", FailureReason="CapacityError: Unable to provision"), "no capacity for this instance type"),
        (end("Failed", FailureReason="ClientError: Cannot pull"), "configuration is wrong"),
        (end("Failed", FailureReason="InternalServerError: sorry"), "SageMaker itself failed"),
        (end("Failed", FailureReason="NewError: hm"), "NewError: hm"),
        (end("Failed"), "SageMaker gave no reason"),
        (end("Failed", FailureReason="AlgorithmError: " + "x" * 1008), "xxx.... The job's code failed"),
    ],
)
def test_the_reason_says_what_happened_and_what_to_do(ended: TrainingEnd, words: str) -> None:
    assert words in ended.reason


@pytest.mark.parametrize("run_state", [None, "pending"])
def test_a_run_may_appear_until_the_grace_period_is_over(run_state: str | None) -> None:
    with pytest.raises(RunNotSeen):
        judged(end("Completed"), run_state, after=59)
    assert judged(end("Completed"), run_state, after=60).on_item is OnItem.FAIL


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
@pytest.mark.parametrize("run_state", [None, "pending"])
def test_the_run_of_a_job_that_did_not_complete_is_awaited_for_as_long_as_w_and_b_needs(
    run_state: str | None, status: str
) -> None:
    with pytest.raises(RunNotSeen, match="within 5 seconds"):
        judged(end(status), run_state, after=4)
    assert judged(end(status), run_state, after=5).on_item is OnItem.FAIL


def test_a_grace_period_that_is_shorter_still_is_kept() -> None:
    assert judged(end("Failed"), None, after=2, grace=2).on_item is OnItem.FAIL


def test_a_job_that_never_called_wandb_init_fails_though_it_completed() -> None:
    judgement = judged(end("Completed"), None)
    assert judgement.verdict is Verdict.FAILED
    assert "wandb.init()" in judgement.reason


def test_a_job_whose_container_never_ran_is_judged_at_once() -> None:
    ended = end("Failed", FailureReason="ClientError: Cannot pull", TrainingStartTime=None)
    assert judged(ended, None, after=0).on_item is OnItem.FAIL


def test_a_job_that_found_no_command_to_run_is_judged_at_once() -> None:
    judgement = judged(NO_COMMAND, None, after=0)
    assert judgement.on_item is OnItem.FAIL
    assert "./run.sh 'a b'" in judgement.reason


@pytest.mark.parametrize("run_state", ["running", "finished", "failed", "crashed", "something new"])
def test_a_completed_job_whose_run_is_there_leaves_the_item_alone(run_state: str) -> None:
    judgement = judged(end("Completed"), run_state, after=5)
    assert (judgement.verdict, judgement.on_item) == (Verdict.FINISHED, OnItem.LEAVE)


@pytest.mark.parametrize("status", ["Completed", "Failed", "Stopped"])
def test_w_and_b_has_some_seconds_to_take_in_what_a_process_sent_last(status: str) -> None:
    """Its summary is read and written afterwards, whole."""
    with pytest.raises(RunNotSeen, match="still shows its run as running"):
        judged(end(status), "running", after=4)
    assert judged(end(status), "finished", after=0)


def test_a_failed_job_whose_run_is_there_puts_a_warning_on_the_item() -> None:
    judgement = judged(end("Failed", FailureReason="AlgorithmError: x"), "crashed")
    assert (judgement.verdict, judgement.on_item) == (Verdict.FAILED, OnItem.WARN)


def test_a_run_that_a_user_stopped_needs_no_warning_and_one_a_limit_stopped_does() -> None:
    assert judged(end("Stopped", "Stopped"), "killed").on_item is OnItem.LEAVE
    assert judged(end("Stopped", "Stopped"), "running", stopped=True).on_item is OnItem.LEAVE
    assert judged(end("Stopped", "MaxRuntimeExceeded"), "crashed").on_item is OnItem.WARN


def test_a_run_that_was_stopped_in_the_console_says_so_on_its_item() -> None:
    """Its process is killed, so W&B shows the run as running, and as crashed some minutes later."""
    judgement = judged(end("Stopped", "Stopped"), "running")
    assert (judgement.verdict, judgement.on_item) == (Verdict.STOPPED, OnItem.WARN)
    assert judged(end("Stopped", "Stopped"), "pending", expects=False).on_item is OnItem.WARN  # an algorithm's


ORDERS = [
    order for order in permutations(("stop", "poll", "exit", "event")) if order.index("exit") < order.index("event")
]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_a_stop_in_wandb_is_a_stop_in_whatever_order_it_is_noticed(order: tuple[str, ...]) -> None:
    """The SDK interrupts the process; a poll after the stop stops the job; the job's event leads to the outcome."""
    at = {happening: order.index(happening) for happening in order}
    interrupted, noticed = at["stop"] < at["exit"], at["stop"] < at["poll"] < at["event"]
    ended = end("Stopped") if at["stop"] < at["poll"] < at["exit"] else end("Failed", FailureReason=EXIT_1)
    judgement = judged(
        ended,
        "killed" if interrupted else "failed",
        stopped=at["stop"] < at["event"],
        stop_requested=noticed,
    )
    asked = at["stop"] < at["event"]
    assert judgement.verdict is (Verdict.STOPPED if asked else Verdict.FAILED)
    assert judgement.on_item is (OnItem.LEAVE if asked else OnItem.WARN)
    assert ("stopped" in judgement.reason) is asked


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        ({"run_state": "killed"}, Verdict.STOPPED),
        ({"run_state": "failed", "stopped": True}, Verdict.STOPPED),
        ({"run_state": "crashed", "stop_requested": True}, Verdict.STOPPED),
        ({"run_state": "finished", "stopped": True, "stop_requested": True}, Verdict.FINISHED),
        ({"run_state": "failed"}, Verdict.FINISHED),
    ],
)
def test_a_job_that_handles_the_interrupt_and_completes_was_stopped_unless_its_run_finished(
    known: dict[str, Any], verdict: Verdict
) -> None:
    judgement = judged(end("Completed"), **known)
    assert (judgement.verdict, judgement.on_item) == (verdict, OnItem.LEAVE)


@pytest.mark.parametrize("failure", [EXIT_1, "InternalServerError: sorry", "CapacityError: none"])
@pytest.mark.parametrize("run_state", [None, "pending"])
def test_an_item_whose_run_was_stopped_before_it_began_shows_that(failure: str, run_state: str | None) -> None:
    judgement = judged(end("Failed", FailureReason=failure), run_state, stop_requested=True)
    assert (judgement.verdict, judgement.on_item) == (Verdict.STOPPED, OnItem.FAIL)


def test_what_a_limit_stopped_after_a_stop_was_asked_for_is_a_stop_with_the_limits_reason() -> None:
    judgement = judged(end("Stopped", "MaxRuntimeExceeded"), "crashed", stopped=True)
    assert (judgement.verdict, judgement.on_item) == (Verdict.STOPPED, OnItem.LEAVE)
    assert "MaxRuntimeInSeconds" in judgement.reason


def test_an_algorithm_that_does_not_know_wandb_is_not_blamed_for_its_silence() -> None:
    assert judged(end("Completed"), None, after=0, expects=False).on_item is OnItem.LEAVE
    assert judged(end("Failed"), None, after=0, expects=False).on_item is OnItem.FAIL


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (
            '{"errorMessage": "queue \\"sm\\" has no RoleArn", "errorType": "InvalidRunSpec"}',
            'queue "sm" has no RoleArn',
        ),
        ("plain words", "plain words"),
        ('{"Build": {}}', "SomeError, without a message."),
        ("", "SomeError, without a message."),
        ("[1]", "[1]"),
    ],
)
def test_a_failure_is_read_whatever_its_cause_looks_like(cause: str, reason: str) -> None:
    assert Failure(error="SomeError", cause=cause, stage="agent").reason == reason


@pytest.mark.parametrize(
    ("state", "error", "stage"),
    [
        ("Plan run", "InvalidRunSpec", "agent"),
        ("Plan run", "ImageBuildFailed", "build"),
        ("Build image", "States.TaskFailed", "build"),
        ("Train", "TrainingJobRejected", "agent"),
        ("Report outcome", "States.Timeout", "agent"),
        ("a state of a later version", "States.Timeout", "agent"),
    ],
)
def test_the_state_that_failed_tells_the_stage(state: str, error: str, stage: str) -> None:
    assert Failure.model_validate({"state": state, "error": error, "cause": "words"}).stage == stage


@pytest.mark.parametrize("stage", ["agent", "build"])
def test_an_execution_of_an_older_state_machine_tells_the_stage_itself(stage: str) -> None:
    assert Failure.model_validate({"error": "ImageBuildFailed", "cause": "words", "stage": stage}).stage == stage


@pytest.mark.parametrize("given", ["words", {"error": "E"}, {"state": "Train"}, {"state": "Train", "error": 1}])
def test_what_is_no_failure_is_refused(given: object) -> None:
    with pytest.raises(ValidationError):
        Failure.model_validate(given)


def test_a_timeout_is_explained() -> None:
    assert "time limits" in Failure(error="States.Timeout", stage="agent").reason


def test_a_run_that_is_written_names_its_item_whatever_its_config_says() -> None:
    planned = plan("algorithm-of-sagemaker")
    forged = RunSpec.model_validate(
        {"entity": "team", "project": "p", "overrides": {"run_config": {"_wandb": {"launch_trace_id": "forged"}}}}
    )
    assert algorithm_config(forged, planned)["_wandb"] == {"launch_trace_id": planned.item.id}
