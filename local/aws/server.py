"""Puts the parts together and serves them: ministack's application behind a guard, beside endpoints of our own."""

import asyncio
import json
import logging
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hypercorn.asyncio import serve as serve_asgi
from hypercorn.config import Config

from local.aws import repairs, seams
from local.aws.cloud import Cloud
from local.aws.delivery import Delivery
from local.aws.functions import Functions
from local.aws.iam import Iam
from local.aws.machine import Machine
from local.aws.runner import Images
from local.aws.training import Training

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_OWN = "/_local/"


class Server:
    """The whole embedded AWS as one ASGI application."""

    def __init__(self, cloud: Cloud) -> None:
        """Check every seam and install every part. Raises SeamMoved."""
        seams.check()
        logging.getLogger("moto").setLevel(logging.CRITICAL)  # every failed execution is an error to it
        self._ministack = seams.use("ministack.app:app")
        self.iam = Iam(cloud)
        self.images = Images(cloud.data / "images")
        self.functions = Functions(cloud)
        self.training = Training(cloud, self.iam, self.images)
        for part in (self.iam, self.functions, self.training, Delivery(cloud, self.iam), Machine(cloud, self.iam)):
            part.install()
        repairs.install()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request: refuse a web page's, answer our own, and leave the rest to ministack."""
        if scope["type"] in ("http", "websocket") and not _from_this_machine(scope):
            # Otherwise any page open in a browser could create and run a function here.
            await _answer(send, 403, {"message": "only for programs of this machine"})
        elif scope["type"] == "http" and scope["path"].startswith(_OWN):
            await self._own(scope, receive, send)
        else:
            await self._ministack(scope, receive, send)

    async def _own(self, scope: Message, receive: Receive, send: Send) -> None:
        what = scope["path"].removeprefix(_OWN)
        answers: dict[str, Any] = {
            "health": {"ok": True},
            "denials": self.iam.denials,
            "environments": self.functions.counts,
            "faults": self.training.faults,
        }
        if scope["method"] == "PUT" and what.startswith("images/"):
            self.images.put(what.removeprefix("images/"), json.loads(await _body(receive)))
            await _answer(send, 200, {})
        elif scope["method"] == "PUT" and what == "faults":
            self.training.faults[:] = json.loads(await _body(receive))
            await _answer(send, 200, self.training.faults)
        elif scope["method"] == "DELETE" and what == "denials":
            self.iam.denials.clear()
            await _answer(send, 200, {})
        else:
            await _answer(send, 200 if what in answers else 404, answers.get(what, {}))


def _from_this_machine(scope: Message) -> bool:
    headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
    host = headers.get("host", "").rpartition(":")[0]
    return "origin" not in headers and (host in ("127.0.0.1", "localhost") or host.endswith(".localhost"))


async def _body(receive: Receive) -> bytes:
    content, more = b"", True
    while more:
        message = await receive()
        content += message.get("body", b"")
        more = message.get("more_body", False)
    return content


async def _answer(send: Send, status: int, answer: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


async def serve(*, port: int, data: Path, lambda_python: Path, speed: float, iam: bool) -> None:
    """Serve until SIGINT or SIGTERM, then end every process started here."""
    server = Server(Cloud(port=port, data=data, lambda_python=lambda_python, speed=speed, iam=iam))
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_timeout = 75
    config.loglevel = "ERROR"
    config.graceful_timeout = 1
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"The embedded AWS is at http://127.0.0.1:{port}", flush=True)
    await serve_asgi(server, config, shutdown_trigger=stop.wait)
    server.training.close()
    server.functions.close()
