"""Writes log streams through the CloudWatch Logs API, in batches, with the credentials of whoever logs."""

import threading
import time
from typing import Any, Protocol

from botocore.exceptions import ClientError

_BATCH = 1000


class Log(Protocol):
    """What lines are written to."""

    def put(self, line: str) -> None:
        """Take a line."""

    def close(self) -> None:
        """Write what is left."""


def log_stream(client: Any, group: str, stream: str) -> Log:
    """Return a log stream, made with its group; for a role that may not make it, one that loses its lines."""
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
    """One log stream, written every quarter of a second and when it is closed."""

    def __init__(self, client: Any, group: str, stream: str) -> None:
        """Make the stream, and the group where there is none. Raises ClientError when that is not allowed."""
        self._client, self._group, self._stream = client, group, stream
        self._events: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        for make, names in (
            (client.create_log_group, {"logGroupName": group}),
            (client.create_log_stream, {"logGroupName": group, "logStreamName": stream}),
        ):
            try:
                make(**names)
            except client.exceptions.ResourceAlreadyExistsException:
                continue
        self._thread = threading.Thread(target=self._write_on, daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Take a line."""
        with self._lock:
            self._events.append({"timestamp": int(time.time() * 1000), "message": line.rstrip("\n") or " "})

    def close(self) -> None:
        """Write what is left."""
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
            self._client.put_log_events(
                logGroupName=self._group, logStreamName=self._stream, logEvents=events[start : start + _BATCH]
            )
