"""Events from EventBridge, and texts from others: both can be anything."""

import json
from typing import Any

from hypothesis import strategies as st

from launch_agent.operations.repair import item_to_repair
from launch_agent.run_queue.secret_values import secret_values
from launch_agent.safe_text import forget_secrets, keep_secret, safe
from launch_agent.training.status_event import parse_status_event
from launch_agent.training.training_job import TrainingEnd
from tests.documents import sample_event
from tests.fuzz.plans import SPECS
from tests.fuzz.values import ANY, DEEP, TEXT, Parsers, changed

STATUS = [sample_event(f"training_{name}") for name in ("in_progress", "failed", "completed")]
EXECUTIONS = [sample_event(f"execution_{name}") for name in ("aborted", "failed", "timed_out", "without_input")]

INPUTS = (
    ANY.map(lambda value: json.dumps(value, default=str)) | st.text() | st.integers(0, 5_000).map(lambda n: "[" * n)
)


def _status(event: Any) -> None:
    seen = parse_status_event(event)
    if seen.job:
        TrainingEnd.of(seen.job)


def _execution(drawn: tuple[Any, str]) -> None:
    event, given = drawn
    item_to_repair(event)
    item_to_repair({"detail": {"input": given}})


def _text(drawn: tuple[Any, list[str], str]) -> None:
    spec, secrets, text = drawn
    forget_secrets()
    keep_secret(*secret_values(spec), *secrets)
    said = safe("".join([text, *secrets, text]))
    said.encode()
    assert not [secret for secret in secrets if len(secret.strip()) >= 8 and secret.isalnum() and secret in said]


PARSERS: Parsers = {
    "status events": (ANY | DEEP | changed(STATUS), _status),
    "execution events": (st.tuples(ANY | DEEP | changed(EXECUTIONS), INPUTS), _execution),
    "texts that leave": (st.tuples(ANY | changed(SPECS, ANY), st.lists(TEXT, max_size=3), st.text()), _text),
}
