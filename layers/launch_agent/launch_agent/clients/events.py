"""EventBridge: the events of this application on the default bus."""

import json

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from launch_agent.clients.aws import aws_client
from launch_agent.outcome.events import SOURCE, Event
from launch_agent.safe_text import safe_json

_CONFIG = Config(retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=2)
"""No retries and short waits: a run does not wait for its events."""


class Events:
    """The events of this application."""

    def __init__(self) -> None:
        """Create the AWS client; nothing is sent yet."""
        self._events = aws_client("events", config=_CONFIG)

    def put(self, event: Event) -> str:
        """Send an event. Return why EventBridge did not take it; empty if it did. Raises nothing."""
        detail = json.dumps(safe_json(event.detail()))
        try:
            answer = self._events.put_events(
                Entries=[{"Source": SOURCE, "DetailType": event.detail_type, "Detail": detail}]
            )
        except (BotoCoreError, ClientError) as error:
            return f"{type(error).__name__}: {error}"
        (entry,) = answer.get("Entries") or [{}]
        return str(entry.get("ErrorCode", ""))
