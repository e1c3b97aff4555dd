"""W&B's runs: adds keys to the config and the summary of a run that no other process writes."""

import json
from collections.abc import Mapping
from typing import Any

from launch_agent.clients import wandb_operations as operations
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.wandb_answers import at
from launch_agent.errors import WandbRefused
from launch_agent.run_queue.items import RunPath
from launch_agent.safe_text import safe_json


class WandbRuns:
    """The runs of one W&B server. Every method may raise WandbUnavailable, WandbKeyRejected and WandbRefused.

    W&B stores a config and a summary as they are sent, whole. So a method reads them, adds its keys, and sends them. No
    other process may write the run meanwhile: neither would see what the other wrote.
    """

    def __init__(self, graphql: GraphqlClient) -> None:
        """Nothing is sent yet."""
        self._graphql = graphql

    def add_to_summary(self, path: RunPath, values: Mapping[str, Any]) -> None:
        """Add keys to the summary of a run."""
        run = at(self._graphql.execute(operations.run_contents(*path)), "project", "run")
        self._write(path, {"summaryMetrics": _merged(at(run, "summaryMetrics"), values)})

    def write(
        self, path: RunPath, *, state: str, name: str | None, config: Mapping[str, Any], summary: Mapping[str, Any]
    ) -> None:
        """Create a run, or set its state and add keys to its config and its summary. `name` is that of a new run."""
        run = at(self._graphql.execute(operations.run_contents(*path)), "project", "run")
        values = {key: {"value": value} for key, value in config.items()}
        changed = {
            "state": state,
            "displayName": None if run else name,
            "config": _merged(at(run, "config"), values),
            "summaryMetrics": _merged(at(run, "summaryMetrics"), summary),
        }
        self._write(path, {key: value for key, value in changed.items() if value is not None})

    def _write(self, path: RunPath, changed: Mapping[str, Any]) -> None:
        where = {"name": path.run_id, "entityName": path.entity, "modelName": path.project}
        self._graphql.execute(operations.upsert_run({**where, **changed}))


def _merged(text: str | None, values: Mapping[str, Any]) -> str:
    """Return JSON with more keys. The others stay as the user logged them: `read_json` would change some numbers."""
    try:
        known = json.loads(text or "{}")
    except (ValueError, RecursionError):
        known = None
    if not isinstance(known, dict):
        raise WandbRefused("W&B's answer does not match its schema: the config or summary of a run is no JSON object")
    return json.dumps({**known, **safe_json(values)})
