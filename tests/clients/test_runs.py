"""The Runs table: slots and records change together, even if calls are repeated or concurrent."""

import gzip
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from launch_agent.clients.aws import aws_client
from launch_agent.clients.runs import MAX_OPENED, Runs
from launch_agent.errors import AwsRefused, AwsThrottled, InvalidRunSpec
from launch_agent.run_queue.items import RunPath, Slot
from launch_agent.runs.life import LIFE, Event, RunState
from launch_agent.runs.record import AgentRecord, PlannedRun, RunDetails, RunRecord
from launch_agent.safe_text import forget_secrets, safe
from launch_agent.training.retries import RetryReason
from tests.bench.units import Units
from tests.documents import details_table, runs_table
from tests.golden.cases import plan
from tests.make import NOW, item_ref, run_record
from tests.simulation.dynamodb import Table, conflict
from tests.simulation.transport import answered

AGENT = AgentRecord(entity="team", launch_agent_id="a1", launch_agent_name="agent-run", config_fingerprint="f")
SPEC = {"entity": "team", "_wandb_api_key": "sekret", "n": [1, None, 2.5]}


@pytest.fixture(params=["moto", "simulated"])
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """A new table for each test, in moto and in the simulated world: both must behave alike."""
    make = moto_table if request.param == "moto" else simulated_table
    with make():
        table = Runs("runs", "details")
        table.agents.remember(AGENT)
        yield table


@contextmanager
def moto_table() -> Iterator[None]:
    """The table in moto."""
    with mock_aws():
        boto3.client("dynamodb").create_table(TableName="runs", **runs_table())
        boto3.client("dynamodb").create_table(TableName="details", **details_table())
        yield


