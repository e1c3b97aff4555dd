"""W&B: run queues, launch agents and runs."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from launch_agent.clients import wandb_operations as operations
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.wandb_answers import (
    Feature,
    ItemHolder,
    LaunchAgent,
    QueueLists,
    RunQueue,
    UploadSlots,
    at,
    parsed,
)
from launch_agent.clients.wandb_leases import Leased, Leasing
from launch_agent.errors import (
    InvalidLaunchConfig,
    UnsupportedJobSource,
    WandbKeyRejected,
    WandbRefused,
)
from launch_agent.outcome.judgement import SeenRun
from launch_agent.run_queue.items import RESOURCE, ItemRef, RunPath
from launch_agent.safe_text import safe

if TYPE_CHECKING:
    from concurrent.futures import Executor

    # Its YAML parser slows down cold starts, and most functions do not read the configuration.
    from launch_agent.run_queue.launch_config import LaunchConfig

_RUNS_ASKED = 100
_REQUESTS_FOR_ITEMS = 5
"""The most requests for items at a time. They lease no more than is opened in a few seconds."""
_MAX_FILE = 1_000_000
_QUERIES_FOR_PARTS = 30
_RUNNABLE_SWEEP_STATES = ("RUNNING", "PAUSED")


class Wandb:
    """One W&B server. Every method may raise WandbUnavailable, WandbKeyRejected and WandbRefused."""

    def __init__(self, graphql: GraphqlClient) -> None:
        """Nothing is sent yet."""
        self._graphql = graphql

    def default_entity(self) -> str:
        """Return the default entity of the API key's account."""
        entity = at(self._graphql.execute(operations.viewer()), "viewer", "entity")
        if not entity:
            raise WandbKeyRejected("W&B does not know the API key. Store a valid one in the stack's secret.")
        return str(entity)

    def register(self, entity: str, config: "LaunchConfig", *, hostname: str, version: str) -> LaunchAgent:
        """Register a launch agent for the configured queues. Raises InvalidLaunchConfig if a queue does not exist."""
        found = at(self._graphql.execute(operations.run_queues(entity)), "project", "runQueues")
        ids = {queue.name: queue.id for queue in parsed(list[RunQueue], found or [])}
        missing = [name for name in config.queues if name not in ids]
        if missing:
            raise InvalidLaunchConfig(
                f"queues: {entity} has no run queue {' or '.join(missing)}. It has: {', '.join(ids) or 'none'}."
            )
        create = operations.create_launch_agent(
            entity, [ids[name] for name in config.queues], hostname, config.model_dump_json(exclude_none=True), version
        )
        agent = self.launch_agent(str(at(self._graphql.execute(create), "createLaunchAgent", "launchAgentId")))
        if agent is None:
            raise WandbRefused("W&B does not know the launch agent that it has just registered.")
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
        """Return a launch agent as it is in W&B now, or None if W&B no longer knows it."""
        found = self._graphql.execute(operations.launch_agent(agent_id)).get("launchAgent")
        return parsed(LaunchAgent, found) if found else None

    def query_agent(
        self, agent_id: str, open_runs: Mapping[str, RunPath], pool: "Executor"
    ) -> tuple[LaunchAgent | None, set[str]]:
        """Return a launch agent as `launch_agent` does, and the run queue items of the runs that someone stopped.

        `open_runs` are by their items.
        One query asks for the agent and for a hundred runs; the queries are sent at the same time. If W&B refuses one
        because of one run, its runs are asked for in halves. A run that W&B does not know or does not show counts as
        not stopped.
        """
        runs = list(open_runs.items())
        random.shuffle(runs)  # if W&B refuses many, other runs come first the next time
        groups = [runs[start : start + _RUNS_ASKED] for start in range(0, max(len(runs), 1), _RUNS_ASKED)]
        agent, stopped = None, set[str]()
        asked, groups = groups, []
        for _ in range(1 + _QUERIES_FOR_PARTS):
            for group, answer in zip(asked, pool.map(partial(self._query_runs, agent_id), asked), strict=True):
                if answer:
                    agent, stopped = answer[0] or agent, stopped | answer[1]
                    continue
                # Raises if no run is the reason for W&B's refusal.
                agent = agent or self.launch_agent(agent_id)
                half = len(group) // 2
                groups.extend(part for part in (group[:half], group[half:]) if half)
            if not groups:
                break
            asked = [groups.pop()]  # the newest, so that some are small enough before the queries are used up
        return agent, stopped

    def _query_runs(
        self, agent_id: str, runs: Sequence[tuple[str, RunPath]]
    ) -> tuple[LaunchAgent | None, set[str]] | None:
        """Return the agent, and which of the runs someone stopped; None if W&B refuses to answer."""
        # An error for one run must not hide the agent and the other runs.
        try:
            answer = self._graphql.execute_in_parts(
                operations.launch_agent_and_stops(agent_id, [path for _, path in runs])
            )
        except WandbRefused:
            return None
        seen = answer.data.get("launchAgent")
        if not seen and answer.errors:
            return None
        stopped = {item_id for n, (item_id, _) in enumerate(runs) if at(answer.data, f"run{n}", "run", "stopped")}
        return parsed(LaunchAgent, seen) if seen else None, stopped

    def report_status(self, agent_id: str, status: str) -> None:
        """Report the launch agent's status as its heartbeat: POLLING, RUNNING or KILLED."""
        self._graphql.execute(operations.update_launch_agent(agent_id, status))

    def waiting(self, entity: str, queues: Sequence[str]) -> dict[str, dict[str, datetime]]:
        """Return the items that wait in each queue, with when they were queued. Of each queue, 200 items are read."""
        found = self._graphql.execute(operations.queue_items(entity, queues)).get("project") or {}
        return {
            queue: parsed(QueueLists, found.get(f"queue{number}") or {}).waiting for number, queue in enumerate(queues)
        }

    def lease(
        self,
        agent_id: str,
        entity: str,
        queues: Sequence[str],
        *,
        room: Callable[[], int],
        rooms: Callable[[], Mapping[str, int]] = dict,
        status: str,
        pool: "Executor",
    ) -> Iterator[list[Leased]]:
        """Report the agent's status, and yield leased items in batches, until the queues are empty.

        `room` returns the most items of the next batch; 0 ends. `rooms` returns the most items of each queue that has a
        limit of its own. A refusal for one queue, or a bad item, does not affect other queues and items.
        """
        leasing = Leasing(self._graphql, pool, agent_id, entity, status=status, at_once=_REQUESTS_FOR_ITEMS)
        return leasing.batches(queues, room, rooms)

    def ack(self, item: ItemRef, agent_id: str, *, late: bool) -> bool:
        """Acknowledge an item; return whether it is ours. It is, too, if W&B accepted an earlier try and refuses this.

        W&B does not check which agent acknowledges. If the lease may have ended (`late`), another launch agent can have
        the item, so the holder is read after the acknowledgement. Raises WandbRefused if W&B refuses the
        acknowledgement and no other agent has the item.
        """
        try:
            answer, refusal = self._graphql.execute(operations.ack_item(item.id, item.run_id)), None
        except WandbRefused as error:
            answer, refusal = {}, error
        if at(answer, "ackRunQueueItem", "success") and not late:
            return True
        holder = self._holder(item)
        if refusal and holder and holder.state != "CLAIMED" and holder.launch_agent_id == agent_id:
            raise refusal
        return _is_ours(holder, item, agent_id)

    def holds(self, item: ItemRef, agent_id: str) -> bool:
        """Whether a launch agent has acknowledged an item for this run, according to W&B."""
        return _is_ours(self._holder(item), item, agent_id)

    def _holder(self, item: ItemRef) -> ItemHolder | None:
        found = self._graphql.execute(operations.queue_item(item.entity, item.queue, item.id))
        holder = at(found, "project", "runQueue", "runQueueItem")
        return parsed(ItemHolder, holder) if holder else None

    def run_spec(self, item: ItemRef) -> Any:
        """Return the run spec of an item from W&B, or None if W&B no longer has the item."""
        found = self._graphql.execute(operations.run_spec(item.entity, item.queue, item.id))
        return at(found, "project", "runQueue", "runQueueItem", "runSpec")

    def queue_block(self, item: ItemRef) -> Mapping[str, Any] | None:
        """Return the `sagemaker` block of the item's queue, without the run's changes; None if W&B does not show it."""
        try:
            found = self._graphql.execute(operations.queue_configuration(item.entity, item.queue))
            configuration_id = at(found, "project", "runQueue", "defaultResourceConfigID")
            if not configuration_id:
                return None
            found = self._graphql.execute(operations.resource_configuration(item.entity, configuration_id))
        except WandbRefused:
            return None
        block = at(found, "entity", "defaultResourceConfig", "config", "resource_args", RESOURCE)
        return block if isinstance(block, Mapping) else None

    def fail(self, item: ItemRef, message: str, stage: str, files: Sequence[str] = ()) -> None:
        """Fail an item. `stage` is `agent`, `build` or `run`."""
        self._graphql.execute(operations.fail_item(item.id, safe(message), stage, files))

    def warn(self, item: ItemRef, message: str, stage: str, files: Sequence[str] = ()) -> None:
        """Put a warning on an item."""
        self._graphql.execute(operations.warn_item(item.id, safe(message), stage, files))

    def warn_all(self, messages: Mapping[str, str], stage: str) -> None:
        """Put a warning on each of some items, by their ids, in one request. A refusal for one affects no other."""
        texts = {item_id: safe(message) for item_id, message in messages.items()}
        self._graphql.execute_in_parts(operations.warn_items(texts, stage))

    def attach(self, item: ItemRef, agent_name: str, *, kind: str, files: Mapping[str, str]) -> list[str]:
        """Upload text files for an item; return their names for `fail` and `warn`. `kind` is `error` or `warning`."""
        contents = {f"{item.id}/{kind}/{name}": safe(text, limit=_MAX_FILE) for name, text in files.items()}
        created = self._graphql.execute(operations.create_run_files(item.entity, agent_name, list(contents)))
        slots = parsed(UploadSlots, created.get("createRunFiles"))
        headers = {name: value for name, _, value in (header.partition(":") for header in slots.headers)}
        for slot in slots.files:
            self._graphql.upload(slot.url, contents.get(slot.name, "").encode(errors="replace"), headers)
        if "MARK_RUN_FILES_UPLOADED" in self._features():
            self._graphql.execute(operations.mark_run_files_uploaded(item.entity, agent_name, list(contents)))
        return list(contents)

    def write_run(self, run: Mapping[str, Any]) -> None:
        """Create or change a run; `run` is an UpsertBucketInput."""
        self._graphql.execute(operations.upsert_run(dict(run)))

    def seen_run(self, entity: str, project: str, run_id: str) -> SeenRun:
        """Return a run in W&B. If W&B refuses to show it, the result has the refusal, so that the run can end."""
        try:
            found = self._graphql.execute(operations.run_state(entity, project, run_id))
            return parsed(SeenRun, at(found, "project", "run") or {})
        except WandbRefused as error:
            return SeenRun(refusal=str(error))

    def check_sweep(self, entity: str, project: str, sweep_id: str) -> None:
        """Raise UnsupportedJobSource if the sweep no longer accepts runs."""
        found = self._graphql.execute(operations.sweep_state(entity, project, sweep_id))
        state = at(found, "project", "sweep", "state")
        if state not in _RUNNABLE_SWEEP_STATES:
            raise UnsupportedJobSource(
                f"the run belongs to sweep {sweep_id}, which is {str(state or 'gone').lower()}. Resume the sweep, or "
                "queue the run without a sweep."
            )

    def _features(self) -> set[str]:
        found = at(self._graphql.execute(operations.server_features()), "serverInfo", "features")
        features = parsed(list[Feature | None], found or [])
        return {feature.name for feature in features if feature and feature.is_enabled}


def _is_ours(holder: ItemHolder | None, item: ItemRef, agent_id: str) -> bool:
    return holder == ItemHolder(state="CLAIMED", run_id=item.run_id, launch_agent_id=agent_id)
