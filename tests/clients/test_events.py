"""EventBridge: one try for each event, and its refusals are not raised."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.stub import Stubber

from launch_agent.clients import aws
from launch_agent.clients.events import Events
from launch_agent.outcome.events import run_launched
from tests.golden.cases import DEPLOYMENT
from tests.make import run_record

EVENT = run_launched(run_record(entity="team", project="p"), "job", DEPLOYMENT)


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> tuple[Events, Stubber]:
    """The client, and what EventBridge answers."""
    client = aws.aws_client("events")
    monkeypatch.setattr(aws, "session", lambda: SimpleNamespace(create_client=lambda *_, **__: client))
    stub = Stubber(client)
    stub.activate()
    return Events(), stub


def test_an_event_is_put_on_the_default_bus(stubbed: tuple[Events, Stubber]) -> None:
    events, stub = stubbed
    entry = {"Source": "wandb-launch", "DetailType": "Run Launched", "Detail": json.dumps(EVENT.detail())}
    stub.add_response("put_events", {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}, {"Entries": [entry]})
    assert events.put(EVENT) == ""


def test_an_entry_that_was_not_taken_says_why(stubbed: tuple[Events, Stubber]) -> None:
    events, stub = stubbed
    answer: Any = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException", "ErrorMessage": "slow"}]}
    stub.add_response("put_events", answer)
    assert events.put(EVENT) == "ThrottlingException"


def test_a_refusal_is_not_raised(stubbed: tuple[Events, Stubber]) -> None:
    events, stub = stubbed
    stub.add_client_error("put_events", "AccessDeniedException", "no")
    assert "AccessDeniedException" in events.put(EVENT)
