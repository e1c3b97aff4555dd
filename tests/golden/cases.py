"""Golden cases: a folder for each, with a run spec and its result. `make golden` rewrites the expectations.

run_spec.json       the run spec from the queue
wandb-job.json      the job artifact, if the run spec names a job
launch-config.json  keys of launch-config.yaml, if the case needs them
plan.json           the launch plan
error.txt           or the error message
differences.json    differences from the reference launch agent's request: path -> {"reference", "ours"}
"""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from launch_agent.clients.service_model import create_training_job_shape
from launch_agent.deployment import Deployment
from launch_agent.errors import LaunchError
from launch_agent.image.recipe import ArtifactCode
from launch_agent.plan.agent import Agent
from launch_agent.plan.launch_plan import LaunchPlan, plan_launch
from launch_agent.plan.run_environment import API_KEY
from launch_agent.plan.source import Job
from launch_agent.run_queue.items import ItemRef, QueueItem, parse_run_spec
from launch_agent.run_queue.job_artifact import parse_job_artifact
from launch_agent.run_queue.launch_config import parse_launch_config

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
DEPLOYMENT = Deployment(
    account_id="123456789012",
    region="us-east-1",
    stack_name="launch",
    wandb_base_url="https://api.wandb.ai",
    image_repository="123456789012.dkr.ecr.us-east-1.amazonaws.com/launch",
)
CODE = ArtifactCode(artifact_id="code", digest="c1")
ITEM_ID = "UnVuUXVldWVJdGVtOjQy"
CASES = sorted(path.parent.name for path in HERE.glob("*/run_spec.json"))


def load(case: str, name: str) -> Any:
    """Return one JSON file of a case, parsed; None if the case does not have it."""
    path = HERE / case / name
    return json.loads(path.read_text()) if path.exists() else None


def item_of(spec: Any) -> ItemRef:
    """Return the run queue item of a run spec."""
    return ItemRef(id=ITEM_ID, queue="sm", entity="team", run_id=QueueItem(id=ITEM_ID, run_spec=spec).run_id)


def plan(case: str, raw: Any = None) -> LaunchPlan:
    """Plan a case's run; `raw` is its run spec if it is already loaded. Raises planning's errors."""
    raw, job = raw or load(case, "run_spec.json"), load(case, "wandb-job.json")
    spec = parse_run_spec(raw)
    artifact = parse_job_artifact(spec.job, job, artifact_id="job", digest="d1") if spec.job and job else None
    code = CODE if artifact and artifact.source_type == "artifact" else None
    config = parse_launch_config(json.dumps({"queues": ["sm"], **(load(case, "launch-config.json") or {})}))
    agent = Agent(DEPLOYMENT, config, create_training_job_shape())
    return plan_launch(spec, Job(artifact, code) if artifact else None, item_of(raw), agent)


def planned() -> list[str]:
    """Return the names of the cases that have a plan."""
    return [case for case in CASES if (HERE / case / "plan.json").exists()]


@cache
def reference_requests() -> dict[str, dict[str, Any]]:
    """Return the reference launch agent's request in each planned case. It runs in the training environment."""
    names = planned()
    cases = [
        {
            "spec": (spec := load(case, "run_spec.json")),
            "job": load(case, "wandb-job.json"),
            "run_id": item_of(spec).run_id,
            "item_id": ITEM_ID,
            "queue": "sm",
            "entity": "team",
            "built_image": (build := plan(case).build) and build.image,
        }
        for case in names
    ]
    answer = subprocess.run(
        [ROOT / ".venvs/training/bin/python", ROOT / "tests/contract/reference_request.py"],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(names, json.loads(answer.stdout), strict=True))


def differences(case: str) -> dict[str, Any]:
    """Compare our request in a case with the reference's, path by path."""
    reference = reference_requests()[case]
    if "error" in reference:
        return {"": {"reference": reference["error"], "ours": "a request"}}
    return dict(_differences(_comparable(reference), _comparable(plan(case).training_request), ""))


def _comparable(request: dict[str, Any]) -> dict[str, Any]:
    """Remove the parts that differ in every case: the API key, and the tags other than WandbRunId."""
    ours = {"WandbRunQueueItemId", "WandbEntity", "WandbProject", "WandbQueue", "LaunchStack"}
    environment = {name: value for name, value in request["Environment"].items() if name != API_KEY}
    tags = [tag for tag in request.get("Tags", []) if tag["Key"] not in ours]
    return {**request, "Environment": environment, "Tags": tags}


def _differences(reference: Any, ours: Any, path: str) -> Any:
    if isinstance(reference, dict) and isinstance(ours, dict):
        for key in sorted({*reference, *ours}):
            yield from _differences(reference.get(key), ours.get(key), f"{path}.{key}" if path else key)
    elif reference != ours:
        yield path, {"reference": reference, "ours": ours}


def main() -> None:
    """Rewrite all expectations, for a person to review."""
    for case in CASES:
        for name in ("plan.json", "error.txt", "differences.json"):
            (HERE / case / name).unlink(missing_ok=True)
        try:
            _write(case, "plan.json", plan(case).model_dump(mode="json"))
        except LaunchError as error:
            (HERE / case / "error.txt").write_text(f"{type(error).__name__}: {error}\n")
    for case in planned():
        if found := differences(case):
            _write(case, "differences.json", found)
    print(f"golden: {len(CASES)} cases written; review the diff", file=sys.stderr)  # noqa: T201 - a command


def _write(case: str, name: str, value: Any) -> None:
    (HERE / case / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