@contextmanager
def simulated_table(answer: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None) -> Iterator[None]:
    """The table of the simulated world."""
    table = answer or Table(runs_table()).answer

    class Aws:
        def __init__(self) -> None:
            self.objects: dict[str, bytes] = {}

        def answer(self, _: str, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
            return table(operation, asked)

    class NoWandb:
        def answer(self, *_: Any) -> tuple[int, bytes]:
            raise AssertionError

    with answered(Aws(), NoWandb()):
        yield


def slots(runs: Runs) -> tuple[int, int]:
    agent = runs.agents.find("team")
    assert agent
    return agent.jobs_open, agent.schedulers_open


def closed(runs: Runs, item_id: str, outcome: dict[str, str]) -> bool:
    """End an open run and close it, as what reports it does."""
    run = run_record(item_id)
    return runs.end(run) and runs.close(run, outcome)


def test_an_open_run_is_read_back_whole(runs: Runs) -> None:
    assert runs.open(run_record(), spec=SPEC, limit=1)
    assert runs.get("item") == run_record()
    assert runs.get("another") is None


def test_opening_takes_a_slot_and_ending_frees_it(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=1)
    assert slots(runs) == (1, 0)
    assert runs.end(run_record())
    assert slots(runs) == (0, 0)
    assert runs.close(run_record(), {"verdict": "finished", "reason": "."})
    assert slots(runs) == (0, 0)


def test_a_run_that_has_ended_is_found_until_it_is_closed_and_does_not_go_on(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=1)
    runs.planned(PLAN)
    runs.awaiting("item", training_job_name="job", task_token="token")
    assert runs.end(run_record())
    assert not runs.end(run_record())
    ended = runs.unreported_run("item")
    assert ended
    assert (ended.state, ended.acked, ended.task_token) == (RunState.ENDED, True, None)
    assert runs.open_run("item") is None
    assert [each.state for each in runs.unreported_runs()] == [RunState.ENDED]
    assert runs.details("item").plan == PLAN
    assert not runs.awaiting("item", training_job_name="job", task_token="token")
    assert not runs.give_back(run_record())
    assert runs.close(run_record(), {"verdict": "finished", "reason": "."})
    assert (runs.unreported_run("item"), list(runs.unreported_runs())) == (None, [])


def test_nothing_is_opened_beyond_the_limit(runs: Runs) -> None:
    assert runs.open(run_record("one"), spec=SPEC, limit=1)
    assert not runs.open(run_record("two"), spec=SPEC, limit=1)
    assert runs.get("two") is None
    assert slots(runs) == (1, 0)


def test_new_runs_are_opened_together_with_a_slot_for_each(runs: Runs) -> None:
    several = [run_record(str(number)) for number in range(MAX_OPENED)]
    assert runs.open_new([(each, SPEC) for each in several], limit=MAX_OPENED)
    assert slots(runs) == (MAX_OPENED, 0)
    assert [runs.get(each.item.id) for each in several] == several
    assert runs.details("3").spec == SPEC


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_of_new_runs_none_is_opened_if_there_are_slots_for_some(runs: Runs, limit: int) -> None:
    runs.open(run_record("before"), spec=SPEC, limit=-1)
    assert not runs.open_new([(run_record(name), SPEC) for name in ("one", "two", "three")], limit=limit)
    assert (slots(runs), runs.get("one")) == ((1, 0), None)


def test_of_new_runs_none_is_opened_if_one_is_not_new(runs: Runs) -> None:
    runs.open(run_record("two"), spec=SPEC, limit=-1)
    runs.give_back(run_record("two"))
    assert not runs.open_new([(run_record(name), SPEC) for name in ("one", "two")], limit=-1)
    assert (slots(runs), runs.get("one")) == ((0, 0), None)


def test_as_many_runs_as_are_opened_together_fit_into_a_transaction_however_long_they_are() -> None:
    """DynamoDB takes 100 writes of 4 MB together; a run is two, and the slots are one."""
    spec = random.Random(1).randbytes(148_000).hex()
    sent: list[int] = []

    def answer(operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        sent.append(len(json.dumps(asked)))
        assert (operation, len(asked["TransactItems"])) == ("TransactWriteItems", 2 * MAX_OPENED + 1)
        return {}

    with simulated_table(answer):
        assert Runs("runs", "details").open_new([(run_record(str(n)), spec) for n in range(MAX_OPENED)], limit=-1)
    assert sent[0] * 3 / 4 < 4_000_000  # binary values are sent in base64


def test_a_limit_of_minus_one_is_none(runs: Runs) -> None:
    assert all(runs.open(run_record(str(number)), spec=SPEC, limit=-1) for number in range(20))
    assert slots(runs) == (20, 0)


def test_schedulers_have_slots_of_their_own(runs: Runs) -> None:
    assert runs.open(run_record("one", slot=Slot.SCHEDULER), spec=SPEC, limit=1)
    assert runs.open(run_record("two"), spec=SPEC, limit=1)
    assert slots(runs) == (1, 1)


def test_the_same_item_is_opened_once(runs: Runs) -> None:
    assert runs.open(run_record(), spec=SPEC, limit=5)
    assert not runs.open(run_record(), spec=SPEC, limit=5)
    assert not runs.open(run_record(attempt=2), spec=SPEC, limit=5)
    assert slots(runs) == (1, 0)


def test_a_run_is_closed_once(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=1)
    assert closed(runs, "item", {"verdict": "finished", "reason": "."})
    assert not runs.close(run_record(), {"verdict": "failed", "reason": "late"})
    assert not runs.give_back(run_record())
    assert slots(runs) == (0, 0)
    found = runs.get("item")
    assert found
    assert found.outcome == {"verdict": "finished", "reason": "."}


PLAN = plan("image-job").model_copy(update={"item": item_ref()})


@pytest.mark.parametrize("end", ["close", "give back"])
def test_a_run_that_is_not_open_keeps_no_spec_no_plan_and_no_token(runs: Runs, end: str) -> None:
    runs.open(run_record(), spec=SPEC, limit=1)
    runs.planned(PLAN)
    runs.awaiting("item", training_job_name="job", task_token="token")
    assert {"spec", "plan"} <= set(stored("run#item#details", "details"))
    if end == "close":
        closed(runs, "item", {"verdict": "finished", "reason": "."})
    else:
        runs.give_back(run_record())
    assert not {"spec", "plan", "task_token"} & set(stored())
    assert set(stored("run#item#details", "details")) == {"pk", "ttl"}
    assert int(stored()["ttl"]["N"]) > NOW.timestamp()
    runs.planned(PLAN)  # by a late function
    assert set(stored("run#item#details", "details")) == {"pk", "ttl"}
    assert runs.details("item") == RunDetails()


def test_only_the_table_of_details_has_specs_and_plans_and_nothing_else_is_in_it(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=1)
    runs.planned(PLAN)
    assert not {"spec", "plan"} & set(stored())
    assert set(stored("run#item#details", "details")) == {"pk", "spec", "plan"}
    assert runs.details("item") == RunDetails(spec=SPEC, plan=PLAN)


@pytest.mark.parametrize("planned_by", ["the older version", "this version"])
def test_a_record_of_an_older_version_is_read_and_forgotten_alike(runs: Runs, planned_by: str) -> None:
    """The record itself contains the run spec and, if planned before the upgrade, the plan."""
    runs.open(run_record(), spec={}, limit=1)
    older = {"spec": SPEC, "plan": PLAN.model_dump(mode="json")}
    client = aws_client("dynamodb")
    client.update_item(
        TableName="details",
        Key=key("run#item#details"),
        UpdateExpression="REMOVE #spec",
        ExpressionAttributeNames={"#spec": "spec"},
    )
    store("runs", "run#item", **(older if planned_by == "the older version" else {"spec": SPEC}))
    if planned_by == "this version":
        assert runs.details("item") == RunDetails(spec=SPEC)
        runs.planned(PLAN)
    assert runs.details("item") == RunDetails(spec=SPEC, plan=PLAN)
    assert runs.get("item") == run_record().model_copy(
        update={} if planned_by == "the older version" else {"entity": PLAN.entity, "project": PLAN.project}
    )
    closed(runs, "item", {"verdict": "finished", "reason": "."})
    assert not {"spec", "plan"} & (set(stored()) | set(stored("run#item#details", "details")))


def test_a_plan_that_another_version_made_otherwise_is_none(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=1)
    store("details", "run#item#details", plan={"training_request": {}, "unknown": 1})
    assert runs.details("item") == RunDetails(spec=SPEC)


def test_what_is_secret_in_a_spec_is_hidden_once_it_was_read(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=1)
    forget_secrets()
    assert safe("the key sekret") == "the key sekret"
    runs.details("item")
    assert safe("the key sekret") == "the key ***"


def test_a_closed_item_is_not_opened_again_and_a_returned_one_is_as_the_next_attempt(runs: Runs) -> None:
    runs.open(run_record("closed"), spec=SPEC, limit=5)
    closed(runs, "closed", {"verdict": "failed", "reason": "."})
    assert not runs.open(run_record("closed", attempt=2), spec=SPEC, limit=5)
    runs.open(run_record("returned"), spec=SPEC, limit=5)
    runs.give_back(run_record("returned"))
    assert slots(runs) == (0, 0)
    assert not runs.open(run_record("returned"), spec=SPEC, limit=5)
    assert runs.open(run_record("returned", attempt=2), spec=SPEC, limit=5)
    assert slots(runs) == (1, 0)


def test_an_earlier_attempt_cannot_end_a_later_one(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=5)
    runs.give_back(run_record())
    runs.open(run_record(attempt=2), spec=SPEC, limit=5)
    assert not runs.end(run_record(attempt=1))
    assert not runs.close(run_record(attempt=1), {"verdict": "failed", "reason": "."})
    assert slots(runs) == (1, 0)


def test_what_happens_to_an_open_run_is_remembered(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=1)
    runs.acknowledged("item")
    runs.planned(PLAN)
    runs.awaiting("item", training_job_name="job", task_token="token")
    found = runs.get("item")
    assert found
    assert (found.acked, found.project, found.training_job_name, found.task_token) == (
        True,
        PLAN.project,
        "job",
        "token",
    )


def test_the_lease_can_pass_to_another_registration(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=1)
    runs.leased_again("item", AGENT.model_copy(update={"launch_agent_id": "a2", "launch_agent_name": "other-run"}))
    found = runs.get("item")
    assert found
    assert (found.launch_agent_id, found.launch_agent_name) == ("a2", "other-run")


def key(pk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}}


def store(table: str, pk: str, **values: Any) -> None:
    """Set attributes of an item, packed like the application's."""
    aws_client("dynamodb").update_item(
        TableName=table,
        Key=key(pk),
        UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in values),
        ExpressionAttributeNames={f"#{name}": name for name in values},
        ExpressionAttributeValues={
            f":{name}": {"B": gzip.compress(json.dumps(value).encode())} for name, value in values.items()
        },
    )


