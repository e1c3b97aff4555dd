"""Assembles the parts and serves them: ministack's application and this project's own endpoints.

Callers sign with a key from this AWS: the owner's, created at boot, or that of a role's session.
"""

import asyncio
import hmac
import json
import logging
import os
import signal
import socket
import sys
import threading
from typing import Any
from urllib.parse import parse_qs

from hypercorn.asyncio import serve as serve_asgi
from hypercorn.config import Config

from local.aws import repairs, seams
from local.aws.behaviour import Behaviour
from local.aws.call_faults import CallFaults
from local.aws.cloud import Cloud
from local.aws.codebuild import CodeBuild
from local.aws.containers import Containers
from local.aws.delivery import Delivery
from local.aws.functions import Functions
from local.aws.guardrails import Guardrails
from local.aws.iam import Iam, caller
from local.aws.machine import Machine
from local.aws.pricing import Pricing
from local.aws.quotas import ServiceQuotas
from local.aws.registry import Registry
from local.aws.runner import Images
from local.aws.training import Training
from local.loopback import Message, OwnMachineOnly, Receive, Send, body_of, headers_of

_OWN = "/_local/"
_END_SECONDS = 15


class Server:
    """The whole embedded AWS as one ASGI application."""

    def __init__(self, cloud: Cloud) -> None:
        """Check every seam and install every part. Raises SeamMoved."""
        seams.check()
        logging.getLogger("moto").setLevel(logging.CRITICAL)  # it logs every failed execution as an error
        self._ministack = seams.use("ministack.app:app")
        self._cloud = cloud
        self.iam = Iam()
        self.containers = Containers(cloud)
        self.images = Images(cloud.data / "images", self.containers, cloud.url)
        self.functions = Functions(cloud, self.iam)
        self.call_faults = CallFaults(self.functions)
        self.behaviour = Behaviour()
        self.training = Training(cloud, self.iam, self.images, self.behaviour)
        self.registry = Registry(self.iam)
        self.quotas = ServiceQuotas()
        self.builds = CodeBuild(cloud, self.containers)
        self.machine, delivery = Machine(cloud, self.iam, self.builds), Delivery(cloud, self.iam)
        own = (self.iam, self.registry, self.images, self.quotas, self.functions, self.training, self.builds)
        for part in (*own, delivery, self.machine, Pricing()):
            part.install()
        self.behaviour.change()
        repairs.install(cloud)
        Guardrails(self.iam).install()
        cloud.register_owner()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer own endpoints, refused requests and planned faults; pass all other requests to ministack."""
        if scope["type"] != "http":
            await self._ministack(scope, receive, send)
            return
        headers = headers_of(scope)
        if scope["path"].startswith(_OWN):
            await self._own(scope, headers, receive, send)
        elif scope["path"].startswith("/v2/"):
            refusal = self.registry.refusal(scope["method"], scope["path"], headers)
            await (_refuse(send, *refusal) if refusal else self._ministack(scope, receive, send))
        elif not self._is_known(scope, headers):
            message = "The security token included in the request is invalid."
            await _answer(send, 403, {"__type": "UnrecognizedClientException", "message": message})
        else:
            await self._call(scope, headers, receive, send)

    def _is_known(self, scope: Message, headers: dict[str, str]) -> bool:
        """Return whether a request's key was issued here; ministack checks the signature.

        As in AWS, two kinds of URL need no key: those for answers of custom resources, and signed ones for layers.
        """
        path, query = scope["path"], parse_qs(scope["query_string"].decode("latin-1"))
        if path.startswith("/_ministack/"):
            return path.startswith("/_ministack/cfn-response/") or repairs.is_signed(self._cloud, path, query)
        return self._cloud.knows(seams.use("ministack.core.router:extract_access_key_id")(headers, query))

    async def _call(self, scope: Message, headers: dict[str, str], receive: Receive, send: Send) -> None:
        caller.set(headers)
        fault = self.call_faults.due(scope["method"], headers)
        if fault:
            await _answer(send, *await self.call_faults.fail(fault, headers, self._ministack, scope, receive))
        else:
            await self._ministack(scope, receive, send)

    async def _own(self, scope: Message, headers: dict[str, str], receive: Receive, send: Send) -> None:
        """Answer the endpoints for tests and the demo: reports of this AWS, and settings for its behaviour."""
        what = scope["path"].removeprefix(_OWN)
        if what.startswith("pulls/"):  # a build asks for an anonymous pull from a public registry
            taken = self.registry.takes_pull(what.removeprefix("pulls/"))
            await _answer(send, 200 if taken else 429, {})
        elif what.startswith("image-configs/"):  # like a signed address in S3, it needs no other key
            config = self.images.config(what.removeprefix("image-configs/"))
            await _answer(send, 200 if config else 404, config)
        elif not hmac.compare_digest(headers.get("authorization", ""), f"Bearer {self._cloud.owner.secret_key}"):
            await _answer(send, 403, {"message": "only for the owner"})
        elif scope["method"] == "PUT":
            self._set(what, json.loads(await body_of(receive)))
            await _answer(send, 200, {})
        elif scope["method"] == "DELETE" and what == "denials":
            self.iam.denials.clear()
            await _answer(send, 200, {})
        else:
            told = self._told()
            await _answer(send, 200 if what in told else 404, told.get(what, {}))

    def _told(self) -> dict[str, Any]:
        return {
            "health": {"ok": True},
            "call-faults": self.call_faults.planned,
            "containers": {"tool": self.containers.tool, "reason": self.containers.reason},
            "denials": self.iam.denials,
            "environments": self.functions.counts,
            "traces": self.machine.traced,
        }

    def _set(self, what: str, value: Any) -> None:
        if what.startswith("images/"):
            self.images.put(what.removeprefix("images/"), value)
        elif what == "behaviour":
            self.behaviour.change(**value)
        elif what == "builds":
            self.builds.hold(value["held"])
        elif what == "pull-limits":
            self.registry.limits.update(value)
        elif what == "quotas":
            self.quotas.set(value)
        else:
            {"faults": self.training.faults, "call-faults": self.call_faults.planned}[what][:] = value

    def close(self) -> None:
        """Stop all processes started here."""
        for part in (self.functions, self.builds, self.training, self.containers):
            part.close()


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


async def serve(cloud: Cloud, listener: socket.socket) -> None:
    """Serve until SIGINT, SIGTERM or the end of standard input; then stop all processes started here, and this one."""
    server = Server(cloud)
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.keep_alive_timeout = 75
    config.loglevel = "ERROR"
    config.graceful_timeout = 1
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(sys.stdin, stop.set)
    await serve_asgi(OwnMachineOnly(server, pages=False), config, shutdown_trigger=stop.wait)
    end = threading.Thread(target=server.close, daemon=True)
    end.start()
    end.join(_END_SECONDS)
    # Threads may still wait for something that never happens, such as a custom resource's answer.
    os._exit(0)
