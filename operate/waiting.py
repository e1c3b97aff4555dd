"""The run queue items that wait in W&B, as far as the operator may read the API key of the stack."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime

from botocore.exceptions import ClientError

from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.secrets import WandbApiKey
from launch_agent.clients.wandb import Wandb
from launch_agent.errors import LaunchError
from launch_agent.run_queue.items import ItemRef
from operate.runs import WatchedRun
from operate.verify.stack import Stack

_EVERY_SECONDS = 10.0
_MOST = 10


class WaitingItems:
    """The items that wait in the queues of a stack, read every ten seconds."""

    def __init__(self, wandb: Wandb, entity: str, queues: list[str]) -> None:
        """Nothing is sent yet."""
        self._wandb, self._entity, self._queues = wandb, entity, queues
        self._read_at = float("-inf")
        self._waiting: dict[str, WatchedRun] = {}

    def now(self) -> list[WatchedRun]:
        """Return the ten that wait longest; those known before if W&B does not answer."""
        if time.monotonic() - self._read_at > _EVERY_SECONDS:
            self._read_at = time.monotonic()
            with suppress(LaunchError):
                self._waiting = {each.item_id: each for each in self._read()}
        return list(self._waiting.values())

    def _read(self) -> Iterator[WatchedRun]:
        found = self._wandb.waiting(self._entity, self._queues)
        items = [(since, item, queue) for queue, items in found.items() for item, since in items.items()]
        for since, item, queue in sorted(items)[:_MOST]:
            yield self._waiting.get(item) or self._described(item, queue, since)

    def _described(self, item: str, queue: str, since: datetime) -> WatchedRun:
        spec = self._wandb.run_spec(ItemRef(id=item, queue=queue, entity=self._entity, run_id=""))
        known = spec if isinstance(spec, Mapping) else {}
        name = str(known.get("name") or known.get("run_id") or item)
        return WatchedRun(item, item, "", name, since, None, "in the queue")


def waiting_items(stack: Stack) -> WaitingItems | None:
    """Return the waiting items of a stack; None if the operator cannot read its API key, or W&B rejects it."""
    base_url, secret = stack.parameters["WandbBaseUrl"], stack.parameters["WandbApiKeySecretArn"]
    wandb = Wandb(GraphqlClient(base_url, WandbApiKey(secret)))
    try:
        config, default = stack.launch_config(), wandb.default_entity()
    except (LaunchError, ClientError):
        return None
    return WaitingItems(wandb, config.entity or default, config.queues)
