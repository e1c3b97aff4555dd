"""Replays the recorded requests of real clients, in their order against one server, and compares the answers.

`exchanges/<scenario>.json` lists requests with their answers; `queries.json` has the documents. Values that differ
each time (ids, names from the server, signed addresses) are mapped from the recorded value to ours when they first
appear in an answer. Times are compared by form. The actions of people and other programs are repeated here too.
"""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import urllib3

from local.wandb import WandbServer
from local.wandb.queues import ItemState

HERE = Path(__file__).parent / "exchanges"
ORDER = (
    "queue-create",
    "queue-push-image",
    "job-create-image",
    "queue-push-job",
    "job-create-code",
    "job-create-code-base-image",
    "job-create-git",
    "job-list",
    "agent-unknown-queue",
    "agent-register-poll-stop",
    "agent-two-image-jobs",
    "agent-source-jobs",
    "agent-fail-stage-agent",
    "agent-fail-stage-run",
    "sweep-scheduler-and-runs",
    "queue-item-read",
    "artifact-reference",
    "run-creates-git-job",
    "run-creates-code-job",
    "run-plain",
    "run-stop-request",
    "agent-stop-run",
    "agent-fail-before-ack",
)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
SHOWN_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")
GIVEN_NAME = re.compile(r"[a-z0-9]{8}")
STORAGE = "/storage/"
NAMED_BY_THE_SERVER = ("launchAgent.name", "sweep.name", "run_id")
"""The fields with names from the server; all other names come from clients."""


class Mismatch(NamedTuple):
    """One difference between an answer and the recording."""

    scenario: str
    request: str
    path: str
    recorded: Any
    ours: Any


