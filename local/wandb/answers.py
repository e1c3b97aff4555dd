"""The parts of answers: opaque ids, times, pages, and refusals."""

import base64
import time
from datetime import UTC, datetime
from typing import Any

from graphql import GraphQLError


class Refused(GraphQLError):
    """The server refuses an operation, with this HTTP status."""

    def __init__(self, message: str, status: int = 400) -> None:
        """Show this message to the client."""
        super().__init__(message)
        self.status = status


def opaque(*parts: object) -> str:
    """Return an opaque id in W&B's form: base64 of its parts, joined by colons."""
    return base64.b64encode(":".join(str(part) for part in parts).encode()).decode()


def timestamp(seconds: float | None = None) -> str:
    """Return a time, now by default, in W&B's form."""
    return datetime.fromtimestamp(time.time() if seconds is None else seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def connection(
    nodes: list[Any],
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
) -> dict[str, Any]:
    """Return a page of nodes as a Relay connection; the cursor is the index in the list."""
    start = int(base64.b64decode(after)) + 1 if after else 0
    end = int(base64.b64decode(before)) if before else len(nodes)
    if first is not None:
        end = min(end, start + first)
    if last is not None:
        start = max(start, end - last)
    page = nodes[start:end]
    edges = [{"node": node, "cursor": opaque(start + index)} for index, node in enumerate(page)]
    more = start + len(page) < len(nodes)
    info = {
        "endCursor": edges[-1]["cursor"] if edges else None,
        "hasNextPage": more,
        "hasPreviousPage": start > 0,
        "startCursor": edges[0]["cursor"] if edges else None,
    }
    return {"edges": edges, "pageInfo": info, "totalCount": len(nodes)}
