"""The events of this application match their schemas and their documentation."""

import json
import re
from typing import Any

import pytest

from launch_agent.outcome.events import SOURCE, Event, run_ended, run_launched
from tests.documents import ROOT
from tests.golden.cases import DEPLOYMENT
from tests.make import item_ref, run_record
from tests.schemas import FILES, schema_of

PAGE = (ROOT / "docs/events.md").read_text()
EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:LaunchRun:k3x9-84984f199e68"
FAILED = {
    "verdict": "failed",
    "reason": "ModuleNotFoundError: No module named 'torch'. The training job failed: AlgorithmError: exit code 1. The "
    "job's code failed. The end of its log is in error.log.",
    "training_job_name": "k3x9",
    "billable_seconds": "130",
}
RECORD = run_record(
    item=item_ref("UnVuUXVldWVJdGVtOjQy", queue="gpus", run_id="k3x9"),
    execution_name="k3x9-84984f199e68",
    entity="team",
    project="p",
)


@pytest.mark.parametrize("name", FILES)
def test_the_schema_in_the_documentation_is_that_of_the_event(name: str) -> None:
    # After a change that older readers do not understand, increase `version`. `make golden` writes the schemas.
    assert json.loads((ROOT / "docs/events" / name).read_text()) == schema_of(FILES[name])


def test_the_example_in_the_documentation_is_an_event() -> None:
    example = json.loads(re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)[0])
    event = run_ended(RECORD, FAILED, EXECUTION, DEPLOYMENT.model_copy(update={"stack_name": "wandb-launch"}))
    assert example == {"source": SOURCE, "detail-type": event.detail_type, "detail": event.detail()}


def test_every_event_is_in_the_documentation() -> None:
    for name, kind in FILES.items():
        assert f"| `{kind.detail_type}` |" in PAGE
        assert f"(events/{name})" in PAGE


def violations(schema: dict[str, Any], event: Event) -> set[str]:
    """What is missing in a detail, and what its schema does not know."""
    detail = event.detail()
    return (set(schema["required"]) - detail.keys()) | (detail.keys() - set(schema["properties"]))


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("run-launched.json", run_launched(RECORD, "k3x9", DEPLOYMENT)),
        ("run-launched.json", run_launched(run_record(), "k3x9", DEPLOYMENT)),
        ("run-ended.json", run_ended(RECORD, FAILED, EXECUTION, DEPLOYMENT)),
        ("run-ended.json", run_ended(run_record(), {"verdict": "not launched", "reason": "."}, EXECUTION, DEPLOYMENT)),
        ("run-ended.json", run_ended(RECORD, FAILED | {"new": "value"}, EXECUTION, DEPLOYMENT)),
    ],
)
def test_an_event_has_what_its_schema_requires_and_nothing_else(name: str, event: Event) -> None:
    assert violations(schema_of(FILES[name]), event) == set()
    assert None not in event.detail().values()
