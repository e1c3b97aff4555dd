"""W&B's answers to all requests, as any bytes with any status."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.parallel import new_pool
from launch_agent.clients.wandb import Wandb
from launch_agent.run_queue.items import RunPath
from launch_agent.run_queue.launch_config import LaunchConfig
from tests.fuzz.values import Parsers, almost_json
from tests.make import item_ref
from tests.simulation.transport import answered

ITEM = item_ref()
RUN = RunPath("team", "p", "run")
AGENT = {"id": "a", "name": "agent", "stopPolling": False}
POPPED = {"runQueueItemId": "item", "runSpec": {"entity": "team", "project": "p", "run_id": "r"}}
SLOTS = {"uploadHeaders": ["A:b"], "files": [{"name": "item/error/error.log", "uploadUrl": "/storage/x"}]}
FEATURES = {"features": [{"name": "MARK_RUN_FILES_UPLOADED", "isEnabled": True}, None]}
HOLDER = {"state": "CLAIMED", "associatedRunId": "run", "launchAgentId": "a"}
ITEM_SHOWN = {"project": {"runQueue": {"runQueueItem": {**HOLDER, "runSpec": {"entity": "team"}}}}}
DONE = {"success": True}
STATUS = st.sampled_from([200] * 12 + [201, 302, 400, 401, 403, 404, 409, 413, 422, 429, 500, 503])


class Answers:
    """A W&B that gives the same answer to every request, without AWS."""

    def __init__(self, status: int, content: bytes) -> None:
        self._answer = status, content
        self.objects: dict[str, bytes] = {}

    def answer(self, *_: Any) -> Any:
        return self._answer


def asking(call: Callable[[Wandb], object]) -> Callable[[tuple[int, bytes]], object]:
    """Return a function that makes a call, with its argument as W&B's answer: a status and bytes."""

    def ask(answer: tuple[int, bytes]) -> object:
        answers = Answers(*answer)
        with answered(answers, answers):
            return call(Wandb(GraphqlClient("http://wandb", lambda: "key")))

    return ask


class Call(NamedTuple):
    """A call to W&B, and the data of a valid answer to its requests."""

    ask: Callable[[Wandb], object]
    data: dict[str, Any]


CONFIG = LaunchConfig(queues=["q"])
POOL = new_pool()


def rooms(times: int) -> Callable[[], int]:
    """Return a function that returns some room so many times, then none."""
    left = iter([5] * times)
    return lambda: next(left, 0)


CREATED = {"createLaunchAgent": {"launchAgentId": "a"}, "launchAgent": AGENT, "upsertBucket": {"bucket": {"id": "1"}}}
RUN_SHOWN = {"project": {"run": {"state": "running", "stopped": False}, "sweep": {"state": "RUNNING"}}}
CALLS = {
    "default_entity": Call(lambda wandb: wandb.default_entity(), {"viewer": {"entity": "team", "username": "me"}}),
    "register": Call(
        lambda wandb: wandb.register("team", CONFIG, hostname="h", version="v"),
        {"project": {"runQueues": [{"id": "1", "name": "q"}]}, **CREATED},
    ),
    "launch_agent": Call(lambda wandb: wandb.launch_agent("a"), {"launchAgent": AGENT}),
    "query_agent": Call(
        lambda wandb: wandb.query_agent("a", {"item": RUN, "another": RUN}, POOL),
        {"launchAgent": AGENT, "run0": {"run": {"stopped": True}}, "run1": None},
    ),
    "report_status": Call(lambda wandb: wandb.report_status("a", "POLLING"), {"updateLaunchAgent": DONE}),
    "lease": Call(
        lambda wandb: [
            (each.item.slot, each.item.run_id, json.dumps(each.item.run_spec).encode(), each.fault)
            for batch in wandb.lease("a", "team", ["q", "r"], room=rooms(5), status="POLLING", pool=POOL)
            for each in batch
        ],
        {"updateLaunchAgent": DONE, "pop0": POPPED, "pop1": None},
    ),
    "ack": Call(lambda wandb: wandb.ack(ITEM, "a", late=False), {"ackRunQueueItem": DONE}),
    "ack, late": Call(lambda wandb: wandb.ack(ITEM, "a", late=True), {"ackRunQueueItem": DONE, **ITEM_SHOWN}),
    "holds": Call(lambda wandb: wandb.holds(ITEM, "a"), ITEM_SHOWN),
    "run_spec": Call(lambda wandb: json.dumps(wandb.run_spec(ITEM)).encode(), ITEM_SHOWN),
    "fail": Call(lambda wandb: wandb.fail(ITEM, "reason", "agent"), {"failRunQueueItem": DONE}),
    "warn": Call(lambda wandb: wandb.warn(ITEM, "reason", "agent"), {"updateRunQueueItemWarning": DONE}),
    "warn_all": Call(lambda wandb: wandb.warn_all({"item": "reason"}, "agent"), {"warn0": DONE}),
    "attach": Call(
        lambda wandb: wandb.attach(ITEM, "agent", kind="error", files={"error.log": "text"}),
        {"createRunFiles": SLOTS, "serverInfo": FEATURES, "markRunFilesUploaded": DONE},
    ),
    "write_run": Call(lambda wandb: wandb.write_run({"name": "run"}), CREATED),
    "seen_run": Call(lambda wandb: wandb.seen_run("team", "p", "run"), RUN_SHOWN),
    "check_sweep": Call(lambda wandb: wandb.check_sweep("team", "p", "sweep"), RUN_SHOWN),
}


def answers_to(data: dict[str, Any]) -> SearchStrategy[tuple[int, bytes]]:
    """Draw valid answers and refusals, most of them damaged."""
    refused = {"errors": [{"message": "no", "path": ["pop1"]}]}
    return st.tuples(STATUS, almost_json([{"data": data}, {"data": data}, {"data": data, **refused}, refused]))


PARSERS: Parsers = {
    f"answers of W&B: {name}": (answers_to(call.data), asking(call.ask)) for name, call in CALLS.items()
}
