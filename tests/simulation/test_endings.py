"""How runs end: stopped, hidden by W&B, or with the names of others' resources; and what is reported."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from local.wandb.queues import ItemState, RunQueueItem
from tests.simulation.dynamodb import Refused
from tests.simulation.faults import Fault, FaultsAt, NoFaults, Site, WandbOutage
from tests.simulation.training import Script
from tests.simulation.world import API_KEY, DAY, ENTITY, HOUR, KEY_OF_RUN, PROJECT, Delivery, World, world

ALGORITHM = {"AlgorithmSpecification": {"AlgorithmName": "xgboost-of-mine", "TrainingInputMode": "File"}}
EXIT_1 = "AlgorithmError: , exit code: 1"
VICTIM = "payroll-model-2026"
LOG = ["postgres://payroll:HUNTER2@10.0.0.5/salaries", "row 17: J. Doe 184000"]


def instead(made: World, answer: Callable[..., Any]) -> None:
    """Ask `answer` first, with AWS's (service, operation, request) or W&B's (method, URL, headers, body)."""
    made_answer = made.answer

    def around(*asked: Any) -> Any:
        found = answer(*asked)
        return made_answer(*asked) if found is None else found

    made.answer = around  # type: ignore[method-assign]  # this is the point


def told(made: World) -> str:
    """Return everything that W&B was sent: errors and warnings of items, and files."""
    items = [[item.error, item.warnings] for item in made.server.state.items.values()]
    files = [content.decode(errors="replace") for content in made.server.state.storage.values()]
    return json.dumps([items, files])


def ended(made: World, item: RunQueueItem) -> dict[str, str]:
    """Let everything end; return the outcome of an item's run, with nothing wrong."""
    assert made.run_until_idle(within=DAY), made.check().everything
    assert made.check().everything == []
    outcome = made.outcome(item)
    assert outcome
    return outcome


# --- a stop in W&B interrupts the process immediately
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("delivery", [Delivery(), Delivery(dropped=1), Delivery(late=1)], ids=["told", "lost", "late"])
@pytest.mark.parametrize("poll_every", [5, HOUR], ids=["polled before", "polled after"])
def test_a_run_whose_process_is_interrupted_was_stopped(seed: int, delivery: Delivery, poll_every: float) -> None:
    def script(_: Any) -> Script:
        return Script(training=3 * HOUR, obeys_stops=True)

    with world(seed, NoFaults(), delivery=delivery, script=script, poll_every=poll_every) as made:
        item = made.push()
        while not (made.jobs(item) and made.jobs(item)[0].shown["SecondaryStatus"] == "Training"):
            made.clock.run(10)
        made.stop_in_wandb(item)
        made.clock.run(5)
        assert made.jobs(item)[0].shown["TrainingJobStatus"] == "Failed"
        assert ended(made, item)["verdict"] == "stopped"
        assert (item.state, item.warnings) == (ItemState.CLAIMED, [])


@pytest.mark.parametrize("failure", ["InternalServerError: sorry", "CapacityError: none left", "ClientError: no image"])
def test_a_run_whose_training_job_fails_just_after_its_stop_was_stopped(failure: str) -> None:
    """No poll has seen the stop yet; the next poll stops the retry."""
    with world(4, NoFaults(), script=lambda _: Script(training=3 * HOUR)) as made:
        item = made.push()
        while not (made.jobs(item) and made.jobs(item)[0].shown["SecondaryStatus"] == "Training"):
            made.clock.run(10)
        (job,) = made.jobs(item)
        made.stop_in_wandb(item)
        job.shown["FailureReason"] = failure
        made.training.end(job, "Failed", "Failed")
        assert ended(made, item)["verdict"] == "stopped"
        assert item.state is ItemState.CLAIMED


