"""Leases run queue items, with many pops in one request. An item that cannot be read does not affect the others."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from launch_agent.clients import wandb_operations as operations
from launch_agent.clients.answers import MAX_PART_VALUES, Answer, is_too_large, text_in
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.wandb_answers import at, parsed
from launch_agent.errors import LaunchError, WandbRefused
from launch_agent.run_queue.items import MAX_POPS, QueueItem, next_pops

if TYPE_CHECKING:
    from concurrent.futures import Executor


class Leased(NamedTuple):
    """A leased run queue item. If it has a fault, its run spec could not be read and is missing."""

    queue: str
    item: QueueItem
    fault: str = ""


class _Popped(NamedTuple):
    """The answer to a request for items: those leased, and the queues that were empty."""

    leased: Sequence[Leased] = ()
    empty: frozenset[str] = frozenset()
    refused: Sequence[str] = ()
    """What W&B refused; the other fields have the rest of the answer."""
    ask_singly: bool = False
    """Whether the answer left out queues, so that the next requests ask for one item each."""
    error: LaunchError | None = None
    """Why there is no answer."""


class Leasing:
    """Leases the items of one poll."""

    def __init__(
        self, graphql: GraphqlClient, pool: "Executor", agent_id: str, entity: str, *, status: str, at_once: int
    ) -> None:
        """`status` is the agent's status, which the first request reports; `at_once` the most requests at a time."""
        self._graphql, self._pool, self._agent_id, self._entity = graphql, pool, agent_id, entity
        self._status, self._at_once, self._pops = status, at_once, MAX_POPS

    def batches(
        self, queues: Sequence[str], room: Callable[[], int], rooms: Callable[[], Mapping[str, int]]
    ) -> Iterator[list[Leased]]:
        """Yield leased items, from each queue in turn, until the queues are empty.

        `room` returns the most items of the next batch; 0 ends. `rooms` returns the most items of each queue that has a
        limit of its own. A refusal for one queue does not affect the others: WandbRefused is raised at the end. If a
        request of several gets no answer, the items of the others are yielded before WandbUnavailable or
        WandbKeyRejected is raised.
        """
        hits, refused = 0, dict[str, None]()
        while queues and (left := room()) > 0:
            pops = self._pops
            asked = next_pops(queues, room=min(left, pops * self._at_once), hits=hits, rooms=rooms())
            if not asked:
                break
            answers = self._pop_all([asked[start : start + pops] for start in range(0, len(asked), pops)])
            leased = [each for answer in answers for each in answer.leased]
            if leased:
                yield leased
            for error in (answer.error for answer in answers if answer.error):
                raise error
            refused |= dict.fromkeys(words for answer in answers for words in answer.refused)
            empty = frozenset[str]().union(*(answer.empty for answer in answers))
            if any(answer.ask_singly for answer in answers):
                self._pops = 1
            if pops == 1 and not leased and not empty:
                break  # the same request would have the same answer
            turn = len(asked) % len(queues)
            queues, hits = [name for name in (*queues[turn:], *queues[:turn]) if name not in empty], len(leased)
        if refused:
            raise WandbRefused(f"W&B refused: {'; '.join(refused)}")

    def _pop_all(self, requests: Sequence[Sequence[str]]) -> list[_Popped]:
        """Send the requests at the same time. Only the first reports the status."""
        statuses = [self._status, *[""] * (len(requests) - 1)]
        answers = list(self._pool.map(self._pop, requests, statuses))
        if not (answers[0].error or answers[0].ask_singly):
            self._status = ""
        return answers

    def _pop(self, queues: Sequence[str], status: str) -> _Popped:
        """Pop once from each of the queues."""
        try:
            answer = self._graphql.execute_in_parts(
                operations.update_and_pop(self._agent_id, status, self._entity, queues)
            )
        except WandbRefused as error:
            if len(queues) > 1:  # one queue may be the reason for the refusal of all
                return _Popped(ask_singly=True)
            return _Popped(empty=frozenset(queues), refused=[str(error)])
        except LaunchError as error:
            return _Popped(error=error)
        names = {f"pop{number}": queue for number, queue in enumerate(queues)}
        refused = list(answer.errors)
        leased = [_leased(queue, answer, name, refused) for name, queue in names.items()]
        empty = {queue for name, queue in names.items() if name in answer.data and not _gave_item(answer, name)}
        return _Popped([each for each in leased if each], frozenset(empty), refused, ask_singly=answer.is_cut)


def _leased(queue: str, answer: Answer, name: str, refused: list[str]) -> Leased | None:
    """Return the item that a pop leased; None if it leased no item, or if the id cannot be read."""
    if name in answer.unread:
        part = answer.unread[name]
        return _faulty(queue, text_in(part.raw, "runQueueItemId"), part.why, refused)
    if not _gave_item(answer, name):
        return None
    try:
        item = parsed(QueueItem, answer.data[name])
    except WandbRefused as error:
        refused.append(str(error))
        return None
    if is_too_large(item.run_spec):
        return _faulty(queue, item.id, f"it has more than {MAX_PART_VALUES} values", refused)
    return Leased(queue, item)


def _faulty(queue: str, item_id: str | None, why: str, refused: list[str]) -> Leased | None:
    if item_id:
        return Leased(queue, QueueItem(id=item_id), why)
    refused.append(f"the id of an item cannot be read: {why}")
    return None


def _gave_item(answer: Answer, name: str) -> bool:
    return bool(at(answer.data, name, "runQueueItemId"))
