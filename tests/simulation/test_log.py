"""The functions' log: the saved queries find what they look for, and every line is about the run that it names."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.documents import resources
from tests.simulation.attack import scenarios
from tests.simulation.faults import Fault, FaultsAt, NoFaults, Site
from tests.simulation.world import JOB, Delivery, World, world

QUERIES = {name: each["QueryString"] for name, each in resources("AWS::Logs::QueryDefinition").items()}
_WORDS = {"as", "by", "desc", "count", "latest", "fields", "filter", "sort", "stats"}


def logged(made: World) -> list[dict[str, Any]]:
    """A list that the lines of a world's log are added to."""
    lines: list[dict[str, Any]] = []

    def write(text: str) -> None:
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
        lines.extend(line for line in found if "message" in line)  # not the metrics

    made.write = write  # type: ignore[method-assign]  # this is the point
    return lines


def lines_of_many_runs() -> list[dict[str, Any]]:
    """The log of runs of which some fail, and of a sweep that repairs some."""
    lines: list[dict[str, Any]] = []
    for name in ("code", "user code that fails", "no event arrives"):
        act, _, different, _ = scenarios()[name]
        with world(7, FaultsAt(Site("sweep_runs", "wandb", "QueueItems"), Fault.REFUSED), **different) as made:
            found = logged(made)
            act(made)
            assert made.run_until_idle()
            lines += found
    return lines


def names_in(query: str) -> Iterator[str]:
    """The fields that a query uses, but for those that every event has and those that it names itself."""
    text = re.sub(r'^#.*$|"[^"]*"', "", query, flags=re.MULTILINE)
    own = set(re.findall(r" as (\w+)", text))
    yield from (name for name in re.findall(r"(?<!@)\b[a-z_]+\b", text) if name not in _WORDS | own | {"timestamp"})


@pytest.mark.parametrize("name", QUERIES)
def test_a_saved_query_uses_fields_and_values_that_are_logged(name: str) -> None:
    lines = lines_of_many_runs()
    assert set(names_in(QUERIES[name])) <= {key for line in lines for key in line}
    for field, value in re.findall(r'filter (\w+) = "([^"]+)"', QUERIES[name]):
        found = {line.get(field) for line in lines}
        assert (value in found) != (value == "RUN_QUEUE_ITEM_ID"), f"{field} is never {value}"


def test_a_run_has_one_id_in_the_log_the_execution_the_build_and_the_job() -> None:
    with world(7, NoFaults()) as made:
        lines, started = logged(made), []
        start = made.builds.start

        def seen(arguments: dict[str, Any], *more: Any) -> str:
            started.extend(arguments["EnvironmentVariablesOverride"])
            return start(arguments, *more)

        made.builds.start = seen  # type: ignore[assignment,method-assign]  # this is the point
        item = made.push(job=JOB)
        assert made.run_until_idle()
        execution, (job,) = made.execution(item), made.jobs(item)
        assert execution
        assert execution.input["run_queue_item_id"] == item.id
        assert {"Name": "RUN_QUEUE_ITEM_ID", "Type": "PLAINTEXT", "Value": item.id} in started
        assert job.tags["WandbRunQueueItemId"] == job.request["Environment"]["WANDB_LAUNCH_TRACE_ID"] == item.id
        of_run = {line["function_name"] for line in lines if line.get("run_queue_item_id") == item.id}
        assert of_run == {"poll_queues", "plan_run", "start_training", "resume_run", "report_outcome"}


def test_what_a_sweep_logs_after_a_repair_does_not_name_the_run() -> None:
    act, _, different, until = scenarios()["a stray training job"]
    refuses = FaultsAt(Site("sweep_runs", "wandb", "QueueItems"), Fault.REFUSED, times=1_000)
    with world(7, refuses, **different, delivery=Delivery(dropped=1)) as made:
        lines = logged(made)
        item = act(made)
        assert made.run_until_idle(until=lambda: bool(until(made)))
        (stopped,) = [line for line in lines if line["message"] == "stopped a training job that no run waits for"]
        assert stopped["run_queue_item_id"] == item.id
        of_sweep = [line for line in lines if line["function_request_id"] == stopped["function_request_id"]]
        assert of_sweep[-1]["key"] == "the metrics of the queues"
        assert "run_queue_item_id" not in of_sweep[-1]
