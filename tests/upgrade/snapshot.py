"""One moment of the simulated world as JSON, and a world that goes on from it.

It has what is outside of the code, in the table, the bucket, the repository, Step Functions, SageMaker and W&B. So the
code that brought it there can be of another version than the code that goes on.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from local.wandb.queues import ItemState, LaunchAgent, RunQueueItem
from tests.simulation.machine import Execution
from tests.simulation.training import Job
from tests.simulation.world import Stack, World

Snapshot = dict[str, Any]

_OF_EXECUTION = ("name", "input", "status", "error", "cause", "state", "state_input", "variables", "token", "redrives")
_OF_AGENT = ("id", "name", "hostname", "version", "agent_status")
_OF_ITEM = ("id", "number", "run_spec", "priority", "stored_state", "associated_run_id", "leased_until")


def taken(made: World) -> Snapshot:
    """Return what there is, with what the builds in progress will leave; time goes on until they have ended."""
    (stack,) = made.stacks.values()
    state = made.server.state
    snapshot = {
        "taken_at": made.clock.now,
        "table": dict(stack.table.items),
        "objects": _texts(made.objects),
        "images": dict(made.builds.images),
        "training_jobs": [{"request": _without_key(job), "shown": job.shown} for job in made.training.jobs.values()],
        "executions": [_execution(stack, each) for each in stack.machine.executions.values()],
        "launch_agents": [_some(each, _OF_AGENT) for each in state.agents.values()],
        "queue_items": [{**_some(each, _OF_ITEM), "agent": each.launch_agent_id} for each in state.items.values()],
        "wandb_runs": [{"name": run.name, "state": run.state, "stopped": run.stopped} for run in _runs(made)],
    }
    kept: Snapshot = json.loads(json.dumps(snapshot))
    while any(each.status == "IN_PROGRESS" for each in made.builds.builds.values()):
        made.clock.run(1)
    return kept | {
        "left_by_builds": {
            "objects": {key: text for key, text in _texts(made.objects).items() if key not in kept["objects"]},
            "images": {tag: digest for tag, digest in made.builds.images.items() if tag not in kept["images"]},
        }
    }


def restored(made: World, snapshot: Snapshot, definition: Mapping[str, Any]) -> list[RunQueueItem]:
    """Put it all into a world in which nothing has happened; return the run queue items.

    Executions keep the state machine of their `definition`.
    """
    (stack,) = made.stacks.values()
    made.shows_keys = True
    for record in snapshot["table"].values():
        stack.table.answer("PutItem", {"Item": record})
    states = {key: record.get("state", {}).get("S") for key, record in snapshot["table"].items()}
    stack.open.update(key for key, state in states.items() if state == "open")
    stack.unreported.update(key for key, state in states.items() if state in ("open", "ended"))
    made.objects.update({key: text.encode() for key, text in snapshot["objects"].items()})
    made.builds.images.update(snapshot["images"])
    items = list(_queue_items(made, snapshot))
    for run in snapshot["wandb_runs"]:
        (spec,) = (each.run_spec for each in items if each.associated_run_id == run["name"])
        made.run(spec["entity"], spec["project"], run["name"], run["state"]).stopped = run["stopped"]
    for job in snapshot["training_jobs"]:
        made.training.restore(job["request"], job["shown"])
    for each in snapshot["executions"]:
        _restore_execution(made, stack, {**each, "definition": definition}, snapshot["left_by_builds"])
    return items


def _some(value: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names}


def _texts(objects: Mapping[str, bytes]) -> dict[str, str]:
    return {key: content.decode() for key, content in objects.items()}


def _runs(made: World) -> Iterator[Any]:
    for item in made.server.state.items.values():
        project = made.server.state.project(item.run_spec["entity"], item.run_spec["project"])
        if run := project.run(item.associated_run_id or ""):
            yield run


def _without_key(job: Job) -> dict[str, Any]:
    """Return the request of a training job without the API key, which only the container reads."""
    environment = {name: value for name, value in job.request["Environment"].items() if name != "WANDB_API_KEY"}
    return {**job.request, "Environment": environment}


def _execution(stack: Stack, execution: Execution) -> dict[str, Any]:
    return {
        **_some(execution, _OF_EXECUTION),
        "awaits_token": stack.machine.is_awaited(execution.token),
        "build": execution.build_id,
    }


def _queue_items(made: World, snapshot: Snapshot) -> Iterator[RunQueueItem]:
    state, queue = made.server.state, made.queue
    for each in snapshot["launch_agents"]:
        state.agents[each["id"]] = LaunchAgent(project=queue.project, run_queues=[queue.id], config=None, **each)
    for each in snapshot["queue_items"]:
        values = {name: each[name] for name in _OF_ITEM if name != "stored_state"}
        item = RunQueueItem(queue=queue, launch_agent_id=each["agent"], **values)
        item.stored_state = ItemState(each["stored_state"])
        queue.items[item.id] = state.items[item.id] = item
        if item.stored_state in (ItemState.PENDING, ItemState.LEASED):
            queue.waiting[item.id] = item
        while state.number() < item.number:
            pass  # what is queued from now on has an id of its own
        yield item


def _restore_execution(made: World, stack: Stack, stored: Mapping[str, Any], left: Mapping[str, Any]) -> None:
    arn = f"{stack.machine.arn.replace(':stateMachine:', ':execution:')}:{stored['name']}"
    values = {name: stored[name] for name in (*_OF_EXECUTION, "definition")}
    execution = Execution(arn, **values, build_id=stored["build"])
    if execution.redrives:
        made.redriven.add(execution.input["run_queue_item_id"])
    done = stack.machine.restore(execution, awaits_token=stored["awaits_token"])
    if execution.build_id:
        made.builds.restore(execution.build_id, execution.variables["plan"]["build"]["plan_key"], left, done)
