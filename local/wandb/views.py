"""What the page shows, as JSON: texts, numbers and lists with bounds, whatever a run or an item contains."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from local.wandb.artifacts import Artifact
from local.wandb.charts import charts
from local.wandb.queues import ItemState, LaunchAgent, RunQueue, RunQueueItem
from local.wandb.runs import Run
from local.wandb.state import LAUNCH_PROJECT, State
from local.wandb.sweeps import Sweep

LINES = 2_000
"""The last lines of a log."""
TEXT = 20_000
"""The characters of a text."""
_ROWS = 200
_CONTROL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_WAITING = {ItemState.PENDING: "queued", ItemState.LEASED: "leased", ItemState.FAILED: "failed"}

Json = dict[str, Any]


def overview(state: State) -> Json:
    """Return the queues with their items, the launch agents, and the runs, each newest first."""
    queues = state.project(state.team.name, LAUNCH_PROJECT).queues.values()
    runs = [run for run in state.runs.values() if run.project.name != LAUNCH_PROJECT]
    return {
        "entity": state.team.name,
        "queues": [_queue(queue) for queue in queues],
        "agents": [_agent(agent) for agent in reversed(state.agents.values())],
        "runs": [_row(run) for run in reversed(runs)],
        "sweeps": [_sweep(sweep) for each in state.projects.values() for sweep in reversed(each.sweeps.values())],
    }


def project(state: State, entity: str, name: str) -> Json | None:
    """Return the runs and the sweeps of a project, newest first; None if it does not exist."""
    found = state.find_project(entity, name)
    if found is None:
        return None
    runs = [_row(run) for run in reversed(found.runs_by_id.values())]
    sweeps = [_sweep(sweep) for sweep in reversed(found.sweeps.values())]
    return {"entity": entity, "project": name, "runs": runs, "sweeps": sweeps}


def run(state: State, entity: str, project_name: str, name: str) -> Json | None:
    """Return a run with its charts, log, config, summary, files, lineage and queue item; None if it does not exist."""
    found = find_run(state, entity, project_name, name)
    if found is None:
        return None
    item = next((each for each in reversed(state.items.values()) if _run_of(each) is found), None)
    config = {key: _value(each) for key, each in _mapping(found.config_values).items() if key != "_wandb"}
    return {
        **_run(found),
        "facts": _facts(found),
        "charts": charts(found.rows),
        "config": _pairs(config),
        "summary": _pairs({key: value for key, value in _mapping(found.summary).items() if key[:1] != "_"}),
        "log": {
            "first": max(0, len(found.log_lines) - LINES),
            "lines": [_line(each) for each in found.log_lines[-LINES:]],
        },
        "files": [
            {"name": file.name, "size": file.size_bytes, "updated": file.updated_at}
            for file in sorted(found.files_by_name.values(), key=lambda file: file.name)
            if file.uploaded
        ],
        "used": [_artifact(artifact) for artifact in found.used_artifacts],
        "made": [
            {**_artifact(each), "used_by": [_link(user) for user in each.users]} for each in found.logged_artifacts
        ],
        "item": {**_item(item), "queue": item.queue.name, "spec": _spec(item)} if item else None,
    }


def item_spec(state: State, item_id: str) -> Json | None:
    """Return the run spec of an item; None if it does not exist."""
    item = state.items.get(item_id)
    return {"spec": _spec(item)} if item else None


def run_of_item(state: State, item_id: str) -> Json | None:
    """Return the name and state of the run of an item; None if it does not exist."""
    item = state.items.get(item_id)
    found = _run_of(item) if item else None
    return _link(found) if found else None


def find_run(state: State, entity: str, project_name: str, name: str) -> Run | None:
    """Return a run; None if it does not exist."""
    found = state.find_project(entity, project_name)
    return found.run(name) if found else None


def shown(value: Any) -> str:
    """Return any value of a client as a text: a text as it is, everything else as JSON."""
    try:
        text = value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False)
    except (ValueError, RecursionError):  # an integer of thousands of digits; lists in lists in lists
        return "(cannot be shown)"
    return text if len(text) <= TEXT else f"{text[:TEXT]} ... ({len(text):,} characters)"


def _spec(item: RunQueueItem) -> str:
    try:
        return shown(_without_keys(item.run_spec))
    except RecursionError:
        return "(cannot be shown)"


def _without_keys(spec: Any) -> Any:
    """Return a run spec without the API key that it may bring for its run."""
    if isinstance(spec, dict):
        return {
            key: "(not shown)" if key in ("_wandb_api_key", "WANDB_API_KEY") else _without_keys(value)
            for key, value in spec.items()
        }
    return [_without_keys(each) for each in spec] if isinstance(spec, list) else spec


def _queue(queue: RunQueue) -> Json:
    config = queue.state.resource_configs.get(queue.default_resource_config_id or "")
    return {
        "id": queue.id,
        "name": queue.name,
        "resource": config.resource if config else "",
        "prioritized": queue.prioritization_mode != "DISABLED",
        "variables": sorted(config.variables) if config else [],
        "items": [_item(item) for item in reversed(queue.items.values())],
    }


def _item(item: RunQueueItem) -> Json:
    spec = _mapping(item.run_spec)
    started = _run_of(item)
    waiting = item.state in (ItemState.PENDING, ItemState.LEASED)
    name = started.display_name if started else spec.get("name")
    source = _source(spec)
    return {
        "id": item.id,
        "name": shown(name or source or item.id)[:200],
        "source": source,
        "project": shown(spec.get("project") or "")[:200],
        "state": _WAITING.get(item.state) or (started.state if started else "launching"),
        "waiting": waiting,
        "priority": item.priority if item.queue.prioritization_mode != "DISABLED" else None,
        "created": item.created_at,
        "run": _run(started) if started else None,
        "run_id": item.associated_run_id,
        "notes": list(_notes(item)),
    }


def _source(spec: Mapping[str, Any]) -> str:
    """Return the short name of what an item runs: its job, or its image without the registry."""
    name = spec.get("job") or _mapping(spec.get("docker")).get("docker_image") or spec.get("uri") or ""
    return shown(name)[:500].rpartition("/")[2] if isinstance(name, str) else ""


def _notes(item: RunQueueItem) -> Iterator[Json]:
    agent = item.queue.state.agents.get(item.launch_agent_id or "")
    for kind, note in (("error", item.error), *(("warning", each) for each in item.warnings)):
        if note:
            files = [
                {**_file_of(item, agent, path), "name": path.rpartition("/")[2]} for path in note.get("filePaths") or []
            ]
            yield {"kind": kind, "stage": note["stage"], "message": shown(note["message"]), "files": files}


def _file_of(item: RunQueueItem, agent: LaunchAgent | None, path: str) -> Json:
    """Return where a file of an item is: it belongs to the run of the launch agent."""
    return {
        "entity": item.queue.project.entity.name,
        "project": LAUNCH_PROJECT,
        "run": agent and agent.name,
        "path": path,
    }


def _run_of(item: RunQueueItem) -> Run | None:
    spec = _mapping(item.run_spec)
    where = spec.get("entity"), spec.get("project"), item.associated_run_id
    if not all(isinstance(part, str) for part in where):
        return None
    return find_run(item.queue.state, *map(str, where))


def _run(run: Run) -> Json:
    ended = run.state not in ("running", "pending")
    return {
        **_link(run),
        "storage_id": run.id,
        "stopping": run.stopped and not ended,
        "ended": run.heartbeat_at if ended else None,
        "created": run.created_at,
    }


def _row(run: Run) -> Json:
    """Return a run for a list, with three small charts. Of a long history, only some rows are read."""
    every = len(run.rows) // _ROWS + 1
    return {**_run(run), "charts": charts([*run.rows[:-1:every], *run.rows[-1:]], points=40, most=3)}


def _link(run: Run) -> Json:
    where = {"entity": run.project.entity.name, "project": run.project.name, "id": run.name}
    return {**where, "name": shown(run.display_name)[:200], "state": run.state}


def _sweep(sweep: Sweep) -> Json:
    best, (metric, _) = sweep.best_run, sweep.metric
    runs = [run for run in reversed(sweep.made) if run.name in sweep.project.runs_by_id]
    return {
        "id": sweep.id,
        "entity": sweep.project.entity.name,
        "project": sweep.project.name,
        "name": shown(sweep.display_name or sweep.settings.get("name") or sweep.name)[:200],
        "method": sweep.method,
        "state": sweep.state.lower(),
        "created": sweep.created_at,
        "made": len(sweep.made),
        "expected": sweep.run_count_expected,
        "runs": [_link(run) for run in runs[:_ROWS]],
        "best": {**_link(best), "metric": shown(metric)[:200], "value": _number(best.summary[metric])}
        if best
        else None,
    }


def _number(value: float) -> str:
    """Return a number as a text: no JSON has NaN, and an integer may have thousands of digits."""
    return f"{value:.4g}" if isinstance(value, float) else shown(value)[:50]


def _agent(agent: LaunchAgent) -> Json:
    queues = {queue.id: queue.name for project in agent.project.state.projects.values() for queue in project.run_queues}
    return {
        "id": agent.id,
        "name": agent.name,
        "state": agent.agent_status,
        "stopped": agent.stop_polling,
        "heartbeat": agent.heartbeat_at,
        "host": agent.hostname,
        "queues": [queues[each] for each in agent.run_queues if each in queues],
    }


def _facts(run: Run) -> list[tuple[str, str]]:
    facts = {
        "Run id": run.name,
        "Host": run.host,
        "Job type": run.job_type,
        "Group": run.group,
        "Sweep": run.sweep_name,
        "Commit": run.commit,
        "Tags": ", ".join(map(str, run.tags)),
        "Exit code": run.exitcode,
        "Notes": run.notes,
    }
    return _pairs({name: value for name, value in facts.items() if value not in (None, "")}, ordered=True)


def _artifact(artifact: Artifact) -> Json:
    entries = [_mapping(each) for each in artifact.contents.values()]
    return {
        "name": f"{artifact.collection.name}:v{artifact.version_index}",
        "type": artifact.collection.type_name,
        "aliases": [alias for alias in artifact.all_aliases if alias != f"v{artifact.version_index}"],
        "size": sum(size for each in entries if isinstance(size := each.get("size"), int)),
        "references": [shown(each["ref"])[:500] for each in entries if "ref" in each][:5],
        "by": _link(artifact.created_by) if artifact.created_by else None,
    }


def _pairs(values: Mapping[str, Any], *, ordered: bool = False) -> list[tuple[str, str]]:
    names = list(values) if ordered else sorted(values)
    return [(name[:200], shown(values[name])) for name in names[:1000]]


def _mapping(value: Any) -> Json:
    """Return what should be an object; an empty one if a client has sent anything else."""
    return value if isinstance(value, dict) else {}


def _value(entry: Any) -> Any:
    """Return the value of an entry of a config, which the client wraps."""
    return entry["value"] if isinstance(entry, dict) and "value" in entry else entry


def _line(line: Any) -> str:
    """Return a line of a log without its control codes; a progress bar shows its last state."""
    return _CONTROL_CODES.sub("", _printed(shown(line)).rstrip("\r\n").rpartition("\r")[2])[:4000]


def _printed(line: str) -> str:
    """Return what a run has printed. The client puts each line into an object with its time and level.

    It does so for a server with the feature STRUCTURED_CONSOLE_LOGS.
    """
    if not line.startswith('{"'):
        return line
    try:
        sent = json.loads(line)
    except (ValueError, RecursionError):
        return line
    is_wrapped = isinstance(sent, dict) and "ts" in sent and isinstance(sent.get("content"), str)
    return str(sent["content"]) if is_wrapped else line
