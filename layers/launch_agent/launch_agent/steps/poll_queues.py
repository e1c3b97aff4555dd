"""Polls: leases items and starts executions. Once a minute, also stops runs that were stopped in W&B.

The schedule calls it every minute. That call sends the other polls of its minute, as ticks.
"""

import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda_powertools import Logger

from launch_agent import __version__
from launch_agent.clients.executions import execution_arn
from launch_agent.clients.wandb_answers import LaunchAgent
from launch_agent.errors import LaunchError, WandbKeyRejected, WandbRefused
from launch_agent.operations.metrics import Metric
from launch_agent.outcome.judgement import STOPPED
from launch_agent.run_queue.items import Slot
from launch_agent.runs.record import AgentRecord, PlannedRun
from launch_agent.steps.opening import Opening
from launch_agent.steps.waiting import tell_limits, tell_schedulers
from launch_agent.wiring import Clients

logger = Logger(child=True)

_LEAVE_OFF_MILLISECONDS = 15_000
"""A poll that has less time left leases and opens no further item."""


class PollQueues:
    """Polls the run queues. Polls that overlap do no harm."""

    def __init__(self, clients: Clients) -> None:
        """Create the clients, and log the warnings of the configuration."""
        self._clients, self._config = clients, clients.config
        self._entity = ""
        self._wandb, self._runs, self._executions = clients.wandb, clients.runs, clients.executions
        self._state_machine_arn, self._polls = clients.state_machine_arn, clients.polls
        if self._polls.ticks_queue_url:
            _ = clients.ticks
        for warning in self._config.warnings():
            logger.warning(warning)

    def poll(self, milliseconds_left: Callable[[], int], *, is_tick: bool = False) -> dict[str, Any]:
        """Return the status that W&B shows, and the run queue items that were opened.

        The status is REGISTERING while another call registers the agent. If items could not be opened because of errors
        of AWS or W&B, raises the first of these errors, after it has opened the others. A tick only leases items, and
        sends nothing to W&B while no slot is free.
        """
        not_sent = None if is_tick else self._send_ticks()
        try:
            polled = self._poll(milliseconds_left, is_tick=is_tick)
        except WandbKeyRejected:
            self._clients.metrics.count(Metric.KEY_REFUSED)
            raise
        if not_sent:
            raise not_sent
        return polled

    def _send_ticks(self) -> LaunchError | None:
        """Send the other polls of this minute; return why that failed."""
        try:
            if self._polls.ticks_queue_url:
                self._clients.ticks.send(self._polls.delays)
        except LaunchError as error:
            logger.exception("the queues are not polled again in this minute")
            return error
        return None

    def _poll(self, milliseconds_left: Callable[[], int], *, is_tick: bool) -> dict[str, Any]:
        agent = self._agent(is_tick=is_tick)
        if not agent:
            return {"status": "REGISTERING", "opened": []}
        if agent.stop_polling:
            return {"status": "KILLED", "opened": []}
        status = "RUNNING" if agent.jobs_open + agent.schedulers_open else "POLLING"
        opening = Opening(
            self._clients,
            agent,
            room=self._room(agent),
            has_time=lambda: milliseconds_left() > _LEAVE_OFF_MILLISECONDS,
        )
        full = opening.limits_reached()
        if full and not is_tick:
            tell_limits(self._clients, agent, full)
        if opening.room() and not full.keys() >= set(self._config.queues):
            self._drain(agent, opening, status, until=datetime.now(UTC) + timedelta(milliseconds=milliseconds_left()))
            tell_schedulers(self._clients, agent, opening.schedulers_left)
        elif not is_tick:
            self._wandb.report_status(agent.launch_agent_id, status)
        if opening.failures:
            raise opening.failures[0]
        return {"status": status, "opened": opening.opened}

    def _drain(self, agent: AgentRecord, opening: Opening, status: str, *, until: datetime) -> None:
        """Lease and open items, as long as the queues have any, and while there is room and time.

        One poll at a time does so, until the end of its function at the latest: another one returns at once, or after
        the first items that it has leased already.
        """
        if agent.draining_until > time.time():
            return
        claimed = False
        queues = _in_turn(self._config.queues, every=self._polls.poll_interval_seconds)
        batches = self._wandb.lease(
            agent.launch_agent_id,
            agent.entity,
            queues,
            room=opening.room,
            rooms=opening.rooms,
            status=status,
            pool=self._clients.pool,
        )
        try:
            for leased in batches:
                opening.open_all(leased)
                if not claimed and opening.room():
                    claimed = self._runs.agents.claim_drain(agent.entity, until=until, now=datetime.now(UTC))
                    if not claimed:
                        return
        finally:
            opening.finish()
            if claimed:
                with suppress(LaunchError):  # the claim also ends by itself
                    self._runs.agents.end_drain(agent.entity)

    def _agent(self, *, is_tick: bool) -> AgentRecord | None:
        """Return our launch agent. Registers it again if its configuration changed or W&B no longer knows it.

        None while another call registers it: otherwise W&B would list two agents, and one of them would never poll.
        Once a minute, W&B is asked about it and about the open runs.
        """
        self._entity = entity = self._entity or self._config.entity or self._wandb.default_entity()
        known = self._runs.agents.find(entity)
        if is_tick and known and known.config_fingerprint == self._config.fingerprint:
            return known
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
        runs = list(self._runs.planned_runs()) if known.jobs_open + known.schedulers_open else []
        paths = {run.item_id: run.path for run in runs}
        seen, stopped = self._wandb.query_agent(known.launch_agent_id, paths, self._clients.pool)
        self._apply_stops([run for run in runs if run.stop_requested_at or run.item_id in stopped])
        return seen

    def _apply_stops(self, runs: Sequence[PlannedRun]) -> None:
        """Record that someone stopped runs in W&B, and stop those whose time to end by themselves is over."""
        if not runs:
            return
        _ = self._clients.sagemaker  # created here, as two threads would create two
        for run, answer in zip(runs, self._clients.pool.map(self._apply_stop, runs), strict=True):
            keys: dict[str, Any] = {"run_queue_item_id": run.item_id, "run_id": run.path.run_id}
            if isinstance(answer, LaunchError):
                logger.error("stop left to the next poll", exc_info=answer, **keys)
            elif answer:
                logger.info("run stopped, as asked in W&B", **keys)

    def _apply_stop(self, run: PlannedRun) -> bool | LaunchError:
        """Return whether a run was stopped, or why it could not be."""
        try:
            now = datetime.now(UTC)
            if not run.stop_requested_at:
                self._runs.stop_requested(run.item_id, at=now)
            since = run.stop_requested_at or now
            due = now >= since + timedelta(seconds=self._config.stopped_run_timeout)
            return due and self._stop(run.item_id)
        except LaunchError as error:
            return error

    def _stop(self, item_id: str) -> bool:
        """Stop a run's training job if it has one, else its execution. Return False if the run has ended."""
        record = self._runs.open_run(item_id)
        if record is None:
            return False
        job = self._clients.sagemaker.job_of(record) if record.awaits_job else None
        if job:
            # The end of the job resumes the execution, whether this call stops it or it has ended already.
            self._clients.sagemaker.stop(job.name)
        else:
            arn = execution_arn(self._state_machine_arn, record.execution_name)
            self._executions.stop(arn, error=STOPPED, cause="The run was stopped in W&B.")
        return True

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

    def _room(self, agent: AgentRecord) -> int:
        """Return how many jobs this poll may open."""
        limit = self._config.limit(Slot.JOB)
        return sys.maxsize if limit < 0 else max(limit - agent.jobs_open, 0)


def _in_turn(queues: list[str], *, every: int) -> list[str]:
    """Return the queues, starting with any of them at each poll, so that none waits behind a full one.

    In a fixed turn, jobs of as many polls as there are queues would free their slot for the same queue each time.
    """
    first = random.Random(int(time.time() // every)).randrange(len(queues))  # noqa: S311 - it spreads turns
    return queues[first:] + queues[:first]