# --- a slot is free before a word is said
@pytest.mark.parametrize("failure", [EXIT_1, ""], ids=["failed", "completed"])
def test_a_run_whose_end_cannot_be_reported_holds_no_slot(failure: str) -> None:
    faults = WandbOutage(NoFaults(), Fault.BROKEN)
    with world(3, faults, script=lambda _: Script(failure=failure, calls_init=False)) as made:
        item = made.push()
        while not (made.jobs(item) and not made.jobs(item)[0].is_live):
            made.clock.run(1)
        faults.is_active = True
        made.clock.run(30)
        (stack,) = made.stacks.values()
        assert (stack.open, stack.unreported) == (set(), {f"run#{item.id}"})
        made.clock.run(2 * HOUR)
        assert (made.outcome(item), item.state) == (None, ItemState.CLAIMED)
        faults.is_active = False
        assert ended(made, item)["verdict"] == "failed"
        assert item.state is ItemState.FAILED


def test_the_next_run_begins_while_the_last_may_still_appear() -> None:
    with world(3, NoFaults(), max_jobs=1, poll_every=5, script=lambda _: Script(calls_init=False)) as made:
        first, second = made.push(), made.push()
        while not made.jobs(second):
            made.clock.run(1)
        assert not made.jobs(first)[0].is_live
        assert made.outcome(first) is None
        assert ended(made, first)["verdict"] == "failed"


def test_a_run_that_fails_before_wandb_init_is_reported_within_seconds() -> None:
    with world(3, NoFaults(), script=lambda _: Script(failure=EXIT_1, calls_init=False)) as made:
        item = made.push()
        while not (made.jobs(item) and not made.jobs(item)[0].is_live):
            made.clock.run(1)
        made.clock.run(15)
        assert (made.outcome(item) or {}).get("verdict") == "failed"
        assert made.stacks["launch"].functions.failed["report_outcome"] <= 1


def test_a_run_that_has_ended_takes_a_slot_before_it_goes_on_in_a_redriven_execution() -> None:
    """The sweep has freed its slot, and cannot report it yet. It is reported first, and then launched again."""
    faults = WandbOutage(NoFaults(), Fault.BROKEN)
    with world(3, faults, script=lambda _: Script(training=3 * HOUR)) as made:
        item = made.push()
        while not (made.jobs(item) and made.jobs(item)[0].is_live):
            made.clock.run(1)
        faults.is_active = True
        made.stop_in_console(item)
        made.clock.run(2 * 60)
        assert made.stacks["launch"].open == set()
        made.redrive(item)
        made.clock.run(2 * 60)
        assert len(made.jobs(item)) == 1
        faults.is_active = False
        assert ended(made, item)["verdict"] == "finished"
        assert [job.shown["TrainingJobStatus"] for job in made.jobs(item)] == ["Stopped", "Completed"]


@pytest.mark.parametrize("fails", [True, False])
def test_the_item_of_a_job_that_failed_begins_with_the_line_that_matters(fails: bool) -> None:
    lines = ["Traceback (most recent call last):", "  import torchx", "\x1b[31mModuleNotFoundError: No torchx\x1b[0m"]

    def logs(service: str, operation: str, *_: Any) -> Any:
        is_log = (service, operation) == ("cloudwatch-logs", "GetLogEvents")
        return {"events": [{"message": line} for line in lines]} if is_log else None

    with world(3, NoFaults(), script=lambda _: Script(failure=EXIT_1 if fails else "", calls_init=False)) as made:
        instead(made, logs)
        item = made.push()
        outcome = ended(made, item)
        assert outcome["verdict"] == "failed"
        assert item.error
        begins = "ModuleNotFoundError: No torchx. The training job failed" if fails else "The training job exited"
        assert item.error["message"].startswith(begins)
        assert outcome["reason"].startswith(begins)  # the execution's output, too
        assert "\nModuleNotFoundError: No torchx\n" in told(made).replace("\\n", "\n")


