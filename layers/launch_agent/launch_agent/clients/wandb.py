"""W&B: run queues, launch agents and runs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from launch_agent.clients import wandb_operations as operations
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.errors import (
    InvalidLaunchConfig,
    UnsupportedJobSource,
    WandbKeyRejected,
    WandbRefused,
)
from launch_agent.model import faults_of
from launch_agent.outcome.judgement import SeenRun
from launch_agent.plan.queue_block import RESOURCE
from launch_agent.run_queue.items import ItemRef, QueueItem, next_pops
from launch_agent.run_queue.launch_config import LaunchConfig
from launch_agent.runs.record import RunRecord
from launch_agent.safe_text import safe

_RUNS_ASKED = 100
_MAX_FILE = 1_000_000
_RUNNABLE_SWEEP_STATES = ("RUNNING", "PAUSED")


class LaunchAgent(NamedTuple):
    """A registered launch agent. Files about its items are files of the run of its name."""

    id: str
    name: str
    stop_polling: bool = False


class Wandb:
    """One W&B server. Every method raises WandbUnavailable, WandbKeyRejected and WandbRefused beside what it names."""

    def __init__(self, graphql: GraphqlClient) -> None:
        """Take the connection."""
        self._graphql = graphql

    def default_entity(self) -> str:
        """Return the default entity of the API key's account."""
        viewer = self._graphql.execute(operations.viewer()).get("viewer")
        if not viewer or not viewer.get("entity"):
            raise WandbKeyRejected("W&B does not know the API key. Store a valid one in the stack's secret.")
        return str(viewer["entity"])

    def register(self, entity: str, config: LaunchConfig, *, hostname: str, version: str) -> LaunchAgent:
        """Register a launch agent for the configured queues. Raises InvalidLaunchConfig where one is not there."""
        project = self._graphql.execute(operations.run_queues(entity)).get("project") or {}
        ids = {queue["name"]: queue["id"] for queue in project.get("runQueues", [])}
        missing = [name for name in config.queues if name not in ids]
        if missing:
            raise InvalidLaunchConfig(
                f"queues: {entity} has no run queue {' or '.join(missing)}. It has: {', '.join(ids) or 'none'}."
            )
        create = operations.create_launch_agent(
            entity, [ids[name] for name in config.queues], hostname, config.model_dump_json(exclude_none=True), version
        )
        agent_id = self._graphql.execute(create)["createLaunchAgent"]["launchAgentId"]
        agent = self.launch_agent(agent_id)
        if agent is None:
            raise WandbRefused("W&B does not know the launch agent it has just registered.")
        self.write_run(
            {
                "name": agent.name,
                "entityName": entity,
                "modelName": operations.LAUNCH_PROJECT,
                "jobType": "sweep-controller",
            }
        )
        return agent

    def launch_agent(self, agent_id: str) -> LaunchAgent | None:
        """Return a launch agent as W&B has it now; None when W&B no longer knows it."""
        found = self._graphql.execute(operations.launch_agent(agent_id)).get("launchAgent")
        return LaunchAgent(found["id"], found["name"], bool(found["stopPolling"])) if found else None

    def query_agent(self, agent_id: str, open_runs: Sequence[RunRecord]) -> tuple[LaunchAgent | None, set[str]]:
        """Return a launch agent as `launch_agent` does, and the run queue items of those runs that somebody stopped.

        One query asks for the agent and for a hundred runs. A run that W&B does not know is not stopped.
        """
        asked = [run for run in open_runs if run.entity and run.project]
        agent, stopped = None, set[str]()
        for start in range(0, max(len(asked), 1), _RUNS_ASKED):
            batch = asked[start : start + _RUNS_ASKED]
            paths = [(str(run.entity), str(run.project), run.item.run_id) for run in batch]
            # What W&B cannot say of one run keeps neither the others nor the agent from being heard of.
            answer = self._graphql.execute_in_parts(operations.launch_agent_and_stops(agent_id, paths))
            found = answer.data
            stopped |= {run.item.id for n, run in enumerate(batch) if _at(found.get(f"run{n}"), "run", "stopped")}
            seen = found.get("launchAgent")
            if not seen and answer.errors:
                raise WandbRefused(f"W&B refused: {'; '.join(answer.errors)}")
            agent = LaunchAgent(seen["id"], seen["name"], bool(seen["stopPolling"])) if seen else None
        return agent, stopped

    def report_status(self, agent_id: str, status: str) -> None:
        """Report POLLING, RUNNING or KILLED: the launch agent's sign of life."""
        self._graphql.execute(operations.update_launch_agent(agent_id, status))

    def lease(
        self, agent_id: str, entity: str, queues: Sequence[str], *, room: int, status: str
    ) -> Iterator[tuple[str, QueueItem]]:
        """Report the agent's status, then yield items with their queue, until the queues are empty or `room` is used.

        What W&B refuses of one queue does not keep the others from being served; it is raised at the end.
        """
        if room < 1:
            self.report_status(agent_id, status)
        refused: list[str] = []
        hits, report = 0, status
        while queues and room > 0:
            asked = next_pops(queues, room=room, hits=hits)
            answer = self._graphql.execute_in_parts(operations.update_and_pop(agent_id, report, entity, asked))
            refused.extend(answer.errors)
            items = [_item(answer.data.get(f"pop{index}")) for index in range(len(asked))]
            yield from ((queue, item) for queue, item in zip(asked, items, strict=True) if item)
            empty = {queue for queue, item in zip(asked, items, strict=True) if not item}
            queues = [queue for queue in queues if queue not in empty]
            hits, report = sum(item is not None for item in items), ""
            room -= hits
        if refused:
            raise WandbRefused(f"W&B refused: {'; '.join(dict.fromkeys(refused))}")

    def ack(self, item: ItemRef, agent_id: str, *, late: bool) -> bool:
        """Acknowledge an item; return whether it is ours, even where W&B took an earlier try and refused this one.

        W&B does not ask who acknowledges. After the lease may have ended (`late`) another launch agent can have the
        item, and what was then taken may have been its acknowledgement.
        """
        try:
            answer = self._graphql.execute(operations.ack_item(item.id, item.run_id)).get("ackRunQueueItem")
        except WandbRefused:
            answer = None
        return bool(answer and answer.get("success") and not late) or self.holds(item, agent_id)

    def holds(self, item: ItemRef, agent_id: str) -> bool:
        """Return whether W&B has an item as acknowledged by a launch agent, for this run."""
        found = self._graphql.execute(operations.queue_item(item.entity, item.queue, item.id))
        mine = {"state": "CLAIMED", "associatedRunId": item.run_id, "launchAgentId": agent_id}
        return bool(_at(found, "project", "runQueue", "runQueueItem") == mine)

    def run_spec(self, item: ItemRef) -> Any:
        """Return the run spec of an item, as W&B has it; None when W&B has no such item any more."""
        found = self._graphql.execute(operations.run_spec(item.entity, item.queue, item.id))
        return _at(found, "project", "runQueue", "runQueueItem", "runSpec")

    def queue_block(self, item: ItemRef) -> Mapping[str, Any] | None:
        """Return the block that an item's queue itself configures; None when W&B does not show it."""
        try:
            found = self._graphql.execute(operations.queue_configuration(item.entity, item.queue))
            configuration_id = _at(found, "project", "runQueue", "defaultResourceConfigID")
            if not configuration_id:
                return None
            found = self._graphql.execute(operations.resource_configuration(item.entity, configuration_id))
        except WandbRefused:
            return None
        block = _at(found, "entity", "defaultResourceConfig", "config", "resource_args", RESOURCE)
        return block if isinstance(block, Mapping) else None

    def fail(self, item: ItemRef, message: str, stage: str, files: Sequence[str] = ()) -> None:
        """Fail an item, with a stage of `agent`, `build` or `run`."""
        self._graphql.execute(operations.fail_item(item.id, safe(message), stage, files))

    def warn(self, item: ItemRef, message: str, stage: str, files: Sequence[str] = ()) -> None:
        """Put a warning on an item."""
        self._graphql.execute(operations.warn_item(item.id, safe(message), stage, files))

    def attach(self, item: ItemRef, agent_name: str, *, kind: str, files: Mapping[str, str]) -> list[str]:
        """Upload text files about an item, of kind `error` or `warning`; return their names as `fail` takes them."""
        contents = {f"{item.id}/{kind}/{name}": safe(text, limit=_MAX_FILE) for name, text in files.items()}
        created = self._graphql.execute(operations.create_run_files(item.entity, agent_name, list(contents)))
        slots = created["createRunFiles"]
        headers = dict(header.split(":", 1) for header in slots["uploadHeaders"])
        for slot in slots["files"]:
            self._graphql.upload(slot["uploadUrl"], contents[slot["name"]].encode(), headers)
        if "MARK_RUN_FILES_UPLOADED" in self._features():
            self._graphql.execute(operations.mark_run_files_uploaded(item.entity, agent_name, list(contents)))
        return list(contents)

    def write_run(self, run: Mapping[str, Any]) -> None:
        """Create or change a run; `run` is an UpsertBucketInput."""
        self._graphql.execute(operations.upsert_run(dict(run)))

    def seen_run(self, entity: str, project: str, run_id: str) -> SeenRun:
        """Return a run as W&B has it. A refusal is in the answer: a run that our key may not see ends all the same."""
        try:
            found = self._graphql.execute(operations.run_state(entity, project, run_id))
            return SeenRun.model_validate(_at(found, "project", "run") or {})
        except WandbRefused as error:
            return SeenRun(refusal=str(error))
        except ValidationError as error:
            return SeenRun(refusal=f"W&B answered with something other than a run. {' '.join(faults_of(error))}")

    def check_sweep(self, entity: str, project: str, sweep_id: str) -> None:
        """Raise UnsupportedJobSource unless the sweep still takes runs."""
        state = _at(
            self._graphql.execute(operations.sweep_state(entity, project, sweep_id)), "project", "sweep", "state"
        )
        if state not in _RUNNABLE_SWEEP_STATES:
            raise UnsupportedJobSource(
                f"the run belongs to sweep {sweep_id}, which is {str(state or 'gone').lower()}. Resume the sweep, or "
                "queue the run without it."
            )

    def _features(self) -> set[str]:
        info = self._graphql.execute(operations.server_features()).get("serverInfo") or {}
        return {feature["name"] for feature in info.get("features", []) if feature and feature["isEnabled"]}


def _item(popped: Mapping[str, Any] | None) -> QueueItem | None:
    return QueueItem.model_validate(popped) if popped and popped.get("runQueueItemId") else None


def _at(value: Any, *path: str) -> Any:
    """Follow keys down to a value; None where any of them leads to null."""
    for key in path:
        value = value[key] if value else None
    return value
