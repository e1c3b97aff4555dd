"""The server: GraphQL, the file stream, and the storage behind signed addresses; the web page is in `page.py`."""

import base64
import dataclasses
import gzip
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    build_schema,
    execute_sync,
    parse,
    validate,
)
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from local.loopback import OwnMachineOnly
from local.serving import served
from local.wandb.answers import Refused
from local.wandb.api import Mutation, Query
from local.wandb.page import Page
from local.wandb.queues import RunQueue
from local.wandb.runs import Address
from local.wandb.state import LAUNCH_PROJECT, Behaviour, State

_HERE = Path(__file__).parent
_ROOTS = ("Query", "Mutation")
_LIFE_OF_AN_ADDRESS = 3600
_SNAKE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake_case(name: str) -> str:
    """Convert a field name of the schema to an attribute name: `runQueueItemId` to `run_queue_item_id`."""
    return _SNAKE.sub("_", name).lower()


def resolve(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
    """Resolve any field to the key, attribute or method of the same name; null if there is no such name."""
    if info.parent_type.name in _ROOTS:
        source = source[info.parent_type.name]
    if isinstance(source, Mapping):
        value = source.get(info.field_name)
    else:
        value = getattr(source, snake_case(info.field_name), None)
    if callable(value):
        value = value(**{snake_case(name): argument for name, argument in arguments.items()})
    return info.context(value) if isinstance(value, Address) else value


def type_of(value: Any, *_: Any) -> str:
    """Return the name of the concrete type behind an interface or a union."""
    return getattr(value, "typename", type(value).__name__)


@cache
def schema() -> GraphQLSchema:
    return build_schema((_HERE / "schema.graphql").read_text())


@lru_cache(maxsize=500)
def checked(query: str) -> DocumentNode | tuple[GraphQLError, ...]:
    """Parse a document and validate it against the schema; return it, or its errors."""
    try:
        document = parse(query)
    except GraphQLError as error:
        return (error,)
    return tuple(validate(schema(), document)) or document


class WandbServer:
    """One server, with one user, one team and one API key."""

    def __init__(
        self, *, entity: str, api_key: str, username: str = "local-user", behaviour: Behaviour | None = None
    ) -> None:
        """Create a server without queues."""
        self.state = State(entity, username, behaviour or Behaviour())
        self.api_key = api_key
        self.answers_to_lose: list[str] = []
        """Words such as `ackRunQueueItem`: the next operation with one is executed, but its answer is lost."""
        self._secret = secrets.token_bytes(32)
        self._mutation = Mutation(self.state)
        self._roots = {"Query": Query(self.state), "Mutation": self._mutation}
        self.page = Page(self.state, self._mutation, api_key=api_key, is_authorized=self._authorized)
        routed: ASGIApp = Starlette(
            routes=[
                Route("/graphql", self._graphql, methods=["POST"]),
                Route("/files/{entity}/{project}/{run}/file_stream", self._file_stream, methods=["POST"]),
                Route("/artifacts/{entity}/{md5}", self._artifact_file),
                Route("/artifactsV2/{region}/{entity}/{rest:path}/{md5}/{name}", self._artifact_file),
                Route("/storage/{path:path}", self._storage, methods=["GET", "PUT"]),
                Route("/_local/health", lambda _: JSONResponse({"ok": True})),
                Route("/_local/state", self._state),
                *self.page.routes(),
            ]
        )
        self.app: ASGIApp = OwnMachineOnly(routed, pages=True)

    # --- for tests and commands
    def execute(self, query: str, variables: Mapping[str, Any], *, base_url: str = "") -> tuple[dict[str, Any], int]:
        """Execute a GraphQL document; return the answer and its HTTP status."""
        with self.state.lock:
            document = checked(query)
            if isinstance(document, DocumentNode):
                result = execute_sync(
                    schema(),
                    document,
                    root_value=self._roots,
                    context_value=lambda address: self.signed(address, base_url),
                    variable_values=dict(variables),
                    field_resolver=resolve,
                    type_resolver=type_of,
                )
            else:
                result = ExecutionResult(None, list(document))
        answer: dict[str, Any] = {"data": result.data}
        status = 200
        if result.errors:
            answer["errors"] = [error.formatted for error in result.errors]
            status = 200 if result.data and any(result.data.values()) else _status(result.errors)
        return answer, status

    def create_queue(
        self, name: str, *, resource: str = "sagemaker", config: Mapping[str, Any], prioritization: str = "DISABLED"
    ) -> RunQueue:
        """Create a queue, or replace its configuration if it exists: `config` is its SageMaker block."""
        self._mutation.upsert_run_queue(
            {
                "entityName": self.state.team.name,
                "projectName": LAUNCH_PROJECT,
                "queueName": name,
                "resourceType": resource,
                "resourceConfig": json.dumps({"resource_args": {resource: dict(config)}}),
                "prioritizationMode": prioritization,
            }
        )
        return self.state.project(self.state.team.name, LAUNCH_PROJECT).queues[name]

    def push(self, queue: str, run_spec: Mapping[str, Any], *, priority: int | None = None) -> str:
        """Push an item to a queue; return its id."""
        with self.state.lock:
            found = self.state.project(self.state.team.name, LAUNCH_PROJECT).queues[queue]
            return found.push(dict(run_spec), priority, {}).id

    def running(self, port: int = 0) -> AbstractContextManager[str]:
        """Serve on loopback until the block ends; it gets the base URL. Raises SystemExit if the port is in use."""
        return served(self.app, port)

    # --- HTTP
    async def _graphql(self, request: Request) -> Response:
        if not self._authorized(request):
            return JSONResponse({"errors": [{"message": "user is not logged in"}]}, 401)
        body = json.loads(await _content(request))
        base_url = str(request.base_url).rstrip("/")
        answer, status = await run_in_threadpool(
            self.execute, body["query"], body.get("variables") or {}, base_url=base_url
        )
        for lost in [word for word in self.answers_to_lose if word in body["query"]]:
            self.answers_to_lose.remove(lost)
            return JSONResponse({"errors": [{"message": "bad gateway"}]}, 502)
        return JSONResponse(answer, status)

    async def _file_stream(self, request: Request) -> Response:
        if not self._authorized(request):
            return JSONResponse({"error": "user is not logged in"}, 401)
        where = request.path_params
        body = json.loads(await _content(request))
        with self.state.lock:
            project = self.state.find_project(where["entity"], where["project"])
            run = project.run(where["run"]) if project else None
            return JSONResponse(run.stream(body)) if run else JSONResponse({"error": "run not found"}, 404)

    async def _artifact_file(self, request: Request) -> Response:
        """Return one file of an artifact, by its MD5."""
        if not self._authorized(request):
            return JSONResponse({"error": "user is not logged in"}, 401)
        where = request.path_params
        content = self.state.storage.get(f"artifact/{where['entity']}/{where['md5']}")
        return Response("not found", 404) if content is None else Response(content)

    async def _storage(self, request: Request) -> Response:
        path = request.path_params["path"]
        expires = request.query_params.get("expires", "0")
        right = self._signature(request.method, path, expires)
        if int(expires) < time.time() or not hmac.compare_digest(request.query_params.get("sig", ""), right):
            return Response("signature does not match", 403)
        if request.method == "PUT":
            self.state.storage[path] = await request.body()
            return Response()
        content = self.state.storage.get(path)
        return Response(content, media_type="application/octet-stream") if content is not None else Response("", 404)

    async def _state(self, request: Request) -> Response:
        if not self._authorized(request):
            return JSONResponse({"error": "user is not logged in"}, 401)
        with self.state.lock:
            return JSONResponse(snapshot(self.state))

    def _authorized(self, request: Request) -> bool:
        expected = base64.b64encode(f"api:{self.api_key}".encode()).decode()
        return hmac.compare_digest(request.headers.get("authorization", ""), f"Basic {expected}")

    def signed(self, address: Address, base_url: str) -> str:
        """Return a signed URL for an address and its method, valid for an hour."""
        expires = str(int(time.time()) + _LIFE_OF_AN_ADDRESS)
        signature = self._signature(address.method, address.path, expires)
        query = urlencode({"method": address.method, "expires": expires, "sig": signature})
        return f"{base_url}/storage/{quote(address.path)}?{query}"

    def _signature(self, method: str, path: str, expires: str) -> str:
        return hmac.new(self._secret, f"{method} {path} {expires}".encode(), hashlib.sha256).hexdigest()


async def _content(request: Request) -> bytes:
    body = await request.body()
    return gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body


def _status(errors: list[GraphQLError]) -> int:
    """Return the first refusal's status; 400 for a document that does not match the schema."""
    originals = (error.original_error for error in errors)
    return next((error.status for error in originals if isinstance(error, Refused)), 400)


def snapshot(state: State) -> dict[str, Any]:
    """Return the server's whole state as JSON, for tests that search it for secrets."""
    queues = state.project(state.team.name, LAUNCH_PROJECT).queues.values()
    return {
        "entity": state.team.name,
        "queues": [
            {**_plain(queue), "items": [{**_plain(i), "state": i.state} for i in queue.items.values()]}
            for queue in queues
        ],
        "resource_configs": [_plain(config) for config in state.resource_configs.values()],
        "agents": [_plain(agent) for agent in state.agents.values()],
        "runs": [
            {
                **_plain(run),
                "state": run.state,
                "entity": entity,
                "project": project,
                "storage_id": run.id,
                "files": [
                    {"name": file.name, "size": file.size_bytes, "text": _text(state.storage[file.path])}
                    for file in run.files_by_name.values()
                    if file.uploaded
                ],
            }
            for (entity, project, _), run in state.runs.items()
        ],
        "artifacts": [
            {**_plain(artifact), "collection": artifact.collection.name, "contents": artifact.contents}
            for artifact in state.artifacts.values()
        ],
    }


def _plain(value: Any) -> dict[str, Any]:
    """Return a dataclass's fields that have plain values."""
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.repr}
    return {name: each for name, each in fields.items() if name not in ("items", "files_by_name", "stored_state")}


def _text(content: bytes) -> str | None:
    try:
        return content[:100_000].decode()
    except UnicodeDecodeError:
        return None