def stored(pk: str = "run#item", table: str = "runs") -> dict[str, Any]:
    """A stored item: the record, unless another key is given."""
    client = aws_client("dynamodb")
    return dict(client.get_item(TableName=table, Key=key(pk))["Item"])


def status_at(runs: Runs, status: str, seconds: int, job: str = "job") -> RunRecord | None:
    return runs.status_seen("item", training_job_name=job, status=status, at=NOW + timedelta(seconds=seconds))


def stored_status() -> str:
    item = stored()
    return str(item["training_status"]["S"])


def test_an_old_status_never_wins_over_a_newer_one(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=1)
    runs.awaiting("item", training_job_name="job", task_token="token")
    for status, seconds in (("Starting", 0), ("Completed", 9), ("Training", 5), ("Completed", 9)):
        assert status_at(runs, status, seconds)
    assert stored_status() == "Completed"


def test_a_status_of_another_job_is_not_this_runs(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=1)
    runs.awaiting("item", training_job_name="job", task_token="token")
    status_at(runs, "Training", 0)
    assert status_at(runs, "Completed", 1, job="other")
    assert stored_status() == "Training"
    assert runs.status_seen("unknown", training_job_name="job", status="Completed", at=NOW) is None


def test_registering_again_keeps_the_slots_in_use(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=1)
    runs.agents.remember(AGENT.model_copy(update={"launch_agent_id": "a2", "stop_polling": True}))
    found = runs.agents.find("team")
    assert found
    assert (found.launch_agent_id, found.stop_polling, found.jobs_open) == ("a2", True, 1)
    assert runs.agents.find("another") is None


