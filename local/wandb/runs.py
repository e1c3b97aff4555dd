"""Runs: created by upserts, filled by the file stream, and their files."""

import json
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from local.wandb.answers import connection, opaque, timestamp

if TYPE_CHECKING:
    from local.wandb.artifacts import Artifact
    from local.wandb.state import Project

_ADJECTIVES = ("brisk", "calm", "eager", "proud", "swift")
_NOUNS = ("brook", "cloud", "field", "forest", "river")


@dataclass
class RunFile:
    """A file of a run or of an artifact: a name for contents in the storage."""

    name: str
    path: str
    project: "Project" = field(repr=False)
    md5: str | None = None
    mimetype: str | None = None
    updated_at: str = field(default_factory=timestamp)

    @property
    def id(self) -> str:
        return opaque("File", "v1", self.path)

    @property
    def display_name(self) -> str:
        return self.name

    @property
    def digest(self) -> str | None:
        return self.md5

    @property
    def size_bytes(self) -> int:
        """The size; 0 until it is uploaded."""
        return len(self.project.state.storage.get(self.path, b""))

    @property
    def uploaded(self) -> bool:
        """Whether its contents have arrived."""
        return self.path in self.project.state.storage

    def url(self, **_: Any) -> "Address":
        """The address to read it from."""
        return Address("GET", self.path)

    direct_url = url

    def upload_url(self, **_: Any) -> "Address":
        """The address to write it to."""
        return Address("PUT", self.path)

    upload_headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Address:
    """A path in the storage and the allowed method; the server signs it when it answers."""

    method: str
    path: str


