"""Reads the outcomes of the demo's queue items from W&B through the public API. Runs in the training environment.

Arguments: entity, queue, project. stdin: a JSON list of {"item", "run_id"}. stdout: a JSON list with an entry for each:
{"item_state", "run_state", "summary", "history", "error_log"}; null if W&B has no such run or file.
"""

import json
import sys
import tempfile
from typing import Any

import wandb


def run_of(api: Any, path: str) -> Any:
    """Return a run; None if it does not exist."""
    try:
        return api.run(path)
    except (wandb.errors.CommError, ValueError):
        return None


def error_log(api: Any, entity: str, item: str) -> str | None:
    """Return the text of the item's error.log. It is a file of the run of the launch agent that took the item."""
    for agent_run in api.runs(f"{entity}/model-registry"):
        for file in agent_run.files():
            if file.name == f"{item}/error/error.log":
                with tempfile.TemporaryDirectory() as folder:
                    return str(file.download(root=folder).read())
    return None


def main() -> None:
    """Print the outcome of each item on stdin."""
    entity, queue, project = sys.argv[1:]
    api = wandb.Api()
    answers = []
    for asked in json.load(sys.stdin):
        run = run_of(api, f"{entity}/{project}/{asked['run_id']}")
        queued = api.queued_run(entity, project, queue, asked["item"], project_queue="model-registry")
        answers.append(
            {
                "item_state": queued.state,
                "run_state": run.state if run else None,
                "summary": {key: value for key, value in run.summary.items() if key[0] != "_"} if run else None,
                "history": len(run.history(pandas=False)) if run else None,
                "error_log": error_log(api, entity, asked["item"]),
            }
        )
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
