"""Runs: what the server keeps of what it is sent, and that a running run whose heartbeats stop has crashed."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import time_machine

from local.wandb import Behaviour, WandbServer
from local.wandb.runs import Run

UPSERT = "mutation U($input: UpsertBucketInput!) { upsertBucket(input: $input) { bucket { state } } }"
UPSERT_VALUES = """mutation U($config: JSONString, $summary: JSONString) {
  upsertBucket(input: {name: "r", entityName: "team", modelName: "p", config: $config, summaryMetrics: $summary}) {
    bucket { config summaryMetrics }
  }
}"""
READ = """{ project(entityName: "team", name: "p") { run(name: "r") { state heartbeatAt } } }"""
START = 1_800_000_000


@pytest.fixture
def clock() -> Iterator[Any]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


def started(state: str | None = None, **behaviour: Any) -> tuple[WandbServer, Run]:
    """Return a server with a run that wandb.init has just created."""
    server = WandbServer(entity="team", api_key="k" * 40, behaviour=Behaviour(**behaviour))
    given = {"name": "r", "entityName": "team", "modelName": "p", "host": "h", **({"state": state} if state else {})}
    server.execute(UPSERT, {"input": given})
    return server, server.state.runs["team", "p", "r"]


def read(server: WandbServer) -> Any:
    return server.execute(READ, {})[0]["data"]["project"]["run"]


def test_a_running_run_without_heartbeats_has_crashed_after_five_minutes(clock: Any) -> None:
    server, run = started()
    clock.shift(200)
    run.stream({"files": {}})
    clock.shift(300)
    assert read(server) == {"state": "running", "heartbeatAt": "2027-01-15T08:03:20Z"}
    clock.shift(1)
    assert read(server)["state"] == "crashed"


def test_a_crashed_run_that_is_heard_again_runs_and_can_finish(clock: Any) -> None:
    server, run = started()
    clock.shift(1000)
    assert read(server)["state"] == "crashed"
    run.stream({"files": {}})
    assert read(server)["state"] == "running"
    clock.shift(1000)
    run.stream({"files": {}, "complete": True, "exitcode": 0})
    assert read(server)["state"] == "finished"


@pytest.mark.parametrize("state", ["pending", "finished", "failed", "killed"])
def test_a_run_that_does_not_run_does_not_crash(state: str, clock: Any) -> None:
    server, _ = started(state)
    clock.shift(10_000)
    assert read(server)["state"] == state


def test_a_run_that_was_created_long_before_it_starts_has_its_time_from_the_start(clock: Any) -> None:
    server, _ = started("pending")
    clock.shift(10_000)
    server.execute(UPSERT, {"input": {"name": "r", "entityName": "team", "modelName": "p", "host": "h"}})
    clock.shift(299)
    assert read(server)["state"] == "running"


def test_how_long_a_run_may_be_silent_is_a_switch(clock: Any) -> None:
    server, _ = started(silence_seconds=10)
    clock.shift(11)
    assert read(server)["state"] == "crashed"


def test_a_run_keeps_only_the_config_and_summary_that_were_sent_last() -> None:
    server = WandbServer(entity="team", api_key="k" * 40)
    for number in (1, 2):
        values = json.dumps({f"key{number}": {"value": number}})
        answer, _ = server.execute(UPSERT_VALUES, {"config": values, "summary": values})
    assert json.loads(answer["data"]["upsertBucket"]["bucket"]["config"]) == {"key2": {"value": 2}}
    assert json.loads(answer["data"]["upsertBucket"]["bucket"]["summaryMetrics"]) == {"key2": {"value": 2}}
    run = server.state.runs["team", "p", "r"]
    run.stream({"files": {"wandb-summary.json": {"offset": 0, "content": ['{"loss": 1}']}}})
    assert run.summary == {"loss": 1}
