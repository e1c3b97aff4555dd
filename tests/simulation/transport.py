"""The points where requests leave the real clients, botocore and urllib3. From here, the simulation answers."""

import asyncio
import atexit
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import botocore
import botocore.endpoint
import botocore.handlers
import pytest
import urllib3
from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError
from botocore.retries import quota
from botocore.session import Session

import service_models
from launch_agent.clients import aws as aws_clients
from launch_agent.clients import table
from tests.simulation.dynamodb import Refused, conflict
from tests.simulation.faults import Fault
from tests.simulation.functions import NoAnswer, outside, pause

THROTTLED = {"dynamodb": "ProvisionedThroughputExceededException", "secrets-manager": "ThrottlingException"}
BROKEN = {
    "dynamodb": "InternalServerError",
    "sfn": "ServiceUnavailable",
    "secrets-manager": "InternalServiceError",
    "sagemaker": "InternalFailure",
}
"""The services' error codes for being overloaded, or broken."""


class Aws(Protocol):
    """The simulated AWS."""

    objects: dict[str, bytes]
    """The objects in S3, by path."""

    def answer(self, service: str, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer one request of a JSON service. Raises Refused."""


class WandbApi(Protocol):
    """The simulated W&B."""

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Answer one request with a status and a body."""


_HANDLERS = botocore.handlers.BUILTIN_HANDLERS
_answering = SimpleNamespace(aws=None, wandb=None, check=None)


@contextmanager
def answered(aws: Aws, wandb: WandbApi) -> Iterator[None]:
    """Let the simulation answer all requests of this process's clients until the block ends."""
    _answering.aws, _answering.wandb = aws, wandb
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.handlers, "BUILTIN_HANDLERS", [("before-send", _sent), *_HANDLERS])
        for module in (botocore.endpoint, table):
            patch.setattr(module, "time", SimpleNamespace(sleep=pause))
        # The retries of one schedule must not count against the next.
        patch.setattr(quota.RetryQuota, "acquire", lambda *_: True)
        patch.setattr(aws_clients, "session", lambda: SimpleNamespace(create_client=_client))
        patch.setitem(urllib3.poolmanager.pool_classes_by_scheme, "http", _Pool)
        yield


@contextmanager
def checked(check: Callable[[str, str, Any], bool]) -> Iterator[None]:
    """Refuse the calls to AWS for which `check` (service, operation, request) is false, until the block ends."""
    _answering.check = check
    try:
        yield
    finally:
        _answering.check = None


@cache
def _client(service: str, *, config: Config, region_name: str = "us-east-1") -> Any:
    """Return a cached client, so that thousands of schedules do not create thousands of clients.

    It knows only the operations that are in the layer.
    """
    # Signatures and user agents are slow and not used here; with checksums, a body would come in chunks.
    plain = Config(signature_version=UNSIGNED, user_agent="simulated", request_checksum_calculation="when_required")
    return _session().create_client(
        service,
        config=config.merge(plain),
        region_name=region_name,
        aws_access_key_id="simulated",
        aws_secret_access_key="simulated",
    )


