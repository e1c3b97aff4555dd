"""Many runs are opened at the same time, by the threads that Lambda has: tables in moto, and executions."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from launch_agent.clients.executions import Executions
from launch_agent.clients.graphql import GraphqlClient, Operation
from launch_agent.clients.runs import Runs
from launch_agent.clients.wandb import Wandb
from launch_agent.clients.wandb_leases import Leased
from launch_agent.errors import AwsRefused, LaunchError
from launch_agent.run_queue.items import QueueItem
from launch_agent.run_queue.launch_config import LaunchConfig
from launch_agent.runs.record import AgentRecord
from launch_agent.settings import Environment
from launch_agent.steps.opening import Opening, logger
from launch_agent.wiring import Clients
from tests.documents import details_table, runs_table
from tests.make import NOW, run_record

AGENT = AgentRecord(entity="team", launch_agent_id="a1", launch_agent_name="agent-run", config_fingerprint="f")
SPEC = {"entity": "team", "project": "p", "_wandb_api_key": "sekret-of-the-run"}
TOO_LONG = {"overrides": {"args": [f"{number:x}" for number in range(200_000)]}}


class FailedItems(GraphqlClient):
    """W&B, as far as it is told that items fail."""

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}

    def execute(self, operation: Operation) -> dict[str, Any]:
        """Remember why an item failed."""
        given = operation.variables["input"]
        self.failed[given["runQueueItemId"]] = given["message"]
        return {}


class OneRefused(Executions):
    """Step Functions, which refuses the execution of one item."""

    def __init__(self, item_id: str) -> None:
        super().__init__()
        self._refused = item_id

    def start(self, state_machine_arn: str, name: str, given: Any) -> bool:
        """Start an execution."""
        if given["run_queue_item_id"] == self._refused:
            raise AwsRefused("StartExecution: not authorized")
        return super().start(state_machine_arn, name, given)


class Aws:
    """The clients of a poll, and what they have done."""

    def __init__(self, max_jobs: int) -> None:
        boto3.client("dynamodb").create_table(TableName="runs", **runs_table())
        boto3.client("dynamodb").create_table(TableName="details", **details_table())
        self._states = boto3.client("stepfunctions")
        role = "arn:aws:iam::123456789012:role/machine"
        self.clients, self.wandb = Clients(), FailedItems()
        self.clients.state_machine_arn = self._states.create_state_machine(
            name="machine",
            definition=json.dumps({"StartAt": "Ended", "States": {"Ended": {"Type": "Succeed"}}}),
            roleArn=role,
        )["stateMachineArn"]
        self.clients.env = Environment.model_validate(
            {
                **dict.fromkeys(Environment.model_fields, "x"),
                "capacity_wait_hours": 24,
                "wandb_init_grace_seconds": 60,
                "wandb_base_url": "https://api.wandb.ai",
            }
        )
        self.clients.config = LaunchConfig(queues=["sm"], max_jobs=max_jobs)
        self.clients.wandb, self.clients.runs = Wandb(self.wandb), Runs("runs", "details")
        self.clients.runs.agents.remember(AGENT)
        self.clients.executions = Executions()

    @property
    def started(self) -> list[str]:
        """The run queue items in the input of the executions."""
        arn = self.clients.state_machine_arn
        pages = self._states.get_paginator("list_executions").paginate(stateMachineArn=arn)
        found = [each["executionArn"] for page in pages for each in page["executions"]]
        inputs = (json.loads(self._states.describe_execution(executionArn=each)["input"]) for each in found)
        return sorted(each["run_queue_item_id"] for each in inputs)

    @property
    def slots(self) -> int:
        """The slots in use."""
        agent = self.clients.runs.agents.find("team")
        assert agent
        return agent.jobs_open

    def open(self, items: list[Leased]) -> Opening:
        """Open items as a poll that has leased them all at once."""
        opening = Opening(self.clients, AGENT, room=1000, has_time=lambda: True)
        opening.open_all(items)
        opening.finish()
        return opening


class Watching(logging.Handler):
    """Keeps the lines of a log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record)


@pytest.fixture
def aws(request: pytest.FixtureRequest) -> Iterator[Aws]:
    """Tables and a state machine for each test, with slots for `max_jobs` jobs."""
    with mock_aws():
        yield Aws(max_jobs=getattr(request, "param", -1))


def leased(count: int, **others: Any) -> list[Leased]:
    """Leased items; `others` have run specs of their own."""
    specs = {**{f"item{number:02}": SPEC for number in range(count)}, **others}
    return [Leased("sm", QueueItem(id=item_id, run_spec=spec)) for item_id, spec in sorted(specs.items())]


def test_each_item_has_one_execution_and_one_slot_and_the_log_says_which(aws: Aws) -> None:
    watching = Watching()
    logging.getLogger(logger.name).addHandler(watching)
    items = leased(45)
    opening = aws.open(items)
    logging.getLogger(logger.name).removeHandler(watching)
    names = [each.item.id for each in items]
    assert (aws.started, sorted(opening.opened), aws.slots, opening.failures) == (names, names, 45, [])
    told = [vars(line) for line in watching.lines if line.msg == "execution started"]
    assert [each["run_queue_item_id"] for each in told] == names
    for each in told:
        record = aws.clients.runs.get(each["run_queue_item_id"])
        assert record
        assert (record.item.run_id, record.execution_name) == (each["run_id"], each["execution"])


@pytest.mark.parametrize(
    "spec", [TOO_LONG, None, 7, {"uri": object()}], ids=["too long", "none", "a number", "no JSON"]
)
def test_an_item_that_cannot_be_opened_affects_no_other_of_its_batch(aws: Aws, spec: Any) -> None:
    opening = aws.open(leased(9, item05=spec))
    others = [f"item{number:02}" for number in range(9) if number != 5]
    assert set(others) <= set(aws.started)
    assert aws.slots == len(aws.started) == len(opening.opened)
    assert set(aws.wandb.failed) | set(aws.started) == {*others, "item05"}
    assert opening.failures == []


def test_items_that_are_open_or_were_given_back_are_opened_with_new_ones(aws: Aws) -> None:
    aws.clients.runs.open(run_record("item03", opened_at=NOW), spec=SPEC, limit=-1)
    aws.clients.runs.open(run_record("item04", opened_at=NOW), spec=SPEC, limit=-1)
    aws.clients.runs.give_back(run_record("item04"))
    aws.open(leased(8))
    assert (aws.slots, aws.started) == (8, [f"item{number:02}" for number in range(8)])
    again = aws.clients.runs.get("item04")
    assert again
    assert again.attempt == 2


@pytest.mark.parametrize("aws", [7], indirect=True)
def test_polls_that_have_counted_the_same_slots_open_no_more_runs_than_there_are(aws: Aws) -> None:
    """moto cannot run transactions at the same time; in the simulated world, polls overlap at every call."""
    for poll in range(4):
        aws.open(leased(0, **{f"item{poll}{number}": SPEC for number in range(4)}))
        assert aws.slots == len(aws.started) == min(7, 4 + 4 * poll)


def test_an_execution_that_is_refused_frees_its_slot_and_ends_the_leasing(aws: Aws) -> None:
    aws.clients.executions = OneRefused("item02")
    opening = aws.open(leased(5))
    assert (len(aws.started), aws.slots, opening.room()) == (4, 4, 0)
    assert [type(error) for error in opening.failures] == [AwsRefused]
    assert all(isinstance(error, LaunchError) for error in opening.failures)
    record = aws.clients.runs.get("item02")
    assert record
    assert not record.is_open