def test_one_call_registers_in_the_place_of_what_it_knows(runs: Runs) -> None:
    assert runs.agents.claim_registration("team", known=AGENT, now=NOW)
    assert not runs.agents.claim_registration("team", known=AGENT, now=NOW + timedelta(seconds=59))
    assert runs.agents.claim_registration("team", known=AGENT, now=NOW + timedelta(seconds=60))  # the first did not end
    runs.agents.remember(AGENT.model_copy(update={"launch_agent_id": "a2"}))
    later = NOW + timedelta(hours=1)
    assert not runs.agents.claim_registration("team", known=AGENT, now=later)  # registered in the meantime
    assert runs.agents.claim_registration("team", known=runs.agents.find("team"), now=NOW)


def test_the_first_registration_is_claimed_too(runs: Runs) -> None:
    assert runs.agents.claim_registration("new", known=None, now=NOW)
    assert runs.agents.find("new") is None
    assert not runs.agents.claim_registration("new", known=None, now=NOW)
    assert not runs.agents.claim_registration("team", known=None, now=NOW)


def test_a_run_spec_that_does_not_fit_is_refused_before_a_slot_is_taken(runs: Runs) -> None:
    noise = random.Random(0).randbytes(400_000).hex()
    with pytest.raises(InvalidRunSpec, match="It is too long"):
        runs.open(run_record(), spec={"noise": noise}, limit=1)
    assert slots(runs) == (0, 0)


def test_runs_without_an_outcome_are_found_and_others_are_not(runs: Runs) -> None:
    for name in ("one", "two", "three"):
        runs.open(run_record(name), spec=SPEC, limit=-1)
    closed(runs, "one", {"verdict": "finished", "reason": "."})
    runs.give_back(run_record("two"))
    runs.planned(plan("image-job").model_copy(update={"item": run_record("three").item}))
    (found,) = runs.unreported_runs()
    assert (found.item.id, found.entity) == ("three", "team")
    runs.open(run_record("two", attempt=2), spec=SPEC, limit=-1)
    assert {each.item.id for each in runs.unreported_runs()} == {"two", "three"}


def test_a_poll_finds_the_open_runs_that_are_planned(runs: Runs) -> None:
    for name in ("planned", "stopped", "ended", "new"):
        item = item_ref(name, run_id=f"run-{name}")
        runs.open(run_record(name, item=item), spec=SPEC, limit=-1)
        if name != "new":
            runs.planned(plan("image-job").model_copy(update={"item": item, "project": "vision"}))
    runs.stop_requested("stopped", at=NOW)
    runs.end(run_record("ended"))
    assert sorted(runs.planned_runs()) == [
        PlannedRun("planned", RunPath("team", "vision", "run-planned"), None),
        PlannedRun("stopped", RunPath("team", "vision", "run-stopped"), NOW),
    ]


