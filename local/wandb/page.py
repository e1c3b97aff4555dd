"""The web page: its files, the data it asks for, and what a person can do on it."""

import json
import mimetypes
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from graphql import GraphQLError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.wandb import views
from local.wandb.answers import Refused
from local.wandb.api import Mutation
from local.wandb.form import InvalidForm, queue_run
from local.wandb.state import State
from local.wandb.sweeps import change_sweep

_FILES = {path.name: path.read_bytes() for path in (Path(__file__).parent / "static").iterdir()}
_HEADERS = {
    # The page runs its own scripts only, and nothing that a run says can become one.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_PAGES = (
    "/",
    "/{entity}/{project}",
    "/{entity}/{project}/workspace",
    "/{entity}/{project}/runs/{run}",
    "/aws/executions/{name}",
    "/aws/training-jobs/{name}",
)


class Aws(Protocol):
    """What the page shows of the AWS that launches the runs; texts and lists, without secrets."""

    def of_item(self, item_id: str) -> dict[str, Any] | None:
        """Return an item's execution and training jobs, by name; None if it was not launched."""

    def execution(self, name: str) -> dict[str, Any] | None:
        """Return an execution; None if it does not exist."""

    def training_job(self, name: str) -> dict[str, Any] | None:
        """Return a training job with its log; None if it does not exist."""

    def stop(self, item_id: str) -> bool:
        """Stop an item's execution; return whether there is one."""


class Page:
    """The page of one server."""

    def __init__(
        self, state: State, mutation: Mutation, *, api_key: str, is_authorized: Callable[[Request], bool]
    ) -> None:
        """Show this state; `is_authorized` says whether a request has the key."""
        self.aws: Aws | None = None
        self._state, self._is_authorized = state, is_authorized
        self._api_key = api_key
        self._actions: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "enqueue": self._enqueue,
            "stop-run": mutation.stop_run,
            "remove-run": mutation.delete_run,
            "remove-item": mutation.delete_from_run_queue,
            "update-agent": mutation.update_launch_agent,
            "change-sweep": partial(change_sweep, state),
        }

    def routes(self) -> list[Route]:
        """Return the routes. All but the page's own files need the key."""
        return [
            Route("/_local/view/{path:path}", self._view),
            Route("/_local/file/{entity}/{project}/{run}/{path:path}", self._file),
            Route("/_local/{action}", self._act, methods=["POST"]),
            Route("/_page/{name}", self._own_file),
            *(Route(path, self._html) for path in _PAGES),
        ]

    # --- the page's own files
    def _html(self, request: Request) -> Response:
        """Return the page for an address that can be one. Whether the run exists is known only with the key."""
        entity = request.path_params.get("entity")
        if entity is not None and entity not in self._state.entities:
            return self._json({"error": "not found"}, 404)
        return Response(_FILES["index.html"], media_type="text/html", headers=_HEADERS)

    def _own_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _FILES:
            return self._json({"error": "not found"}, 404)
        return Response(_FILES[name], media_type=mimetypes.guess_type(name)[0], headers=_HEADERS)

    # --- data
    def _view(self, request: Request) -> Response:
        if not self._is_authorized(request):
            return self._json({"error": "user is not logged in"}, 401)
        found = self._found(*filter(None, request.path_params["path"].split("/")))
        return self._json({"error": "not found"}, 404) if found is None else self._json(found)

    def _found(self, *path: str) -> dict[str, Any] | None:
        """Return what the page at this path shows; None if there is nothing."""
        match path:
            case ():
                return self._locked(views.overview)
            case "aws", kind, name:
                return self._of_aws(kind, name)
            case "items", item_id:
                return self._locked(views.item_spec, item_id)
            case (entity, project) | (entity, project, "workspace"):
                return self._locked(views.project, entity, project)
            case entity, project, "runs", name:
                return self._run(entity, project, name)
        return None

    def _run(self, *where: str) -> dict[str, Any] | None:
        found = self._locked(views.run, *where)
        if found and found["item"] and self.aws:
            # Not under the lock: functions on that AWS may be waiting for this server.
            found["aws"] = self.aws.of_item(found["item"]["id"])
        return found

    def _of_aws(self, kind: str, name: str) -> dict[str, Any] | None:
        views_of = {"executions": self.aws.execution, "training-jobs": self.aws.training_job} if self.aws else {}
        found = views_of[kind](name) if kind in views_of else None
        return {**found, "run": self._locked(views.run_of_item, found["item"])} if found else None

    def _locked(self, view: Callable[..., dict[str, Any] | None], *arguments: str) -> dict[str, Any] | None:
        with self._state.lock:
            return view(self._state, *arguments)

    def _file(self, request: Request) -> Response:
        if not self._is_authorized(request):
            return self._json({"error": "user is not logged in"}, 401)
        where = request.path_params
        with self._state.lock:
            run = views.find_run(self._state, where["entity"], where["project"], where["run"])
            file = run.files_by_name.get(where["path"]) if run else None
            content = self._state.storage.get(file.path) if file else None
        if content is None:
            return self._json({"error": "not found"}, 404)
        return Response(content, media_type="application/octet-stream", headers=_HEADERS)

    # --- what a person can do
    async def _act(self, request: Request) -> Response:
        if not self._is_authorized(request):
            return self._json({"error": "user is not logged in"}, 401)
        name, body = request.path_params["action"], await request.body()
        if name not in self._actions and name != "stop-item":
            return self._json({"error": "no such action"}, 404)
        try:
            return self._json(await run_in_threadpool(self._do, name, json.loads(body)))
        except InvalidForm as error:
            return self._json({"faults": error.faults}, 400)
        except (GraphQLError, ValueError, KeyError, TypeError, RecursionError) as error:
            return self._json({"error": str(error)}, 400)

    def _do(self, name: str, given: Any) -> dict[str, Any]:
        """Do what a button says. Raises InvalidForm, Refused, and the errors of an object of another form."""
        if not isinstance(given, dict):
            raise TypeError("expected a JSON object")
        if name == "stop-item":
            return self._stop_item(given["runQueueItemId"])
        with self._state.lock:
            return self._actions[name](given)

    def _stop_item(self, item_id: str) -> dict[str, Any]:
        """Stop the execution of an item whose run does not exist yet; W&B itself can stop only runs."""
        if item_id not in self._state.items:
            raise Refused(f"run queue item {item_id} not found", 404)
        return {"success": bool(self.aws and self.aws.stop(item_id))}

    def _enqueue(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"runQueueItemId": queue_run(self._state, given).id}

    def _json(self, value: Any, status: int = 200) -> Response:
        """Return an answer in ASCII, as not every text of a run can be encoded, and without the key."""
        text = json.dumps(value).replace(self._api_key, "(the API key)")
        return Response(text, status, headers=_HEADERS, media_type="application/json")
