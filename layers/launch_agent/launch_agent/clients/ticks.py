"""SQS: the polls between those of the schedule, as delayed messages that Lambda gives to the same function."""

from collections.abc import Sequence

from launch_agent.clients.aws import aws_client, translated

_AT_ONCE = 10
"""The most messages that SQS takes in one request."""


class Ticks:
    """The queue of ticks."""

    def __init__(self, queue_url: str) -> None:
        """Create the AWS client; nothing is sent yet."""
        self._url = queue_url
        self._sqs = aws_client("sqs")

    def send(self, delays: Sequence[int]) -> None:
        """Send a tick for each delay, in seconds. One that SQS does not take is lost, which does no harm.

        Raises AwsThrottled and AwsRefused.
        """
        entries = [{"Id": str(delay), "MessageBody": "tick", "DelaySeconds": delay} for delay in delays]
        for start in range(0, len(entries), _AT_ONCE):
            with translated():
                self._sqs.send_message_batch(QueueUrl=self._url, Entries=entries[start : start + _AT_ONCE])
