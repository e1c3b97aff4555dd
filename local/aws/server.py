"""Puts the parts together and serves them: ministack's application behind a guard, beside endpoints of our own."""

import asyncio
import json
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from hypercorn.asyncio import serve as serve_asgi
from hypercorn.config import Config

from local.aws import repairs, seams
from local.aws.call_faults import CallFaults
from local.aws.cloud import Cloud
from local.aws.codebuild import CodeBuild
from local.aws.containers import Containers, find_tool
from local.aws.delivery import Delivery
from local.aws.functions import Functions
from local.aws.iam import Iam, caller
from local.aws.machine import Machine
from local.aws.registry import Registry
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
        self.containers = Containers(cloud, find_tool(cloud.container_tool))
        self.images = Images(cloud.data / "images", self.containers)
        self.functions = Functions(cloud)
        self.call_faults = CallFaults(self.functions)
        self.training = Training(cloud, self.iam, self.images)
        self.registry = Registry(self.iam)
        self.builds = CodeBuild(cloud, self.containers)
        machine, delivery = Machine(cloud, self.iam, self.builds), Delivery(cloud, self.iam)
        for part in (self.iam, self.registry, self.functions, self.training, self.builds, delivery, machine):
            part.install()
        repairs.install()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request: refuse a web page's, answer our own, and leave the rest to ministack."""
        if scope["type"] in ("http", "websocket") and not _from_this_machine(scope):
            # Otherwise any page open in a browser could create and run a function here.
            await _answer(send, 403, {"message": "only for programs of this machine"})
        elif scope["type"] == "http" and scope["path"].startswith(_OWN):
            await self._own(scope, receive, send)
        elif scope["type"] == "http":
            headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
            refusal = scope["path"].startswith("/v2/") and self.registry.refusal(
                scope["method"], scope["path"], headers
            )
            if refusal:
                await _refuse(send, *refusal)
                return
            caller.set(headers)
            fault = self.call_faults.due(headers)
            if fault:
                await self.call_faults.fail(fault, headers, self._ministack, scope, receive)
                await _answer(send, 503, {"__type": "ServiceUnavailable", "message": "nobody hears this"})
                return
            await self._ministack(scope, receive, send)
        else:
            await self._ministack(scope, receive, send)

    async def _own(self, scope: Message, receive: Receive, send: Send) -> None:
        what = scope["path"].removeprefix(_OWN)
        answers: dict[str, Any] = {
            "health": {"ok": True},
            "containers": {"tool": self.containers.tool},
            "denials": self.iam.denials,
            "environments": self.functions.counts,
            "faults": self.training.faults,
            "pull-limits": self.registry.limits,
            "call-faults": self.call_faults.planned,
        }
        if scope["method"] == "PUT" and what.startswith("images/"):
            self.images.put(what.removeprefix("images/"), json.loads(await _body(receive)))
            await _answer(send, 200, {})
        elif scope["method"] == "PUT" and what in ("faults", "call-faults"):
            answers[what][:] = json.loads(await _body(receive))
            await _answer(send, 200, answers[what])
        elif scope["method"] == "PUT" and what == "pull-limits":
            self.registry.limits.update(json.loads(await _body(receive)))
            await _answer(send, 200, self.registry.limits)
        elif scope["method"] == "PUT" and what == "builds":
            self.builds.hold(json.loads(await _body(receive))["held"])
            await _answer(send, 200, {})
        elif scope["method"] == "POST" and what.startswith("pulls/"):
            taken = self.registry.takes_pull(what.removeprefix("pulls/"))
            await _answer(send, 200 if taken else 429, {})
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


async def _refuse(send: Send, status: int, message: str) -> None:
    """Refuse a request as a registry does."""
    code = {400: "TAG_INVALID", 401: "UNAUTHORIZED", 403: "DENIED"}[status]
    headers = [(b"content-type", b"application/json"), (b"docker-distribution-api-version", b"registry/2.0")]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="ecr"'))
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def serve(cloud: Cloud) -> None:
    """Serve until SIGINT or SIGTERM, then end every process started here."""
    server = Server(cloud)
    config = Config()
    config.bind = [f"127.0.0.1:{cloud.port}"]
    config.keep_alive_timeout = 75
    config.loglevel = "ERROR"
    config.graceful_timeout = 1
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"The embedded AWS is at {cloud.url}", flush=True)
    await serve_asgi(server, config, shutdown_trigger=stop.wait)
    server.builds.close()
    server.training.close()
    server.functions.close()
    server.containers.close()
