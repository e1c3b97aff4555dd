"""Runs every minute: sends the heartbeat, stops runs that were stopped in W&B, leases items, starts executions."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

from aws_lambda_powertools import Logger

from launch_agent import __version__
from launch_agent.clients.executions import execution_arn
from launch_agent.clients.wandb_answers import LaunchAgent
from launch_agent.clients.wandb_leases import Leased
from launch_agent.errors import AwsRefused, InvalidRunSpec, LaunchError, WandbKeyRejected, WandbRefused
from launch_agent.operations.metrics import Metric
from launch_agent.outcome.judgement import STOPPED
from launch_agent.outcome.report import slot_warning
from launch_agent.run_queue.items import ItemRef, QueueItem, Slot, derived_run_id
from launch_agent.runs.execution import execution_input, execution_name
from launch_agent.runs.life import RunState
from launch_agent.runs.record import AgentRecord, RunRecord
from launch_agent.wiring import Clients

logger = Logger(child=True)

_MAX_REFUSALS = 3
"""An item that went back to its queue so many times because of a refusal is failed."""

_LEAVE_OFF_MILLISECONDS = 15_000
"""A poll that has less time left opens no further item."""

_MOST_TOLD = 20
"""How many items of each queue are told that they wait."""

MAX_LEASED = 100
"""The most items that one poll leases: each has to be acknowledged before its lease of about a minute ends."""


class PollQueues:
    """Polls the run queues. Polls that overlap do no harm."""

    def __init__(self, clients: Clients) -> None:
        """Create the clients, and log the warnings of the configuration."""
        self._clients, self._config = clients, clients.config
        self._wandb, self._runs, self._executions = clients.wandb, clients.runs, clients.executions
        self._state_machine_arn = clients.state_machine_arn
        for warning in self._config.warnings():
            logger.warning(warning)

    def poll(self, milliseconds_left: Callable[[], int]) -> dict[str, Any]:
        """Return the status that W&B shows, and the run queue items that were opened.

        The status is REGISTERING while another call registers the agent. If items could not be opened because of errors
        of AWS or W&B, raises the first of these errors, after it has opened the others.
        """
        try:
            return self._poll(milliseconds_left)
        except WandbKeyRejected:
            self._clients.metrics.count(Metric.KEY_REFUSED)
            raise

    def _poll(self, milliseconds_left: Callable[[], int]) -> dict[str, Any]:
        agent = self._agent()
        if not agent:
            return {"status": "REGISTERING", "opened": []}
        if agent.stop_polling:
            return {"status": "KILLED", "opened": []}
        status = "RUNNING" if agent.jobs_open + agent.schedulers_open else "POLLING"
        room = self._room(agent)
        if room < 1:
            self._tell_to_wait(agent)
        leased = self._lease(agent, room, status)
        opened, failures = [], []
        for each in takewhile(lambda _: milliseconds_left() > _LEAVE_OFF_MILLISECONDS, leased):
            try:
                if self._open_or_refuse(agent, each):
                    opened.append(each.item.id)
            except LaunchError as error:
                logger.exception("item left to its lease")
                failures.append(error)
        if failures:
            raise failures[0]
        return {"status": status, "opened": opened}

    def _lease(self, agent: AgentRecord, room: int, status: str) -> Iterator[Leased]:
        """Yield the leased items. A scheduler takes no room: for each, another item is leased.

        Otherwise schedulers that wait for a slot would be leased again and again in the place of jobs.
        """
        queues = _in_turn(self._config.queues)
        while True:
            schedulers = 0
            for each in self._wandb.lease(agent.launch_agent_id, agent.entity, queues, room=room, status=status):
                schedulers += each.item.slot is Slot.SCHEDULER
                yield each
            if not schedulers:
                return
            room, status = schedulers, ""

    def _open_or_refuse(self, agent: AgentRecord, leased: Leased) -> bool:
        """Open the run of a leased item; return whether it was opened. An item that is not valid fails in W&B."""
        item = ItemRef(
            id=leased.item.id, queue=leased.queue, entity=agent.entity, run_id=derived_run_id(leased.item.id)
        )
        logger.append_keys(run_queue_item_id=item.id, run_id=leased.item.run_id)
        known = self._runs.get(item.id)
        reason = _reason_to_refuse(leased, known)
        try:
            if not reason:
                return self._open(agent, leased, known)
        except InvalidRunSpec as error:
            reason = f"InvalidRunSpec: {error}"
        except LaunchError:
            raise
        except Exception as error:
            logger.exception("item cannot be opened")
            reason = (
                f"{type(error).__name__}: the launch agent cannot read this item. See the log of PollQueuesFunction."
            )
        self._wandb.fail(item, reason, "agent")
        return False

    def _agent(self) -> AgentRecord | None:
        """Return our launch agent. Registers it again if its configuration changed or W&B no longer knows it.

        None while another call registers it: otherwise W&B would list two agents, and one of them would never poll.
        """
        entity = self._config.entity or self._wandb.default_entity()
        known = self._runs.agents.find(entity)
        seen = self._query_and_stop(known) if known else None
        if known and seen and known.config_fingerprint == self._config.fingerprint:
            return self._apply_stop_polling(known, stop=seen.stop_polling)
        if not self._runs.agents.claim_registration(entity, known=known, now=datetime.now(UTC)):
            return None
        try:
            if known and seen:
                self._retire(known)
            return self._register(entity, known)
        except LaunchError:
            with suppress(LaunchError):  # the claim also ends by itself, in a minute
                self._runs.agents.end_claim(entity)
            raise

    def _retire(self, former: AgentRecord) -> None:
        """Report a launch agent as KILLED that another follows, before it does: a later call may not know of it."""
        try:
            self._wandb.report_status(former.launch_agent_id, "KILLED")
        except WandbRefused:
            logger.exception("the former launch agent stays listed in W&B")

    def _register(self, entity: str, known: AgentRecord | None) -> AgentRecord:
        """Register a launch agent with W&B. If it replaces a known one, it takes over its count of slots."""
        new = self._wandb.register(
            entity,
            self._config,
            hostname=self._clients.env.stack_name,
            version=f"wandb-launch-sagemaker@{__version__}",
        )
        logger.info("launch agent registered", launch_agent_id=new.id, launch_agent_name=new.name)
        agent = AgentRecord(
            entity=entity,
            launch_agent_id=new.id,
            launch_agent_name=new.name,
            config_fingerprint=self._config.fingerprint,
            jobs_open=known.jobs_open if known else 0,
            schedulers_open=known.schedulers_open if known else 0,
        )
        self._runs.agents.remember(agent)
        return agent

    def _query_and_stop(self, known: AgentRecord) -> LaunchAgent | None:
        """Return our launch agent in W&B, or None. Stops the runs that someone stopped in W&B.

        They first have `stopped_run_timeout` seconds to end by themselves.
        """
        unreported = self._runs.unreported_runs() if known.jobs_open + known.schedulers_open else ()
        open_runs = [run for run in unreported if run.is_open]
        seen, stopped = self._wandb.query_agent(known.launch_agent_id, open_runs)
        for run in open_runs:
            try:
                self._apply_stop(run, is_stopped=run.item.id in stopped)
            except LaunchError:
                logger.exception("stop left to the next poll", run_queue_item_id=run.item.id)
        return seen

    def _apply_stop(self, run: RunRecord, *, is_stopped: bool) -> None:
        """Record that someone stopped a run in W&B, and stop it if its time to end by itself is over."""
        now = datetime.now(UTC)
        if is_stopped and not run.stop_requested_at:
            self._runs.stop_requested(run.item.id, at=now)
        since = run.stop_requested_at or (now if is_stopped else None)
        if since and now >= since + timedelta(seconds=self._config.stopped_run_timeout):
            self._stop(run.item.id)

    def _stop(self, item_id: str) -> None:
        """Stop a run's training job if it has one, else its execution. Does nothing if the run has ended."""
        record = self._runs.open_run(item_id)
        if record is None:
            return
        job = self._clients.sagemaker.job_of(record) if record.awaits_job else None
        if job:
            # The end of the job resumes the execution, whether this call stops it or it has ended already.
            self._clients.sagemaker.stop(job.name)
        else:
            arn = execution_arn(self._state_machine_arn, record.execution_name)
            self._executions.stop(arn, error=STOPPED, cause="The run was stopped in W&B.")
        logger.info(
            "run stopped, as asked in W&B", run_queue_item_id=item_id, training_job_name=record.training_job_name
        )

    def _apply_stop_polling(self, agent: AgentRecord, *, stop: bool) -> AgentRecord:
        """Record that an operator stopped or resumed polling in W&B. A stopped agent reports that once."""
        if stop == agent.stop_polling:
            return agent
        changed = agent.model_copy(update={"stop_polling": stop})
        if stop:
            self._wandb.report_status(agent.launch_agent_id, "KILLED")
        self._runs.agents.remember(changed)
        logger.warning("polling was stopped in W&B" if stop else "polling was resumed in W&B")
        return changed

    def _tell_to_wait(self, agent: AgentRecord) -> None:
        """Put on the first items of the queues that they wait for a slot. Each says so once."""
        try:
            waiting = self._waiting(agent.entity)
            new = [item for item in waiting if item.id not in agent.told_to_wait]
            if new:
                # First: W&B may keep every warning, and a call that fails is not worth two.
                self._runs.agents.told_to_wait(agent.entity, {item.id for item in waiting})
            for item in new:
                self._wandb.warn(item, slot_warning(self._config.max_jobs), "agent")
        except LaunchError:
            logger.warning("some items do not say that they wait for a slot", exc_info=True)

    def _waiting(self, entity: str) -> list[ItemRef]:
        return [
            ItemRef(id=item_id, queue=queue, entity=entity, run_id=derived_run_id(item_id))
            for queue, queued in self._wandb.waiting(entity, self._config.queues).items()
            for item_id in sorted(queued, key=lambda each: queued[each])[:_MOST_TOLD]
        ]

    def _room(self, agent: AgentRecord) -> int:
        """Return how many items this poll may lease."""
        limit = self._config.limit(Slot.JOB)
        return MAX_LEASED if limit < 0 else min(MAX_LEASED, limit - agent.jobs_open)

    def _open(self, agent: AgentRecord, leased: Leased, known: RunRecord | None) -> bool:
        """Take a slot, store the record and start the execution; return whether the item was opened.

        If no slot is free, the item returns to its queue when its lease ends.
        """
        if known and known.is_open:
            # Its lease ended before it was acknowledged, and this poll leased it again: the same execution continues.
            self._runs.leased_again(known.item.id, agent)
            return self._start(known, leased.item.run_spec)
        attempt = known.attempt + 1 if known else 1
        record = _new_record(agent, leased.queue, leased.item, attempt=attempt, machine=self._state_machine_arn)
        if record.item.id in agent.told_to_wait:
            record = record.model_copy(update={"waits_for": slot_warning(self._config.max_jobs)})
        opened = self._runs.open(record, spec=leased.item.run_spec, limit=self._config.limit(record.slot))
        if not opened:
            logger.info("item left to its lease: no slot is free, or its run has ended")
        return opened and self._start(record, leased.item.run_spec)

    def _start(self, record: RunRecord, spec: Any) -> bool:
        """Start the execution of an open run; return whether this call started it.

        If AWS refuses that, frees the slot and raises AwsRefused.
        """
        given = execution_input(record.item, spec, self._clients.env.deployment)
        try:
            started = self._executions.start(self._state_machine_arn, record.execution_name, given)
        except AwsRefused:
            # The item is not the cause, so it returns to its queue every time until someone allows the call.
            self._runs.give_back(record)
            raise
        words = "execution started" if started else "execution exists already"
        logger.info(words, execution=record.execution_name)
        return started


def _reason_to_refuse(leased: Leased, known: RunRecord | None) -> str:
    """Return why an item fails in W&B and is not opened; empty if it can be opened."""
    if leased.fault:
        return f"InvalidRunSpec: the run spec cannot be read: {leased.fault}. Fix that and queue the run again."
    if known and known.refusals >= _MAX_REFUSALS:
        return f"{known.refusal} This happened {known.refusals} times."
    return ""


def _in_turn(queues: list[str]) -> list[str]:
    """Return the queues, starting with a different one every minute, so that none waits behind a full one."""
    first = int(time.time() // 60) % len(queues)
    return queues[first:] + queues[:first]


def _new_record(agent: AgentRecord, queue: str, item: QueueItem, *, attempt: int, machine: str) -> RunRecord:
    name = execution_name(item.id, item.run_id, attempt)
    return RunRecord(
        item=ItemRef(id=item.id, queue=queue, entity=agent.entity, run_id=item.run_id),
        slot=item.slot,
        state=RunState.OPEN,
        attempt=attempt,
        execution_name=name,
        execution_arn=execution_arn(machine, name),
        launch_agent_id=agent.launch_agent_id,
        launch_agent_name=agent.launch_agent_name,
        opened_at=datetime.now(UTC),
    )
