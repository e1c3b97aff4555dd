"""Sweeps, only as needed to launch them: a scheduler gets the runs of a grid one at a time."""

import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from local.wandb.answers import Refused, connection, opaque, timestamp
from local.wandb.queues import short_name
from local.wandb.runs import Run

if TYPE_CHECKING:
    from local.wandb.state import Project, State

_PLACEHOLDER = "WANDB_SWEEP_ID"


@dataclass
class Sweep:
    """A sweep. Its scheduler's heartbeats get the runs of its grid one by one."""

    name: str
    project: "Project" = field(repr=False)
    config: str
    scheduler: str | None = None
    controller: str | None = None
    state: str = "PENDING"
    description: str | None = None
    display_name: str | None = None
    created_at: str = field(default_factory=timestamp)
    heartbeat_at: str = field(default_factory=timestamp)
    updated_at: str | None = None
    early_stop_job_running: bool = False
    best_loss: float | None = None
    handed_out: list[Run] = field(default_factory=list, repr=False)

    @property
    def id(self) -> str:
        return opaque("Sweep", "v1", self.name, self.project.name, self.project.entity.name)

    @property
    def method(self) -> str:
        """The method for choosing parameters; only `grid` is implemented here."""
        return str(yaml.safe_load(self.config).get("method", "grid"))

    def runs(self, **_: Any) -> dict[str, Any]:
        return connection(self.handed_out)

    def next_commands(self) -> list[dict[str, Any]]:
        """Return the scheduler's next commands: start the next run, wait while one is running, or exit."""
        self.state, self.heartbeat_at = "RUNNING", timestamp()
        if any(run.state in ("pending", "running") for run in self.handed_out):
            return []
        parameters = yaml.safe_load(self.config).get("parameters", {})
        choices = [
            [(name, value) for value in each.get("values", [each.get("value")])] for name, each in parameters.items()
        ]
        grid = list(itertools.product(*choices))
        if len(self.handed_out) >= len(grid):
            self.state = "FINISHED"
            return [{"type": "exit"}]
        number = self.project.state.number()
        run = Run(short_name(), self.project, number, stored_state="pending", sweep_name=self.name)
        arguments = {name: {"value": value} for name, value in grid[len(self.handed_out)]}
        self.handed_out.append(run)
        self.project.runs_by_id[run.name] = run
        return [{"type": "run", "run_id": run.name, "args": arguments, "program": ""}]


def upsert_sweep(state: "State", given: dict[str, Any]) -> Sweep:
    """Create or change a sweep. For a new one with a launch scheduler, push the scheduler's item."""
    known = next((each for each in _sweeps(state) if given.get("id") in (each.id, each.name)), None)
    if known:
        known.state, known.updated_at = given.get("state") or known.state, timestamp()
        known.controller = given.get("controller") or known.controller
        known.scheduler = given.get("scheduler") or known.scheduler
        return known
    project = state.project(given.get("entityName"), given.get("projectName"))
    name = short_name()
    launch = given.get("launchScheduler")
    sweep = Sweep(name, project, given["config"], state=given.get("state") or "PENDING", scheduler=launch)
    project.sweeps[name] = sweep
    if launch:
        order = json.loads(launch)
        queue = state.project(given.get("entityName"), order["run_queue_project"]).run_queue(order["queue"])
        if queue is None:
            raise Refused(f"run queue {order['queue']} not found", 404)
        queue.push(json.loads(order["run_spec"].replace(_PLACEHOLDER, name)), None, {})
    return sweep


def _sweeps(state: "State") -> list[Sweep]:
    return [sweep for project in state.projects.values() for sweep in project.sweeps.values()]
