"""Warnings on queue items."""

from aws_lambda_powertools import Logger

from launch_agent.errors import LaunchError, WandbRefused
from launch_agent.run_queue.items import ItemRef
from launch_agent.runs.record import RunRecord
from launch_agent.safe_text import safe
from launch_agent.wiring import Clients

logger = Logger(child=True)


def warn(clients: Clients, item: ItemRef, text: str, stage: str) -> None:
    """Put a warning on a queue item. If W&B refuses that, the run continues without it."""
    try:
        clients.wandb.warn(item, text, stage)
        clients.runs.warned(item.id, safe(text))
    except WandbRefused:
        logger.exception("W&B refused a warning")


def renew_waiting(clients: Clients, record: RunRecord, text: str, *, over: bool = False, stage: str = "run") -> None:
    """Put on the queue item what its run waits for, if that has changed, or with `over` what came of it.

    W&B may keep one warning of an item or all of them: the text has the other warnings too, and is sent once. If that
    fails, the next call tries again.
    """
    text = safe(text)
    if record.waits_for == (None if over else text):
        return
    before = clients.runs.open_run(record.item.id)
    if before is None or not clients.runs.waits_for(record.item.id, "" if over else text):
        return
    try:
        clients.wandb.warn(record.item, "\n".join([text, *sorted(before.warned)]), stage)
    except LaunchError:
        logger.warning("the queue item does not say what its run waits for", exc_info=True)
        clients.runs.waits_for(record.item.id, before.waits_for or "")


def warn_once(clients: Clients, record: RunRecord, text: str) -> None:
    """Put a warning on the queue item unless it is there already. If that fails, the next call tries again."""
    text = safe(text)
    if text in record.warned or not clients.runs.warned(record.item.id, text):
        return
    try:
        clients.wandb.warn(record.item, text, "run")
    except LaunchError:
        logger.warning("the warning could not be put on the queue item", exc_info=True)
        clients.runs.not_warned(record.item.id, text)
