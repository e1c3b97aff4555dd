"""Items that wait in their queues because of a limit say which, in one warning that is renewed."""

from collections.abc import Iterable, Mapping

from aws_lambda_powertools import Logger

from launch_agent.errors import LaunchError
from launch_agent.outcome.report import slot_warning
from launch_agent.run_queue.items import Slot
from launch_agent.runs.record import AgentRecord
from launch_agent.wiring import Clients

logger = Logger(child=True)

TOTAL, OF_QUEUE = "max_jobs", "max_jobs_per_queue"

_MOST_TOLD = 20
"""How many items of each queue are told that they wait, and how many items a poll tells."""

_MOST_REMEMBERED = 100


def tell_limits(clients: Clients, agent: AgentRecord, reached: Mapping[str, str]) -> None:
    """Put on the first items of each queue which limit they wait for. Each says so once for each limit.

    `reached` has the key of the limit that each full queue has reached.
    """
    try:
        waiting = _first_of_each_queue(clients, agent.entity)
        limits = {item_id: reached[queue] for item_id, queue in waiting.items() if queue in reached}
        untold = [item_id for item_id, limit in limits.items() if item_id not in agent.told_limits.get(limit, ())]
        new = untold[:_MOST_TOLD]
        if new:
            told = {
                limit: {*agent.told_limits.get(limit, ()), *(item_id for item_id in new if limits[item_id] == limit)}
                for limit in (TOTAL, OF_QUEUE)
            }
            # First: W&B may keep every warning, and a call that fails is not worth two.
            clients.runs.agents.told_limits(
                agent.entity, {limit: item_ids & waiting.keys() for limit, item_ids in told.items()}
            )
            now = agent.model_copy(update={"told_limits": told})
            clients.wandb.warn_all({each: told_text(clients, now, each, waiting[each]) or "" for each in new}, "agent")
    except LaunchError:
        logger.warning("some items do not say that they wait for a slot", exc_info=True)


def tell_schedulers(clients: Clients, agent: AgentRecord, item_ids: Iterable[str]) -> None:
    """Put on the items of sweep schedulers, which polls lease and leave to their lease, that they wait for a slot."""
    new = [item_id for item_id in item_ids if item_id not in agent.told_schedulers][:_MOST_TOLD]
    if not new:
        return
    try:
        known = agent.told_schedulers if len(agent.told_schedulers) < _MOST_REMEMBERED else ()
        clients.runs.agents.told_schedulers(agent.entity, {*known, *new})
        clients.wandb.warn_all(dict.fromkeys(new, _of_schedulers(clients)), "agent")
    except LaunchError:
        logger.warning("some sweeps do not say that they wait for a slot", exc_info=True)


def told_text(clients: Clients, agent: AgentRecord, item_id: str, queue: str) -> str | None:
    """Return what an item in a queue says that it waits for, with a line for each limit; None if it says nothing."""
    config = clients.config
    lines = {
        TOTAL: slot_warning(config.max_jobs),
        OF_QUEUE: slot_warning(config.max_jobs_per_queue.get(queue, 0), OF_QUEUE, f' of the queue "{queue}"'),
    }
    said = [line for limit, line in lines.items() if item_id in agent.told_limits.get(limit, ())]
    if item_id in agent.told_schedulers:
        said.append(_of_schedulers(clients))
    return "\n".join(said) or None


def _of_schedulers(clients: Clients) -> str:
    return slot_warning(clients.config.limit(Slot.SCHEDULER), "max_schedulers", " of sweep schedulers")


def _first_of_each_queue(clients: Clients, entity: str) -> dict[str, str]:
    """Return the queue of the items that have waited longest in each queue, also if they wait for no limit now."""
    queued = clients.wandb.waiting(entity, clients.config.queues)
    return {
        item_id: queue
        for queue, times in queued.items()
        for item_id in sorted(times, key=lambda each: times[each])[:_MOST_TOLD]
    }
