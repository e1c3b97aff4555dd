"""A W&B server with runs in several states, as clients and a launch agent leave it."""

import json
import math
from typing import Any

from local.wandb import WandbServer
from local.wandb.sweeps import Sweep

QUEUE, ENTITY, PROJECT = "sagemaker", "team", "demo"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/demo:train"
_UPSERT = "mutation M($input: UpsertBucketInput!) { upsertBucket(input: $input) { inserted } }"


class Sample:
    """A server, and what clients and an agent do with it."""

    def __init__(self, api_key: str) -> None:
        self.server = WandbServer(entity=ENTITY, api_key=api_key)
        self.queue = self.server.create_queue(QUEUE, config={"RoleArn": "role"}, prioritization="V0")

    def do(self, field: str, **given: Any) -> Any:
        """Execute a mutation of W&B that answers with `success`."""
        kind = f"{field[0].upper()}{field[1:]}Input"
        answer, _ = self.server.execute(
            f"mutation M($input: {kind}!) {{ {field}(input: $input) {{ __typename }} }}", {"input": given}
        )
        assert "errors" not in answer, answer
        return answer["data"]

    def agent(self) -> str:
        """Register a launch agent; return its id."""
        self.do(
            "createLaunchAgent",
            entityName=ENTITY,
            projectName="model-registry",
            runQueues=[self.queue.id],
            hostname="wandb-launch",
        )
        return next(reversed(self.server.state.agents))

    def push(self, **spec: Any) -> str:
        """Queue a run; return the item's id."""
        return self.server.push(
            QUEUE, {"entity": ENTITY, "project": PROJECT, "docker": {"docker_image": IMAGE}, **spec}
        )

    def launch(self, agent: str, run: str) -> None:
        """Lease the next item, and acknowledge it with this run id."""
        item = self.queue.pop(agent)
        assert item
        self.do("ackRunQueueItem", runQueueItemId=item.id, runName=run)

    def sweep(self, name: str) -> Sweep:
        """Create a sweep over three learning rates."""
        rates = {"method": "grid", "name": name, "parameters": {"rate": {"values": [0.1, 0.2, 0.3]}}}
        self.do("upsertSweep", entityName=ENTITY, projectName=PROJECT, config=json.dumps(rates))
        sweeps = self.server.state.project(ENTITY, PROJECT).sweeps
        return sweeps[next(reversed(sweeps))]

    def start(self, run: str, *, name: str, config: dict[str, Any] | None = None) -> None:
        """Start a run, as wandb.init does."""
        values = {key: {"value": value} for key, value in (config or {}).items()}
        given = {"name": run, "displayName": name, "entityName": ENTITY, "modelName": PROJECT, "host": "algo-1"}
        answer, _ = self.server.execute(_UPSERT, {"input": {**given, "config": json.dumps(values)}})
        assert "errors" not in answer, answer

    def post(self, run: str, *, rows: int = 0, lines: list[str] | None = None, exitcode: int | None = None) -> None:
        """Log rows of metrics and lines; end the run if it has an exit code."""
        found = self.server.state.runs[ENTITY, PROJECT, run]
        history = [
            json.dumps({"_step": step, "loss": 2.3 * math.exp(-step / 6) + 0.1, "accuracy": 1 - math.exp(-step / 5)})
            for step in range(rows)
        ]
        files: dict[str, Any] = {}
        if rows:
            files["wandb-history.jsonl"] = {"offset": 0, "content": history}
            files["wandb-summary.json"] = {"offset": 0, "content": history[-1:]}
        if lines:
            files["output.log"] = {"offset": len(found.log_lines), "content": lines}
        end = {} if exitcode is None else {"complete": True, "exitcode": exitcode}
        found.stream({"files": files, **end})


def sample(api_key: str) -> Sample:
    """Return a server with a queue of five items: finished, running, failed, leased and queued."""
    made = Sample(api_key)
    agent = made.agent()
    for number in range(5):
        made.push(name=f"item {number}")
    for run, name in (("digits01", "digits of the baseline"), ("digits02", "digits, wider")):
        made.launch(agent, run)
        made.start(run, name=name, config={"epochs": 20, "learning_rate": 0.02})
    made.post("digits01", rows=20, lines=[f"epoch {number}" for number in range(60)], exitcode=0)
    made.post("digits02", rows=8, lines=["epoch 0"])
    failed = made.queue.pop(agent)
    assert failed
    made.do(
        "failRunQueueItem",
        runQueueItemId=failed.id,
        stage="agent",
        message="InvalidRunSpec: resource_args.sagemaker.StoppingConditions is not a parameter of CreateTrainingJob.\n"
        "Did you mean StoppingCondition?",
    )
    made.queue.pop(agent)
    return made
