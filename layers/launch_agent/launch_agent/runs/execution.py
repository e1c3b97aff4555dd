"""The execution of a run queue item in the Step Functions console: its name, its input and its output."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from launch_agent.deployment import Deployment
from launch_agent.run_queue.items import ItemRef
from launch_agent.run_queue.secret_values import secret_values
from launch_agent.runs.record import RunRecord
from launch_agent.safe_text import keep_secret, safe

_MAX_RUN_ID = 55  # of the 80 characters that Step Functions allows; the hash and the attempt need the rest
_MAX_SHOWN = 256
_SHOWN = {"run_name": "name", "entity": "entity", "project": "project", "job": "job", "author": "author"}
"""What the input shows of the run spec, by the keys of both."""


_NUMBERS = {"billable_seconds": int, "estimated_cost_usd": float}
"""The parts of an outcome that are numbers."""


def execution_name(item_id: str, run_id: str, attempt: int) -> str:
    """Return the name of an item's execution: the run id, a hash of the item's id and, from attempt 2, a number.

    Several items can have the same run id, so the hash tells them apart. Step Functions sends no logs of an execution
    to CloudWatch Logs if its name has other characters than letters, digits, - and _
    (https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html).
    """
    run = re.sub("[^A-Za-z0-9_-]", "-", run_id)[:_MAX_RUN_ID]
    name = f"{run}-{hashlib.sha256(item_id.encode()).hexdigest()[:12]}"
    return name if attempt == 1 else f"{name}-{attempt}"


def execution_input(item: ItemRef, spec: Any, deployment: Deployment) -> dict[str, str]:
    """Return the input of an item's execution. Only `run_queue_item_id` is read; a person who watches reads the rest.

    The run spec may be any JSON value. Its secrets are hidden in all texts from now on.
    """
    keep_secret(*secret_values(spec))
    known = spec if isinstance(spec, Mapping) else {}
    asked = {name: known.get(key) for name, key in _SHOWN.items()}
    shown = {name: safe(text, limit=_MAX_SHOWN) for name, text in asked.items() if isinstance(text, str) and text}
    if shown.keys() >= {"entity", "project"}:
        shown["run_url"] = deployment.run_page(shown["entity"], shown["project"], item.run_id)
    return {"run_queue_item_id": item.id, "run_id": item.run_id, "run_queue": item.queue, **shown}


def execution_output(record: RunRecord, outcome: Mapping[str, str], deployment: Deployment) -> dict[str, Any]:
    """Return the output of a run's execution: the outcome, with its numbers as numbers, and links."""
    job = outcome.get("training_job_name")
    links = {}
    if record.entity and record.project:
        links["run"] = deployment.run_page(record.entity, record.project, record.item.run_id)
    if job:
        links["training_job"] = deployment.training_job_page(job)
        links["training_log"] = deployment.training_logs_page(job)
    numbers = {name: number(outcome[name]) for name, number in _NUMBERS.items() if name in outcome}
    return {"run_id": record.item.run_id, **outcome, **numbers, "links": links}
