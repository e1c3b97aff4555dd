"""What `wandb launch-sweep` and `wandb scheduler` 0.31.0 did, recorded, and what this scheduler does instead.

recordings/<case>.json has the sweep's configuration, the scheduler's run spec, what W&B's stand-in was set up to do,
the commands it gave, the state that each scheduler wrote, and every push in order. Ids are <run-n>, in order of
appearance.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch_agent.errors import InvalidRunSpec
from launch_agent.run_queue.items import parse_run_spec
from launch_agent.sweeps.asked import parse_order
from launch_agent.sweeps.order import Order
from launch_agent.sweeps.push import Push
from tests.sweeps.server import Scheduler, Server

HERE = Path(__file__).parent / "recordings"
CASES = sorted(path.stem for path in HERE.glob("*.json"))
PUSHES = [case for case in CASES if case not in ("restart", "scheduler-job")]
FAULTS_OF_THE_REFERENCE = {
    "cancel-busy": "it does not recognize CANCELED, and waits until the runs are killed",
    "exit-while-running": "it cancels the sweep while a run goes on; test_scheduler has what happens here",
    "sweep-deleted": "it notices that only when a worker is free, so the first run goes on",
}
"""Where this scheduler stops other runs, or writes another state."""


def recording(case: str) -> dict[str, Any]:
    """Return one recording."""
    loaded: dict[str, Any] = json.loads((HERE / f"{case}.json").read_text())
    return loaded


def order_of(recorded: dict[str, Any]) -> Order:
    """Return what a recorded item asks for."""
    spec = recorded["scheduler_run_spec"]
    args = list(spec["overrides"]["args"])
    for flag in recorded["arguments_taken_out"]:
        del args[args.index(flag) : args.index(flag) + 2]
    spec = {**spec, "overrides": {**spec["overrides"], "args": args}}
    return parse_order(parse_run_spec(spec), yaml.safe_load(recorded["sweep_config"]))


def server_of(recorded: dict[str, Any]) -> Server:
    """Return W&B as the recording's stand-in was set up."""
    case = recorded["case"]
    heard = [each for scheduler in recorded["schedulers"] for each in scheduler["commands"] if isinstance(each, list)]

    def pushed(server: Server) -> None:
        for trigger in case.get("triggers", []):
            if len(server.queue) == trigger["n"]:
                server.state = None if trigger["do"].get("delete_sweep") else trigger["do"]["sweep_state"]

    return Server(
        [command for given in heard for command in given if command["type"] != "exit"],
        at_end=case.get("at_end", "finished"),
        states=lambda number: case.get("poll_states_by_run", {}).get(str(number), case["poll_states"]),
        pushed=pushed,
    )


def as_sent(push: Push) -> dict[str, Any]:
    """Return the variables of the push, as recorded."""
    sent = {
        "entityName": push.queue_entity,
        "priority": push.priority,
        "projectName": "model-registry",
        "queueName": push.queue,
        "runSpec": push.run_spec,
    }
    return sent | ({"templateVariableValues": push.template_variables} if push.template_variables is not None else {})


@pytest.mark.parametrize("case", PUSHES)
def test_the_same_runs_are_queued_as_by_the_reference_field_by_field(case: str) -> None:
    recorded = recording(case)
    server = server_of(recorded)
    Scheduler(server, order_of(recorded)).run(most=30)
    ours = [json.dumps(as_sent(push), sort_keys=True) for push in server.queue]
    assert ours == [json.dumps(each, sort_keys=True) for each in recorded["pushed"]]


@pytest.mark.parametrize("case", [case for case in PUSHES if case not in FAULTS_OF_THE_REFERENCE])
def test_a_sweep_ends_as_with_the_reference(case: str) -> None:
    recorded = recording(case)
    (scheduler,) = recorded["schedulers"]
    server = server_of(recorded)
    record = Scheduler(server, order_of(recorded)).run(most=30)
    assert record.end
    assert server.written == scheduler["states_written"]
    assert {"sweep": server.state, "stopped": sorted(server.stopped)} == scheduler["ended"]
    assert order_of(recorded).workers == scheduler["agents"]


def test_a_scheduler_that_was_killed_goes_on_with_its_runs() -> None:
    """The reference forgets them: it has more runs at a time than workers, and does not wait for them."""
    recorded = recording("restart")
    recorded["case"]["poll_states_by_run"]["1"] = ["pending", "running", "running", "running", "finished"]
    server, order = server_of(recorded), order_of(recorded)
    first = Scheduler(server, order)
    first.step()
    second = Scheduler(server, order, first.record)
    for record in second.steps():
        assert len(record.runs) <= 1
    assert [as_sent(push)["runSpec"]["run_id"] for push in server.queue] == ["<run-1>", "<run-2>", "<run-3>"]
    assert [as_sent(push) for push in server.queue] == recorded["pushed"]
    assert server.written == ["FINISHED"]


def test_a_scheduler_that_is_a_job_is_asked_for_nothing_here() -> None:
    """Its arguments are in `run_config.sweep_args`: the job itself is the scheduler."""
    spec = recording("scheduler-job")["scheduler_run_spec"]
    with pytest.raises(InvalidRunSpec, match="--queue"):
        parse_order(parse_run_spec(spec), {"job": "team/jobs/job:latest"})


def test_there_are_recordings() -> None:
    assert len(CASES) == 22
