"""Tells others of a run by an event. An event that cannot be sent does not affect the run."""

from aws_lambda_powertools import Logger

from launch_agent.operations.metrics import Metric
from launch_agent.outcome.events import Event
from launch_agent.wiring import Clients

logger = Logger(child=True)


def announce(clients: Clients, event: Event) -> None:
    """Send an event, once. If EventBridge does not take it, log and count that."""
    refusal = clients.events.put(event)
    if refusal:
        logger.warning("an event was not sent", event=event.detail_type, reason=refusal)
        clients.metrics.count(Metric.EVENTS_NOT_SENT)