# --- others' logs
@pytest.mark.parametrize("refuses", ["AccessDeniedException", ""], ids=["refused", "its name is taken"])
def test_the_log_of_a_training_job_that_is_not_the_runs_is_not_shown(refuses: str) -> None:
    def logs(service: str, operation: str, asked: Any, *_: Any) -> Any:
        if service != "cloudwatch-logs":
            return None
        if operation == "DescribeLogStreams":
            is_victims = asked["logStreamNamePrefix"] == f"{VICTIM}/"
            return {"logStreams": [{"logStreamName": f"{VICTIM}/algo-1"}] if is_victims else []}
        return {"events": [{"message": line} for line in LOG]}

    with world(5, NoFaults(), script=lambda _: Script(calls_init=False)) as made:
        instead(made, logs)
        victim = {"TrainingJobName": VICTIM, "RoleArn": "arn:aws:iam::123456789012:role/payroll", "Environment": {}}
        made.training.made(victim, Script(training=60, calls_init=False))
        made.training.refuses = refuses
        item = made.push(run_id=VICTIM)
        outcome = ended(made, item)
        assert outcome["verdict"] == ("not launched" if refuses else "failed")
        assert not any(line in told(made) for line in LOG)
        assert (f"/jobs/{VICTIM}\n" in told(made).replace("\\n", "\n")) is False


def test_a_training_job_of_ours_is_proven_so_whatever_the_case_of_its_arn() -> None:
    with world(5, NoFaults(), delivery=Delivery(dropped=1)) as made:
        item = made.push(run_id="MixedCase")
        assert ended(made, item)["verdict"] == "finished"


# --- others' runs
def test_the_run_of_another_user_is_not_written() -> None:
    with world(9, NoFaults(), script=lambda _: Script(calls_init=False)) as made:
        victim = made.run(ENTITY, "payments-prod", "best-model", state="finished")
        victim.config_values, victim.summary, victim.display_name = {"lr": {"value": 0.001}}, {"auc": 0.97}, "ours"
        item = made.push(
            project="payments-prod",
            run_id="best-model",
            name="pwned",
            overrides={"run_config": {"note": "written by who may only queue"}},
            resource_args={"sagemaker": ALGORITHM},
        )
        outcome = ended(made, item)
        assert outcome["verdict"] == "finished"
        assert "the run best-model existed before" in outcome["reason"]
        assert "the run best-model existed before" in item.warnings[-1]["message"]
        assert victim.config_values == {"lr": {"value": 0.001}}
        assert (victim.state, victim.summary, victim.display_name) == ("finished", {"auc": 0.97}, "ours")


@pytest.mark.parametrize("fault", [Fault.LOST_ANSWER, Fault.KILLED_DURING, Fault.KILLED_AFTER])
def test_the_run_of_an_algorithm_is_ours_by_its_item_when_the_report_is_made_again(fault: Fault) -> None:
    faults = FaultsAt(Site("report_outcome", "wandb", "UpsertRun"), fault, times=3)
    with world(9, faults, script=lambda _: Script(calls_init=False)) as made:
        item = made.push(resource_args={"sagemaker": ALGORITHM})
        outcome = ended(made, item)
        assert (outcome["verdict"], outcome["reason"]) == ("finished", "The training job completed.")
        assert "metrics" not in json.dumps(item.warnings)
        run = made.run(ENTITY, PROJECT, item.associated_run_id or "")
        assert run.state == "finished"
        assert run.config_values["_wandb"] == {"value": {"launch_trace_id": item.id}}


# --- permanent refusals by W&B: the run still ends
@pytest.mark.parametrize("refused", ["RunState", "UpsertRun"])
def test_a_refusal_when_the_outcome_is_reported_is_in_the_outcome(refused: str) -> None:
    def forbidden(*asked: Any) -> Any:
        mine = len(asked) == 4 and f"{refused}(".encode() in asked[3] and b"sweep-controller" not in asked[3]
        return (403, b'{"errors": [{"message": "permission denied"}]}') if mine else None

    with world(10, NoFaults(), script=lambda _: Script(calls_init=False)) as made:
        instead(made, forbidden)
        item = made.push(resource_args={"sagemaker": ALGORITHM})
        outcome = ended(made, item)
        assert outcome["verdict"] == "finished"
        assert "W&B refused with HTTP 403: permission denied" in outcome["reason"]
        assert "permission denied" in item.warnings[-1]["message"]


def test_an_item_whose_acknowledgement_is_refused_fails_after_three_leases() -> None:
    with world(10, FaultsAt(Site("plan_run", "wandb", "AckItem"), Fault.REFUSED, times=99)) as made:
        item = made.push()
        made.clock.run(3 * HOUR)
        (record,) = made.records(item.id)
        assert (record["attempt"], record["refusals"]) == ({"N": "3"}, {"N": "3"})
        assert item.state is ItemState.FAILED
        assert "This happened 3 times." in (item.error or {})["message"]