def test_open_jobs_are_counted_by_queue_and_open_schedulers_are_listed(runs: Runs) -> None:
    for number, queue in enumerate(("cpu", "gpu", "gpu")):
        runs.open(run_record(item=item_ref(f"job{number}", queue=queue)), spec=SPEC, limit=-1)
        runs.open(run_record(item=item_ref(f"sweep{number}", queue=queue), slot=Slot.SCHEDULER), spec=SPEC, limit=-1)
    for ended in ("job1", "sweep1"):
        runs.end(run_record(ended))
    assert runs.jobs_by_queue() == {"cpu": 1, "gpu": 1}
    assert sorted(runs.open_schedulers()) == ["sweep0", "sweep2"]


def test_an_item_that_comes_back_is_not_stopped_for_what_was_asked_of_its_earlier_attempt(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=5)
    runs.stop_requested("item", at=NOW)
    runs.give_back(run_record())
    runs.open(run_record(attempt=2), spec=SPEC, limit=5)
    found = runs.get("item")
    assert found
    assert found.stop_requested_at is None


def test_the_first_request_to_stop_counts(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=5)
    for seconds in (0, 60):
        runs.stop_requested("item", at=NOW + timedelta(seconds=seconds))
    found = runs.get("item")
    assert found
    assert found.stop_requested_at == NOW


def test_ended_jobs_are_grouped_by_the_reason_for_another(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=5)
    for name in ("a", "b", "b"):
        runs.training_job_failed("item", training_job_name=name, reason=RetryReason.CAPACITY, at=NOW)
    runs.training_job_failed("item", training_job_name="c", reason=RetryReason.SAGEMAKER, at=NOW + timedelta(seconds=1))
    found = runs.get("item")
    assert found
    assert found.jobs_without_capacity == {"a", "b"}
    assert found.jobs_sagemaker_failed == {"c"}
    assert found.ended_jobs == {"a", "b", "c"}
    assert found.capacity_awaited_since == NOW


def test_a_refusal_for_lack_of_capacity_leaves_no_job_to_wait_for(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=5)
    runs.awaiting("item", training_job_name="job", task_token="token")
    assert runs.refused("item", at=NOW) == NOW
    assert runs.refused("item", at=NOW + timedelta(hours=1)) == NOW
    found = runs.get("item")
    assert found
    assert (found.training_job_name, found.task_token) == (None, None)


def test_only_an_open_run_is_found_as_one(runs: Runs) -> None:
    assert runs.open_run("item") is None
    runs.open(run_record(), spec=SPEC, limit=5)
    assert runs.open_run("item") == runs.get("item")
    closed(runs, "item", {"verdict": "stopped", "reason": "."})
    assert runs.open_run("item") is None


def test_a_job_that_was_replaced_is_not_awaited() -> None:
    named = run_record().model_copy(update={"training_job_name": "job"})
    ended = named.model_copy(update={"jobs_sagemaker_failed": frozenset({"job"})})
    assert [each.awaits_job for each in (run_record(), named, ended)] == [False, True, False]


def test_a_run_is_warned_of_a_thing_once(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=5)
    assert [runs.warned("item", text) for text in ("quota", "quota", "spot")] == [True, False, True]
    runs.not_warned("item", "spot")
    found = runs.get("item")
    assert found
    assert found.warned == {"quota"}
    assert runs.warned("item", "spot")
    assert not runs.warned("unknown", "spot")


def test_no_training_job_is_awaited_by_a_closed_run(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=5)
    assert closed(runs, "item", {"verdict": "stopped", "reason": "."})
    assert not runs.awaiting("item", training_job_name="job", task_token="token")
    item = stored()
    assert "task_token" not in item


def test_a_closed_run_is_opened_again_for_a_redrive_once_and_within_the_limit(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=1)
    runs.awaiting("item", training_job_name="job", task_token="token")
    runs.never_begun("item")
    closed(runs, "item", {"verdict": "not launched", "reason": "."})
    runs.open(run_record("other"), spec=SPEC, limit=1)
    assert not runs.open_again(run_record(), spec={"a": 1}, redrives=1, at=NOW, limit=1)
    assert runs.open_again(run_record(), spec={"a": 1}, redrives=1, at=NOW, limit=2)
    assert not runs.open_again(run_record(), spec={"a": 1}, redrives=1, at=NOW, limit=5)
    found = runs.get("item")
    assert found
    assert (found.state, found.acked, found.redrives) == (RunState.OPEN, True, 1)
    assert runs.details("item") == RunDetails(spec={"a": 1})
    assert (found.outcome, found.training_job_name, found.never_begun) == (None, None, False)
    assert slots(runs) == (2, 0)