@cache
def _session() -> Session:
    """Return a session with the service models of the layer, and the simulation's handlers."""
    folder = Path(tempfile.mkdtemp(prefix="service-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    service_models.write(Path(botocore.__path__[0]), folder)
    return aws_clients.new_session(folder)


def _sent(request: Any, event_name: str, **_: Any) -> AWSResponse:
    """Answer a request from botocore instead of the network."""
    service, operation = event_name.split(".")[1:]
    try:
        status, body = outside(
            service,
            operation,
            lambda: _aws(service, operation, request),
            lambda fault: _aws_fault(service, operation, fault),
        )
    except NoAnswer:
        raise ConnectionClosedError(endpoint_url=request.url) from None
    headers: dict[str, str] = {}
    if operation == "HeadBucket":  # a HEAD has no body: what it is answered with is a header
        headers, body = {} if body.startswith(b"<") else {"x-amz-bucket-region": body.decode()}, b""
    return AWSResponse(request.url, status, headers, _Raw(body))  # type: ignore[arg-type]  # headers are a mapping


def _aws(service: str, operation: str, request: Any) -> tuple[int, bytes]:
    if _answering.check and not _answering.check(service, operation, request):
        return _aws_fault(service, operation, Fault.REFUSED)
    if service == "s3" and operation != "HeadBucket":
        asked = urlsplit(request.url)
        return _s3(operation, unquote(asked.path), parse_qs(asked.query), request.body)
    try:
        if service == "s3":
            bucket = (urlsplit(request.url).hostname or "").partition(".")[0]
            return 200, _answering.aws.answer(service, operation, {"Bucket": bucket})["BucketRegion"].encode()
        answer = _answering.aws.answer(service, operation, json.loads(request.body))
    except Refused as refused:
        if service == "s3":
            return {"NotFound": 404, "Forbidden": 403}[refused.code], refused.more.get("region", "<>").encode()
        return 400, _error(refused.code, str(refused), **refused.more)
    return 200, json.dumps(answer).encode()


def _aws_fault(service: str, operation: str, fault: Fault) -> tuple[int, bytes]:
    if service == "s3":
        status, code = {Fault.BROKEN: (503, "InternalError"), Fault.REFUSED: (403, "AccessDenied")}.get(
            fault, (503, "SlowDown")
        )
        return status, f"<Error><Code>{code}</Code><Message>simulated</Message></Error>".encode()
    if fault is Fault.BROKEN:
        return 503, _error(BROKEN.get(service, "InternalFailure"))
    if fault is Fault.REFUSED:
        return 400, _error("AccessDeniedException", _NOT_AUTHORIZED.format(action=f"{service}:{operation}"))
    if fault is Fault.CONFLICT:
        met = conflict(operation)
        return 400, _error(met.code, str(met), **met.more)
    return 400, _error(THROTTLED.get(service, "ThrottlingException"))


_NOT_AUTHORIZED = (
    "User: arn:aws:sts::123456789012:assumed-role/launch-Role/function is not authorized to perform: {action} "
    "because no identity-based policy allows the {action} action"
)


def _s3(operation: str, key: str, query: Mapping[str, list[str]], body: Any) -> tuple[int, bytes]:
    objects = _answering.aws.objects
    if operation == "PutObject":
        objects[key] = body if isinstance(body, bytes) else body.read()
        return 200, b""
    if operation == "DeleteObject":
        objects.pop(key, None)
        return 204, b""
    if operation == "ListObjectsV2":
        found = [name[1:] for name in objects if name[1:].startswith(query["prefix"][0])]
        listed = "".join(f"<Contents><Key>{name}</Key></Contents>" for name in found)
        return 200, f"<ListBucketResult>{listed}</ListBucketResult>".encode()
    content = objects.get(key)
    if content is None:
        return 404, b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
    return 200, content


def _error(code: str, message: str = "simulated", **more: Any) -> bytes:
    return json.dumps({"__type": code, "message": message, **more}).encode()


class _Raw(io.BytesIO):
    """A body in the form that botocore reads."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


class _Pool(urllib3.HTTPConnectionPool):
    """A pool of connections to nowhere."""

    def _make_request(self, conn: Any, method: str, url: str, **how: Any) -> Any:  # type: ignore[override]
        """Answer a request from urllib3 instead of the network."""
        path, headers, body = urlsplit(url).path, how["headers"] or {}, how["body"] or b""
        operation = operation_of(path, body)
        try:
            status, content = outside(
                "wandb", operation, lambda: _answering.wandb.answer(method, url, headers, body), _wandb_fault
            )
        except NoAnswer:
            raise urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError()) from None
        return urllib3.HTTPResponse(
            io.BytesIO(content), status=status, preload_content=how["preload_content"], request_method=method
        )


def operation_of(path: str, body: bytes) -> str:
    """Return the name of a request to W&B: the GraphQL operation, or the kind of upload or download."""
    if path != "/graphql":
        return path.split("/")[1]
    words = json.loads(body)["query"].replace("(", " ").replace("{", " ").split()
    return str(words[1] if words[0] in ("query", "mutation") else words[0])


def _wandb_fault(fault: Fault) -> tuple[int, bytes]:
    answers: dict[Fault, tuple[int, bytes]] = {
        Fault.THROTTLED: (429, b"slow down"),
        Fault.BROKEN: (502, b"bad gateway"),
        Fault.MALFORMED: (200, b"<html>maintenance</html>"),
        Fault.KEY_REJECTED: (401, b'{"errors": [{"message": "user is not logged in"}]}'),
        Fault.REFUSED: (403, b'{"errors": [{"message": "permission denied"}], "data": null}'),
    }
    return answers[fault]


def asgi(app: Any, method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
    """Send a request to an ASGI application, without a server."""
    split, status, content = urlsplit(url), [0], bytearray()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            status[0] = message["status"]
        else:
            content.extend(message.get("body", b""))

    scope = {
        "type": "http",
        "method": method,
        "path": unquote(split.path),
        "raw_path": split.path.encode(),
        "query_string": split.query.encode(),
        "headers": [
            (b"host", b"127.0.0.1:1"),
            *((name.lower().encode(), value.encode()) for name, value in headers.items() if name.lower() != "host"),
        ],
        "scheme": "http",
        "server": ("127.0.0.1", 1),
    }
    serve: Callable[..., Any] = app
    asyncio.run(serve(scope, receive, send))
    return status[0], bytes(content)
