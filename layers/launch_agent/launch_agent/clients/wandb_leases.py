"""Leases run queue items, with many pops in one request. An item that cannot be read does not affect the others."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from launch_agent.clients import wandb_operations as operations
from launch_agent.clients.answers import MAX_PART_VALUES, Answer, is_too_large, text_in
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.wandb_answers import at, parsed
from launch_agent.errors import WandbRefused
from launch_agent.run_queue.items import MAX_POPS, QueueItem, next_pops


class Leased(NamedTuple):
    """A leased run queue item. If it has a fault, its run spec could not be read and is missing."""

    queue: str
    item: QueueItem
    fault: str = ""


class Leasing:
    """Leases the items of one poll."""

    def __init__(self, graphql: GraphqlClient, agent_id: str, entity: str, *, status: str) -> None:
        """`status` is the agent's status, which the first request reports."""
        self._graphql, self._agent_id, self._entity = graphql, agent_id, entity
        self._status, self._at_once = status, MAX_POPS
        self._refused: list[str] = []

    def items(self, queues: Sequence[str], room: int) -> Iterator[Leased]:
        """Yield at most `room` leased items, from each queue in turn, until the queues are empty.

        A refusal for one queue does not affect the others; WandbRefused is raised at the end.
        """
        hits = 0
        while queues and room > 0:
            asked = next_pops(queues, room=room, hits=hits)[: self._at_once]
            leased, empty = self._pop(asked)
            yield from leased
            queues, hits = [queue for queue in queues if queue not in empty], len(leased)
            room -= max(hits, 1)
        if self._refused:
            raise WandbRefused(f"W&B refused: {'; '.join(dict.fromkeys(self._refused))}")

    def _pop(self, queues: Sequence[str]) -> tuple[list[Leased], set[str]]:
        """Pop once from each of the queues; return the leased items, and the empty queues."""
        pop = operations.update_and_pop(self._agent_id, self._status, self._entity, queues)
        try:
            answer = self._graphql.execute_in_parts(pop)
        except WandbRefused as error:
            if len(queues) > 1:
                self._at_once = 1  # one queue may be the reason for the refusal of all
                return [], set()
            self._refused.append(str(error))
            return [], set(queues)
        self._status = ""
        self._refused.extend(answer.errors)
        if answer.is_cut:
            self._at_once = 1
        names = {f"pop{number}": queue for number, queue in enumerate(queues)}
        leased = (self._leased(queue, answer, name) for name, queue in names.items())
        empty = {queue for name, queue in names.items() if name in answer.data and not _gave_item(answer, name)}
        return [each for each in leased if each], empty

    def _leased(self, queue: str, answer: Answer, name: str) -> Leased | None:
        """Return the item that a pop leased; None if it leased no item, or if the id cannot be read."""
        if name in answer.unread:
            part = answer.unread[name]
            return self._faulty(queue, text_in(part.raw, "runQueueItemId"), part.why)
        if not _gave_item(answer, name):
            return None
        try:
            item = parsed(QueueItem, answer.data[name])
        except WandbRefused as error:
            self._refused.append(str(error))
            return None
        if is_too_large(item.run_spec):
            return self._faulty(queue, item.id, f"it has more than {MAX_PART_VALUES} values")
        return Leased(queue, item)

    def _faulty(self, queue: str, item_id: str | None, why: str) -> Leased | None:
        if item_id:
            return Leased(queue, QueueItem(id=item_id), why)
        self._refused.append(f"the id of an item cannot be read: {why}")
        return None


def _gave_item(answer: Answer, name: str) -> bool:
    return bool(at(answer.data, name, "runQueueItemId"))