def test_slots_are_corrected_only_if_none_was_taken_or_freed_meanwhile(runs: Runs) -> None:
    runs.open(run_record(), spec=SPEC, limit=5)
    before = runs.agents.find("team")
    assert before
    runs.open(run_record("other").model_copy(update={"opened_at": NOW + timedelta(seconds=1)}), spec=SPEC, limit=5)
    assert not runs.agents.reset_count(before, slot=Slot.JOB, open_runs=0)
    assert slots(runs) == (2, 0)
    after = runs.agents.find("team")
    assert after
    assert runs.agents.reset_count(after, slot=Slot.JOB, open_runs=0)
    assert slots(runs) == (0, 0)
    assert not runs.agents.reset_count(AGENT, slot=Slot.JOB, open_runs=7)


def test_a_sweep_continues_after_the_last_one(runs: Runs) -> None:
    assert runs.sweep_cursor() == ""
    runs.save_sweep_cursor("item")
    assert runs.sweep_cursor() == "item"


@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("write", ["TransactWriteItems", "UpdateItem"])
def test_a_write_that_meets_another_of_the_same_item_is_made_again(write: str, times: int) -> None:
    with conflicts(write, times) as asked:
        table = Runs("runs", "details")
        table.agents.remember(AGENT)
        assert table.open(run_record(), spec=SPEC, limit=1)
        table.acknowledged("item")
    assert asked[write] > times


def test_a_write_that_meets_others_at_every_try_is_throttled() -> None:
    with conflicts("TransactWriteItems", 1_000) as asked, pytest.raises(AwsThrottled, match="other writes"):
        Runs("runs", "details").open(run_record(), spec=SPEC, limit=1)
    assert asked["TransactWriteItems"] == 5


def test_a_run_that_does_not_fit_into_an_item_is_an_invalid_one(runs: Runs) -> None:
    long = run_record().model_copy(update={"launch_agent_name": "x" * 450_000})
    with pytest.raises(InvalidRunSpec, match="400 KB"):
        runs.open(long, spec=SPEC, limit=1)
    assert slots(runs) == (0, 0)
    runs.open(run_record(), spec=SPEC, limit=1)
    with pytest.raises(AwsRefused, match="exceeded the maximum allowed size"):
        runs.awaiting("item", training_job_name="job", task_token="x" * 450_000)


@contextmanager
def conflicts(operation: str, times: int) -> Iterator[Counter[str]]:
    """A table where the first `times` calls of an operation conflict with another write of the same item."""
    table, asked = Table(runs_table()), Counter[str]()

    def answer(called: str, given: dict[str, Any]) -> dict[str, Any]:
        asked[called] += 1
        if called == operation and asked[called] <= times:
            raise conflict(called)
        return table.answer(called, given)

    with simulated_table(answer):
        yield asked


def brought_to(state: RunState | None, runs: Runs) -> None:
    """Bring the item's run into a state, with all data that can be stored on the way."""
    if state is None:
        return
    runs.open(run_record(), spec=SPEC, limit=-1)
    runs.planned(PLAN)
    runs.awaits_build("item", "other")
    runs.stop_requested("item", at=NOW)
    runs.training_job_failed("item", training_job_name="earlier", reason=RetryReason.CAPACITY, at=NOW)
    runs.awaiting("item", training_job_name="job", task_token="token")
    if state is RunState.ENDED:
        runs.end(run_record())
    if state is RunState.CLOSED:
        closed(runs, "item", {"verdict": "finished", "reason": "."})
    if state is RunState.RETURNED:
        runs.give_back(run_record(), refusal="no")


def brought_about(event: Event, runs: Runs, attempt: int) -> bool:
    """Request a change of the item's run; return whether it was made."""
    run = run_record(attempt=attempt)
    if event is Event.OPENED:
        return runs.open(run, spec=SPEC, limit=-1)
    if event is Event.RELAUNCHED:
        return runs.open_again(run, spec=SPEC, redrives=1, at=NOW, limit=-1)
    if event is Event.ENDED:
        return runs.end(run)
    return runs.close(run, {"verdict": "failed", "reason": "."}) if event is Event.CLOSED else runs.give_back(run)


def everything(runs: Runs) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Return the item's stored record and details, and the slots in use."""
    return stored_if_there("run#item"), stored_if_there("run#item#details", "details"), slots(runs)[0]


