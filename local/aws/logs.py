"""Writes log streams through the CloudWatch Logs API, in batches, with the credentials of the given client."""

import threading
import time
from contextlib import suppress
from typing import Any, Protocol

from botocore.exceptions import ClientError

_BATCH = 1000


class Log(Protocol):
    """A log to write lines to."""

    def put(self, line: str) -> None:
        """Add a line."""

    def close(self) -> None:
        """Write the remaining lines."""


def log_stream(client: Any, group: str, stream: str) -> Log:
    """Create a log stream, and its group if needed. If the role may not, return a log that drops its lines."""
    try:
        return LogStream(client, group, stream)
    except ClientError:
        return _NoLog()


class _NoLog:
    def put(self, line: str) -> None:
        pass

    def close(self) -> None:
        pass


class LogStream:
    """One log stream, written every quarter of a second and on close."""

    def __init__(self, client: Any, group: str, stream: str) -> None:
        """Create the stream, and its group if it does not exist. Raises ClientError if the role may not."""
        self._client, self._group, self._stream = client, group, stream
        self._events: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        try:
            self._make_stream()
        except client.exceptions.ResourceNotFoundException:
            with suppress(
                client.exceptions.ResourceAlreadyExistsException
            ):  # created by another caller in the meantime
                client.create_log_group(logGroupName=group)
            self._make_stream()
        self._thread = threading.Thread(target=self._write_on, daemon=True)
        self._thread.start()

    def _make_stream(self) -> None:
        with suppress(self._client.exceptions.ResourceAlreadyExistsException):
            self._client.create_log_stream(logGroupName=self._group, logStreamName=self._stream)

    def put(self, line: str) -> None:
        with self._lock:
            self._events.append({"timestamp": int(time.time() * 1000), "message": line.rstrip("\n") or " "})

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        self._write()

    def _write_on(self) -> None:
        while not self._closed.wait(0.25):
            self._write()

    def _write(self) -> None:
        with self._lock:
            events, self._events = self._events, []
        for start in range(0, len(events), _BATCH):
            with suppress(ClientError):  # the group was deleted, or the role changed: the caller continues
                self._client.put_log_events(
                    logGroupName=self._group, logStreamName=self._stream, logEvents=events[start : start + _BATCH]
                )
