"""Restricts the local servers to loopback: the sockets they listen on, and the requests they accept."""

import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[Any]]

_HOSTS = ("127.0.0.1", "localhost")


def listening(port: int = 0) -> socket.socket:
    """Return a socket that listens on a loopback port; 0 chooses a free one. Raises SystemExit if it is in use."""
    # asyncio sends without delay (TCP_NODELAY) only if the socket's protocol says TCP.
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(("127.0.0.1", port))
    except OSError as error:
        raise SystemExit(
            f"Port {port} of this machine cannot be used: {error.strerror}. Omit the port to use a free one."
        ) from None
    made.listen(128)
    return made


class OwnMachineOnly:
    """Refuses requests from web pages, and requests for any other host name (DNS rebinding).

    Any page in a browser can send requests to loopback. With `pages`, the server's own pages are accepted.
    """

    def __init__(self, app: Application, *, pages: bool) -> None:
        self._app, self._pages = app, pages

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on a request from this machine; refuse others."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and self._is_own(headers_of(scope))):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"This server accepts requests only from this machine."})
        else:
            await send({"type": "websocket.close"})

    def _is_own(self, headers: dict[str, str]) -> bool:
        host = headers.get("host", "")
        if host.rpartition(":")[0] not in _HOSTS:
            return False
        if not self._pages:
            return not any(name in ("origin", "referer") or name.startswith("sec-fetch-") for name in headers)
        own_origin = headers.get("origin", f"http://{host}") == f"http://{host}"
        # "none": the address was typed, or opened from a terminal.
        return own_origin and headers.get("sec-fetch-site", "none") in ("same-origin", "none")


def headers_of(scope: Message) -> dict[str, str]:
    """Return a request's headers, with lower-case names."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


async def body_of(receive: Receive) -> bytes:
    """Return a request's whole body."""
    content, more = b"", True
    while more:
        message = await receive()
        content += message.get("body", b"")
        more = message.get("more_body", False)
    return content
