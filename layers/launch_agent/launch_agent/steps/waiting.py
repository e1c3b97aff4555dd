"""Items that wait in their queues because of a limit say which, in one warning that is renewed."""

from collections.abc import Mapping

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
                limit: (known | {item_id for item_id in new if limits[item_id] == limit}) & waiting.keys()
                for limit, known in {TOTAL: frozenset(), OF_QUEUE: frozenset(), **agent.told_limits}.items()
            }
            # First: W&B may keep every warning, and a call that fails is not worth two.
            clients.runs.agents.told_limits(agent.entity, told)
            _tell(clients, agent.model_copy(update={"told_limits": told}), {each: waiting[each] for each in new})
    except LaunchError:
        logger.warning("some items do not say that they wait for a slot", exc_info=True)


def tell_schedulers(clients: Clients, agent: AgentRecord, waiting: Mapping[str, str]) -> None:
    """Put on the items of sweep schedulers that they wait for a slot. `waiting` has the queue of each.

    Polls lease them, and leave them to their lease.
    """
    new = [item_id for item_id in waiting if item_id not in agent.told_schedulers][:_MOST_TOLD]
    if not new:
        return
    try:
        known = agent.told_schedulers if len(agent.told_schedulers) < _MOST_REMEMBERED else frozenset()
        clients.runs.agents.told_schedulers(agent.entity, told := known.union(new))
        _tell(clients, agent.model_copy(update={"told_schedulers": told}), {each: waiting[each] for each in new})
    except LaunchError:
        logger.warning("some sweeps do not say that they wait for a slot", exc_info=True)


def _tell(clients: Clients, agent: AgentRecord, items: Mapping[str, str]) -> None:
    """Put on items, by their ids with their queues, all that they are told, in one request."""
    texts = {item_id: told_text(clients, agent, item_id, queue) for item_id, queue in items.items()}
    clients.wandb.warn_all({item_id: text for item_id, text in texts.items() if text}, "agent")


def told_text(clients: Clients, agent: AgentRecord, item_id: str, queue: str) -> str | None:
    """Return what an item in a queue says that it waits for, with a line for each limit; None if it says nothing."""
    config = clients.config
    lines = {
        TOTAL: slot_warning(config.max_jobs),
        OF_QUEUE: slot_warning(config.max_jobs_per_queue.get(queue, 0), OF_QUEUE, f' of the queue "{queue}"'),
    }
    said = [line for limit, line in lines.items() if item_id in agent.told_limits.get(limit, ())]
    if item_id in agent.told_schedulers:
        slots = config.limit(Slot.SCHEDULER)
        said.append(slot_warning(slots, "max_schedulers", " of sweep schedulers"))
    return "\n".join(said) or None


def _first_of_each_queue(clients: Clients, entity: str) -> dict[str, str]:
    """Return the queue of the items that have waited longest in each queue, also if they wait for no limit now."""
    queued = clients.wandb.waiting(entity, clients.config.queues)
    return {
        item_id: queue
        for queue, times in queued.items()
        for item_id in sorted(times, key=lambda each: times[each])[:_MOST_TOLD]
    }