class Replay:
    """One server, our values for the recorded ones, and the mismatches."""

    def __init__(self, server: WandbServer, base_url: str) -> None:
        """Replay against a new server at this address."""
        self.server, self.base_url = server, base_url
        self.queries: list[str] = json.loads((HERE / "queries.json").read_text())
        self.ours: dict[str, str] = {}
        self.mismatches: list[Mismatch] = []
        token = base64.b64encode(f"api:{server.api_key}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}
        self._pool = urllib3.PoolManager()
        for _ in range(1000):  # so that our ids differ from the recorded ones
            server.state.number()

    def scenario(self, name: str) -> int:
        """Replay one scenario; return its number of requests."""
        if name == "agent-unknown-queue":
            self.server.create_queue("idle", config={})
        exchanges = json.loads((HERE / f"{name}.json").read_text())
        for number, exchange in enumerate(exchanges):
            self._do_what_others_did(exchange)
            what = f"{number} {exchange.get('operation') or exchange['path']}"
            status, answer = self._send(exchange)
            if status != exchange["status"]:
                self.mismatches.append(Mismatch(name, what, "status", exchange["status"], f"{status} {answer}"))
            for path, recorded, ours in self._differences(exchange.get("answer"), answer, ""):
                self.mismatches.append(Mismatch(name, what, path, recorded, ours))
            if exchange.get("operation") == "UpsertSweep":
                self._start_the_scheduler_by_hand()
        return len(exchanges)

    def _send(self, exchange: dict[str, Any]) -> tuple[int, Any]:
        if "operation" in exchange:
            body = {"query": self.queries[exchange["query"]], "variables": self._translated(exchange["variables"])}
            answer = self._pool.request("POST", f"{self.base_url}/graphql", json=body, headers=self._headers)
            return answer.status, json.loads(answer.data)
        path = unquote(exchange["path"].partition("?")[0])
        if path.startswith(STORAGE):
            content = (
                json.dumps(exchange["content"]).encode() if "content" in exchange else b" " * exchange.get("size", 0)
            )
            body = {"body": content} if exchange["method"] == "PUT" else {}
            answer = self._pool.request(
                exchange["method"], self.ours.get(f"{exchange['method']} {path}", self.base_url + path), **body
            )
            return answer.status, None
        body = self._translated(_without_marks(exchange["body"]))
        url = self.base_url + self._translated(path)
        answer = self._pool.request("POST", url, json=body, headers=self._headers)
        return answer.status, json.loads(answer.data)

    # --- recorded values and ours
    def _translated(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._translated(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._translated(item) for item in value]
        if not isinstance(value, str):
            return value
        if value in self.ours:
            return self.ours[value]
        for recorded, ours in self.ours.items():
            if recorded in value and not recorded.startswith(("PUT ", "GET ")):
                value = value.replace(recorded, ours)
        return value

    def _differences(self, recorded: Any, ours: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
        if isinstance(recorded, dict) and isinstance(ours, dict):
            for key in sorted({*recorded, *ours}):
                yield from self._differences(recorded.get(key), ours.get(key), f"{path}.{key}")
        elif isinstance(recorded, list) and isinstance(ours, list) and len(recorded) == len(ours):
            for index, (left, right) in enumerate(zip(recorded, ours, strict=True)):
                yield from self._differences(left, right, f"{path}.{index}")
        elif isinstance(recorded, str) and isinstance(ours, str):
            yield from self._text_differences(recorded, ours, path)
        elif recorded != ours:
            yield path, recorded, ours

    def _text_differences(self, recorded: str, ours: str, path: str) -> Iterator[tuple[str, Any, Any]]:
        parsed = _json(recorded), _json(ours)
        if recorded == ours or self._translated(recorded) == ours:
            return
        if None not in parsed:
            yield from self._differences(*parsed, path)
        elif not self._maps(recorded, ours, path):
            yield path, recorded, ours

    def _maps(self, recorded: str, ours: str, path: str) -> bool:
        """Return whether two texts are equal except for the server's own values, and remember the mapping."""
        if TIME.fullmatch(recorded) and TIME.fullmatch(ours):
            return True
        if STORAGE in recorded and STORAGE in ours:
            method = re.search(r"method=(\w+)", recorded)
            here = urlsplit(recorded)
            self.ours[f"{method[1] if method else 'GET'} {unquote(here.path)}"] = ours
            return self._kind(here.path) == self._kind(urlsplit(ours).path)
        same_kind = self._kind(recorded) is not None and self._kind(recorded) == self._kind(ours)
        shown = path.endswith(".displayName") and SHOWN_NAME.fullmatch(recorded) and SHOWN_NAME.fullmatch(ours)
        named = path.endswith(NAMED_BY_THE_SERVER) and GIVEN_NAME.fullmatch(recorded) and GIVEN_NAME.fullmatch(ours)
        if same_kind or shown or named:
            self.ours[recorded] = ours
            return True
        if path.endswith(".commitHash"):
            return len(recorded) == len(ours) and ours.isalnum()
        return path.endswith(".projectId") and recorded.isdigit() and ours.isdigit()

    def _kind(self, value: str) -> str | None:
        """Return the kind of an opaque id, or of an address in the storage."""
        if value.startswith(STORAGE):
            kind, _, rest = unquote(value).removeprefix(STORAGE).partition("/")
            # A manifest is in a folder with its id as name; other paths contain only values that are equal here.
            return f"{kind} {self._translated(rest.rpartition('/')[2] if kind == 'manifest' else rest)}"
        try:
            kind = base64.b64decode(value, validate=True).decode("ascii").split(":")[0]
        except ValueError:
            return None
        return kind if kind.isalpha() else None

    # --- others' actions during the recording
    def _do_what_others_did(self, exchange: dict[str, Any]) -> None:
        """Push items, stop runs, finish runs, stop agents: actions that an answer shows but that were not recorded."""
        data = (exchange.get("answer") or {}).get("data") or {}
        variables = exchange.get("variables", {})
        popped = data.get("popFromRunQueue")
        if popped and self._translated(popped["runQueueItemId"]) not in self.server.state.items:
            self.ours[popped["runQueueItemId"]] = self.server.push(
                variables["queueName"], self._translated(popped["runSpec"])
            )
        agent = data.get("launchAgent")
        if agent and self._translated(agent["id"]) in self.server.state.agents:
            known = self.server.state.agents[self._translated(agent["id"])]
            # The recording contains a status update once; repetitions were left out.
            known.stop_polling, known.agent_status = agent["stopPolling"], agent["agentStatus"]
        run = (data.get("project") or {}).get("run")
        if run and exchange["operation"] == "RunState" and run["state"] not in ("pending", "running"):
            self._run(variables["entity"], variables["project"], variables["name"]).state = run["state"]
        if run and run.get("stopped"):
            self._run(variables["entityName"], variables["projectName"], variables["runId"]).stopped = True
        if (exchange.get("answer") or {}).get("stopped"):
            self._run(*exchange["path"].split("/")[2:5]).stopped = True

    def _run(self, entity: str, project: str, name: str) -> Any:
        found = self.server.state.project(entity, project)
        if self._translated(name) not in found.runs_by_id:
            self.server.execute(
                "mutation M($input: UpsertBucketInput!) { upsertBucket(input: $input) { inserted } }",
                {"input": {"name": name, "entityName": entity, "modelName": project}},
            )
        return found.runs_by_id[self._translated(name)]

    def _start_the_scheduler_by_hand(self) -> None:
        """Take the scheduler's item from the queue: the recorded scheduler ran without an agent."""
        for item in self.server.state.items.values():
            if item.run_spec.get("uri"):
                item.stored_state = ItemState.CLAIMED


def _json(text: str) -> Any:
    """Parse a JSON object or list; None for any other text."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, (dict, list)) else None


def _without_marks(body: dict[str, Any]) -> dict[str, Any]:
    """Replace the recording's placeholders for the client's own lines with valid lines."""
    files = {
        name: {**chunk, "content": [line if _json(line) is not None else "{}" for line in chunk["content"]]}
        for name, chunk in body.get("files", {}).items()
    }
    return {**body, "files": files}
