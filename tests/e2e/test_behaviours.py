"""The pipeline with every possible behaviour of W&B's server, and with lost answers from W&B."""

import dataclasses
from typing import Any

import pytest

from local.wandb import Behaviour
from local.wandb.queues import RunQueueItem
from tests.e2e.conftest import Application, wait_for


def behave(app: Application, **switches: Any) -> None:
    """Change the server's behaviour; the fixture undoes it."""
    app.server.state.behaviour = dataclasses.replace(Behaviour(lease_seconds=10), **switches)


def launched_once(app: Application, item: RunQueueItem) -> bool:
    return len(app.training_jobs(item)) == 1 and item.state == "CLAIMED"


@pytest.mark.parametrize(
    "switches",
    [
        {"late_ack": False},
        {"repeated_ack": False},
        {"repeated_fail": False},
        {"fail_while_running": False},
        {"pop_by_strangers": False},
        {"lease_seconds": 0.0, "late_ack": True},
    ],
    ids=str,
)
def test_runs_are_launched_and_failures_reported_whatever_the_server_is_like(
    app: Application, switches: dict[str, Any]
) -> None:
    behave(app, **switches)
    good, wrong = app.quick(), app.quick(resource="kubernetes")
    assert app.outcome(good)["verdict"] == "finished"
    assert launched_once(app, good)
    assert "UnsupportedJobSource" in app.ended(wrong)["cause"]
    assert wrong.state == "FAILED"


@pytest.mark.parametrize("repeated_ack", [True, False])
def test_a_lost_answer_to_an_acknowledgement_loses_no_item(app: Application, repeated_ack: bool) -> None:
    behave(app, repeated_ack=repeated_ack)
    app.server.answers_to_lose.append("ackRunQueueItem")
    item = app.quick()
    assert app.outcome(item)["verdict"] == "finished"
    assert launched_once(app, item)
    assert app.server.answers_to_lose == []


@pytest.mark.parametrize("repeated_fail", [True, False])
def test_a_lost_answer_to_a_failure_reports_it_once(app: Application, repeated_fail: bool) -> None:
    behave(app, repeated_fail=repeated_fail)
    app.server.answers_to_lose.append("failRunQueueItem")
    item = app.quick(resource="kubernetes")
    assert app.ended(item)["status"] == "FAILED"
    assert item.error
    assert "UnsupportedJobSource" in item.error["message"]
    assert app.server.answers_to_lose == []


def test_a_lost_answer_to_a_pop_delays_its_item_by_a_lease(app: Application) -> None:
    behave(app, lease_seconds=3.0)
    app.server.answers_to_lose.append("popFromRunQueue")
    item = app.quick()
    assert app.outcome(item)["verdict"] == "finished"
    assert launched_once(app, item)


def test_an_item_whose_acknowledgement_is_refused_goes_back_and_is_launched_once_in_the_end(app: Application) -> None:
    behave(app, lease_seconds=0.0, late_ack=False)
    item = app.quick()
    first = app.ended(item)
    assert first["status"] == "SUCCEEDED"
    assert app.training_jobs(item) == []
    assert item.error is None
    behave(app)
    wait_for(lambda: item.state == "CLAIMED")
    wait_for(lambda: (record := app.record(item)) and record["state"] == "closed")
    assert launched_once(app, item)
    record = app.record(item)
    assert record
    assert int(record["attempt"]) > 1


def test_an_outage_of_wandb_loses_nothing(app: Application) -> None:
    item = app.quick()
    app.server.answers_to_lose += ["runState", "RunState", "LaunchAgent", "UpdateAndPop", "AckItem"]
    assert app.outcome(item)["verdict"] == "finished"
    assert launched_once(app, item)
    app.server.answers_to_lose.clear()