def test_an_item_of_which_w_and_b_refuses_to_say_who_has_it_keeps_no_slot() -> None:
    def forbidden(*asked: Any) -> Any:
        mine = len(asked) == 4 and any(name in asked[3] for name in (b"AckItem(", b"QueueItem("))
        return (403, b'{"errors": [{"message": "permission denied"}]}') if mine else None

    with world(10, NoFaults()) as made:
        instead(made, forbidden)
        item = made.push()
        made.clock.run(3 * HOUR)
        assert not made.stacks["launch"].machine.running
        made.server.state.items.pop(item.id)
        made.queue.items.pop(item.id), made.queue.waiting.pop(item.id, None)
        made.clock.run(10 * 60)
        assert made.stacks["launch"].open == set()


# --- no outgoing text contains a secret
ECHO = (
    "1 validation error detected: Value '{{{}}}' at 'environment' failed to satisfy constraint: Member must have length"
)


def echo_whole(asked: dict[str, Any]) -> str:
    return ECHO.format(", ".join(f"{name}={value}" for name, value in asked["Environment"].items()))


def echo_cut(asked: dict[str, Any]) -> str:
    return f"Invalid request: {json.dumps(json.dumps(asked))[:900]}"


def echo_each(asked: dict[str, Any]) -> str:
    return " ".join(str(value) for value in asked["Environment"].values())


@pytest.mark.parametrize("echo", [echo_whole, echo_cut, echo_each], ids=lambda echo: echo.__name__)
@pytest.mark.parametrize("key_of_run", [KEY_OF_RUN, None], ids=["the run's key", "the agent's key"])
def test_what_sagemaker_repeats_of_a_request_is_not_passed_on(
    echo: Callable[[dict[str, Any]], str], key_of_run: str | None
) -> None:
    secrets = {"TOKEN": "ghp_0123456789abcdef", "DB_PIN": "9021", "URL": 'https://u:p"w@h/x y', "LONG": "z9" * 200}

    def refuses(service: str, operation: str, asked: Any, *_: Any) -> Any:
        if operation == "CreateTrainingJob":
            raise Refused("ValidationException", echo(asked))

    with world(11, NoFaults()) as made:
        instead(made, refuses)
        item = made.push(_wandb_api_key=key_of_run, resource_args={"sagemaker": {"Environment": secrets}})
        outcome = ended(made, item)
        execution = made.execution(item)
        assert execution
        seen = f"{told(made)} {execution.cause} {outcome} {json.dumps(made.records(item.id), default=str)}"
        for secret in (API_KEY, KEY_OF_RUN, "ghp_0123456789abcdef", "9021", 'p"w@', 'p\\"w', "z9" * 8):
            assert secret not in seen
        assert "SageMaker refused the training job" in outcome["reason"]


# --- events of others' training jobs
@pytest.mark.parametrize("is_denied", [False, True])
def test_a_foreign_training_job_costs_one_look(is_denied: bool) -> None:
    def denies(service: str, operation: str, asked: Any, *_: Any) -> Any:
        if is_denied and service == "sagemaker" and operation in ("ListTags", "DescribeTrainingJob"):
            raise Refused("AccessDeniedException", "no identity-based policy allows the action")

    faults = NoFaults()
    with world(12, faults) as made:
        instead(made, denies)
        foreign = {"TrainingJobName": "theirs", "RoleArn": "arn:aws:iam::123456789012:role/theirs", "Environment": {}}
        for number in range(20):
            made.training.made({**foreign, "TrainingJobName": f"theirs-{number}"}, Script(calls_init=False))
        made.clock.run(HOUR)
        calls = {site: count for site, count in faults.seen.items() if site.function == "resume_run"}
        assert {site.service for site in calls} == {"sagemaker"}
        assert calls[Site("resume_run", "sagemaker", "ListTags")] <= 20 * 6
        assert made.undelivered == 0
        assert all(job.shown["TrainingJobStatus"] == "Completed" for job in made.training.jobs.values())