def stored_if_there(pk: str, table: str = "runs") -> dict[str, Any]:
    found = aws_client("dynamodb").get_item(TableName=table, Key=key(pk))
    return dict(found.get("Item", {}))


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", [None, *RunState])
def test_a_run_changes_as_the_table_of_its_life_says_and_not_otherwise(
    runs: Runs, state: RunState | None, event: Event
) -> None:
    brought_to(state, runs)
    before, change = everything(runs), LIFE[event]
    assert brought_about(event, runs, attempt=2 if change.next_attempt else 1) is (state in change.after)
    after = everything(runs)
    if state not in change.after:
        assert after == before
        return
    run, details, taken = after
    assert RunState(run["state"]["S"]) is change.to
    assert taken == before[-1] + change.slots
    assert not set(change.forgets) & set(run)
    # Only a run without an outcome is in the index and has details.
    assert ("open" in run, "spec" in details, "ttl" in details) == (
        (True, True, False) if runs.unreported_run("item") else (False, False, True)
    )


@pytest.mark.parametrize("event", Event)
def test_a_change_of_another_attempt_is_not_made(runs: Runs, event: Event) -> None:
    change = LIFE[event]
    brought_to(change.after[-1], runs)
    before = everything(runs)
    assert not brought_about(event, runs, attempt=1 if change.next_attempt else 2)
    assert everything(runs) == before


def test_what_a_change_forgets_can_have_been_stored() -> None:
    stored_outside_the_record = {"spec", "plan", "open", "ended_at", "ttl"}
    for change in LIFE.values():
        assert set(change.forgets) <= set(RunRecord.model_fields) | stored_outside_the_record


def test_slots_are_taken_by_what_opens_a_run_and_freed_by_what_ends_it() -> None:
    for change in LIFE.values():
        assert change.slots == (change.to is RunState.OPEN) - (RunState.OPEN in change.after)


def test_open_runs_that_fill_more_than_a_page_are_all_found(runs: Runs) -> None:
    items = [item_ref(str(number), queue="x" * 300_000) for number in range(5)]
    for item in items:
        assert runs.open(run_record(item=item), spec=None, limit=-1)
    assert sorted(run.item.id for run in runs.unreported_runs()) == [item.id for item in items]
    assert len(runs.jobs_by_queue()) == 1
    assert runs.jobs_by_queue().total() == len(items)


def test_a_page_of_the_simulated_table_has_a_megabyte() -> None:
    table = Table(runs_table())
    for number in range(5):
        item = {"pk": {"S": str(number)}, "open": {"S": "run"}, "entity": {"S": "x" * 300_000}}
        table.answer("PutItem", {"Item": item})
    asked: dict[str, Any] = {"IndexName": "OpenRuns", "KeyConditionExpression": "#n = :v"}
    asked |= {"ExpressionAttributeNames": {"#n": "open"}, "ExpressionAttributeValues": {":v": {"S": "run"}}}
    first = table.answer("Query", asked)
    second = table.answer("Query", {**asked, "ExclusiveStartKey": first["LastEvaluatedKey"]})
    assert [item["pk"]["S"] for page in (first, second) for item in page["Items"]] == ["0", "1", "2", "3", "4"]
    assert len(first["Items"]) == 3
    assert "LastEvaluatedKey" not in second


def test_a_query_of_the_simulated_table_reads_what_it_leaves_out() -> None:
    table = Table(runs_table())
    units = Units(table)
    for number in range(4):
        state = {"state": {"S": "open"}} if number % 2 else {}
        item = {"pk": {"S": str(number)}, "open": {"S": "run"}, "entity": {"S": "x" * 300_000}, **state}
        table.answer("PutItem", {"Item": item})
    asked: dict[str, Any] = {"IndexName": "OpenRuns", "KeyConditionExpression": "#n = :v"}
    asked |= {"FilterExpression": "#s = :s", "ProjectionExpression": "#p"}
    asked |= {"ExpressionAttributeNames": {"#n": "open", "#s": "state", "#p": "pk"}}
    asked |= {"ExpressionAttributeValues": {":v": {"S": "run"}, ":s": {"S": "open"}}}
    first = table.answer("Query", asked)
    assert (first["Items"], first["LastEvaluatedKey"]["pk"]) == ([{"pk": {"S": "1"}}], {"S": "2"})
    assert units.read == 110  # three items, a unit for 8 KB