@dataclass
class Run:
    """A run; `rows` is its history, one dictionary for each step."""

    name: str
    project: "Project" = field(repr=False)
    number: int
    display_name: str | None = None
    stored_state: str = "running"
    stopped: bool = False
    exitcode: int | None = None
    config_values: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    event_lines: list[str] = field(default_factory=list)
    log_lines: list[str] = field(default_factory=list)
    files_by_name: dict[str, RunFile] = field(default_factory=dict)
    sweep_name: str | None = None
    group: str | None = None
    job_type: str | None = None
    commit: str | None = None
    description: str | None = None
    notes: str | None = None
    host: str | None = None
    tags: list[str] = field(default_factory=list)
    used_artifacts: list["Artifact"] = field(default_factory=list, repr=False)
    created_at: str = field(default_factory=timestamp)
    heard_at: float = field(default_factory=time.time)
    read_only: bool = False
    should_stop: bool = False

    def __post_init__(self) -> None:
        """Give the run a display name, if it has none."""
        if not self.display_name:
            self.display_name = f"{random.choice(_ADJECTIVES)}-{random.choice(_NOUNS)}-{self.number}"  # noqa: S311 - a name

    @property
    def state(self) -> str:
        """The state; a running run whose heartbeats have stopped has crashed."""
        silent = time.time() - self.heard_at > self.project.state.behaviour.silence_seconds
        return "crashed" if silent and self.stored_state == "running" else self.stored_state

    @state.setter
    def state(self, state: str) -> None:
        self.stored_state, self.heard_at = state, time.time()

    @property
    def heartbeat_at(self) -> str:
        return timestamp(self.heard_at)

    @property
    def id(self) -> str:
        """The storage id."""
        return opaque("Run", "v1", self.name, self.project.name, self.project.entity.name)

    @property
    def project_id(self) -> str:
        """The project's number."""
        return str(self.project.number)

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def failed(self) -> bool:
        return self.state == "failed"

    @property
    def user(self) -> dict[str, Any]:
        """The run's owner."""
        return {"name": self.project.state.user_name, "username": self.project.state.username}

    def config(self, keys: list[str] | None = None) -> str:
        """The config as JSON text."""
        chosen = (
            self.config_values if keys is None else {k: self.config_values[k] for k in keys if k in self.config_values}
        )
        return json.dumps(chosen)

    def wandb_config(self, keys: list[str] | None = None) -> str:
        """The client's own part of the config as JSON text."""
        own = self.config_values.get("_wandb", {}).get("value", {})
        return json.dumps({key: own[key] for key in keys or own if key in own})

    def summary_metrics(self, **_: Any) -> str:
        """The summary as JSON text."""
        return json.dumps(self.summary)

    @property
    def history_line_count(self) -> int:
        """The number of rows in the history."""
        return len(self.rows)

    @property
    def events_line_count(self) -> int:
        """The number of rows of system metrics."""
        return len(self.event_lines)

    @property
    def log_line_count(self) -> int:
        """The number of lines of console output."""
        return len(self.log_lines)

    @property
    def history_tail(self) -> str:
        """The last row of the history, as a JSON list of JSON texts."""
        return json.dumps([json.dumps(row) for row in self.rows[-1:]])

    @property
    def events_tail(self) -> str:
        """The last row of system metrics, as a JSON list of JSON texts."""
        return json.dumps(self.event_lines[-1:])

    @property
    def history_keys(self) -> Any:
        """The history's keys, and how often each occurs; None if the history is empty."""
        if not self.rows:
            return None
        counts: dict[str, int] = {}
        for row in self.rows:
            for key in row:
                counts[key] = counts.get(key, 0) + 1
        keys = {
            key: {"typeCounts": [{"type": "number", "count": count}], "monotonic": False}
            for key, count in counts.items()
        }
        return {"sets": [], "keys": keys, "lastStep": self.rows[-1].get("_step", len(self.rows) - 1)}

    def sampled_history(self, specs: list[str]) -> list[Any]:
        """Return the history's rows for each set of keys. All rows are returned: a laptop's runs are short."""
        parsed = [json.loads(spec) for spec in specs]
        return [_rows(self.rows, spec.get("keys") if isinstance(spec, dict) else None) for spec in parsed]

    def parquet_history(self, live_keys: list[str]) -> dict[str, Any]:
        """Return all rows as the newest ones: no file of them is made."""
        return {"parquetUrls": [], "liveData": self.rows}

    def history(self, min_step: int | None = None, max_step: int | None = None, **_: Any) -> list[str]:
        """Return rows of the history, as JSON texts."""
        low, high = min_step or 0, float("inf") if max_step is None else max_step
        rows = [row for index, row in enumerate(self.rows) if low <= row.get("_step", index) < high]
        return [json.dumps(row) for row in rows]

    def events(self, **_: Any) -> list[str]:
        """Return the rows of system metrics."""
        return self.event_lines

    def files(
        self, names: list[str] | None = None, first: int | None = None, after: str | None = None, **_: Any
    ) -> dict[str, Any]:
        """Return a page of the files that have arrived."""
        found = [each for each in self.files_by_name.values() if each.uploaded and (not names or each.name in names)]
        return connection(found, first, after)

    def input_artifacts(self, first: int | None = None, after: str | None = None) -> dict[str, Any]:
        """Return a page of the versions that the run has used."""
        return connection(self.used_artifacts, first, after)

    @property
    def logged_artifacts(self) -> list["Artifact"]:
        """The committed versions that the run has made."""
        versions = self.project.state.artifacts.values()
        return [each for each in versions if each.created_by is self and each.state == "COMMITTED"]

    def output_artifacts(self, first: int | None = None, after: str | None = None) -> dict[str, Any]:
        """Return a page of the versions that the run has made."""
        return connection(self.logged_artifacts, first, after)

    @property
    def file_count(self) -> int:
        """The number of files that have arrived."""
        return sum(each.uploaded for each in self.files_by_name.values())

    def file(self, name: str) -> RunFile:
        """Return the file of this name; create it if needed."""
        path = f"run/{self.project.entity.name}/{self.project.name}/{self.name}/{name}"
        return self.files_by_name.setdefault(name, RunFile(name, path, self.project))

    def stream(self, body: dict[str, Any]) -> dict[str, Any]:
        """Store one post of the file stream; return the answer for the client."""
        self.heard_at = time.time()
        if not body.get("complete"):
            self.state = "running"
        for name, chunk in body.get("files", {}).items():
            self._append(name, chunk.get("offset", 0), chunk.get("content", []))
        sweep = self.project.sweep(self.sweep_name) if self.sweep_name else None
        if sweep:
            sweep.judge(self)
        if body.get("complete"):
            self.exitcode = int(body.get("exitcode") or 0)
            self.state = "finished" if self.exitcode == 0 else "killed" if self.stopped else "failed"
        return {"exitcode": None, "limits": {}, "stopped": self.stopped}

    def best_until(self, metric: str, sign: float, step: int) -> float | None:
        """Return the smallest value of `sign` times a metric in its first rows; None if it has fewer rows with it."""
        values = [sign * row[metric] for row in self.rows if isinstance(row.get(metric), int | float)]
        return min(values[:step]) if len(values) >= step else None

    def _append(self, name: str, offset: int, lines: list[str]) -> None:
        if name == "wandb-history.jsonl":
            self.rows[offset:] = [json.loads(line) for line in lines]
        elif name == "wandb-summary.json":
            self.summary = json.loads(lines[-1]) if lines else self.summary
        elif name == "wandb-events.jsonl":
            self.event_lines[offset:] = lines
        elif name == "output.log":
            self.log_lines[offset:] = lines


def _rows(history: list[dict[str, Any]], keys: list[str] | None) -> list[dict[str, Any]]:
    if not keys:
        return history
    return [{key: row[key] for key in keys} for row in history if all(key in row for key in keys)]


def upsert(project: "Project", given: dict[str, Any]) -> tuple[Run, bool]:
    """Create or change a run from an UpsertBucketInput; return it, and whether it is new."""
    name = given.get("name") or ""
    run = project.runs_by_id.get(name)
    inserted = run is None
    if run is None:
        number = project.state.number()
        run = Run(name or f"run{number}{int(time.time())}", project, number, display_name=given.get("displayName"))
        project.runs_by_id[run.name] = run
    names = {"displayName": "display_name", "groupName": "group", "jobType": "job_type", "sweep": "sweep_name"}
    plain = ("commit", "description", "notes", "host", "state", "tags")
    for key, attribute in {**names, **{key: key for key in plain}}.items():
        if given.get(key) is not None:
            setattr(run, attribute, given[key])
    if given.get("config") is not None:
        run.config_values = json.loads(given["config"])
    if given.get("summaryMetrics") is not None:
        run.summary = json.loads(given["summaryMetrics"])
    if not inserted and run.state == "pending" and given.get("state") is None and given.get("host"):
        run.state = "running"  # wandb.init in a container resumes a run that was created before
    return run, inserted
