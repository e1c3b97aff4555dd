"""Sweeps: their agents get runs with parameters, from a grid or at random, until the sweep is used up or has ended.

A run that hyperband ends early is stopped through its file stream, as by a person.
"""

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from local.wandb.answers import Refused, connection, opaque, timestamp
from local.wandb.queues import short_name
from local.wandb.runs import Run

if TYPE_CHECKING:
    from local.wandb.state import Project, State

_PLACEHOLDER = "WANDB_SWEEP_ID"
_LIVE = ("pending", "running", "preempting")
_ENDED = ("FINISHED", "CANCELED", "CRASHED")
_BAYES = "This local server chooses the parameters of a bayes sweep at random."
Parameters = dict[str, Any]


@dataclass
class SweepAgent:
    """A worker that asks for runs: one of a scheduler, or `wandb agent`."""

    id: str
    name: str
    host: str
    sweep: "Sweep" = field(repr=False)
    state: str = "RUNNING"
    created_at: str = field(default_factory=timestamp)
    heartbeat_at: str = field(default_factory=timestamp)
    made: list[Run] = field(default_factory=list, repr=False)

    @property
    def total_runs(self) -> int:
        return len(self.made)

    def runs(self, first: int | None = None, after: str | None = None, order: str = "", **_: Any) -> dict[str, Any]:
        """Return a page of the runs it was given."""
        return connection(self.made[::-1] if order.startswith("-") else self.made, first, after)

    def commands(self, run_states: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return its next commands. `run_states` has the runs that it says it has."""
        self.heartbeat_at = self.sweep.heartbeat_at = timestamp()
        stops = [run.name for run in self.made if run.name in run_states and run.should_stop]
        if stops or run_states:
            return [{"type": "stop", "run_id": name} for name in stops]
        run = self.sweep.next_run()
        if run is None:
            return [{"type": "exit"}] if self.sweep.says_exit else []
        self.made.append(run)
        args = {name: value for name, value in run.config_values.items() if name != "_wandb"}
        return [{"type": "run", "run_id": run.name, "args": args, "program": self.sweep.settings.get("program", "")}]


@dataclass
class Sweep:
    """A sweep."""

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
    made: list[Run] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        """Read the configuration, once."""
        self.settings: dict[str, Any] = yaml.safe_load(self.config) or {}
        self._draws = random.Random(self.name)  # noqa: S311 - the same sweep has the same runs
        self._grid = list(_grid(self.settings.get("parameters") or {})) if self.method == "grid" else []

    @property
    def id(self) -> str:
        return opaque("Sweep", "v1", self.name, self.project.name, self.project.entity.name)

    @property
    def method(self) -> str:
        """The method for choosing parameters. Any other than `grid` chooses at random."""
        return str(self.settings.get("method", "grid"))

    @property
    def warnings(self) -> list[str]:
        """What the client prints when the sweep is created."""
        return [_BAYES] if self.method == "bayes" else []

    @property
    def live(self) -> list[Run]:
        """The runs that have not ended. A deleted run has."""
        return [run for run in self.made if run.state in _LIVE and run.name in self.project.runs_by_id]

    @property
    def run_count(self) -> int:
        return len(self.made)

    @property
    def run_count_expected(self) -> int | None:
        """The size of the grid."""
        return len(self._grid) if self.method == "grid" else None

    @property
    def says_exit(self) -> bool:
        """Whether an agent without a run is told to exit."""
        return self.state in _ENDED or (self._is_used_up and self.project.state.behaviour.end_of_grid == "exit")

    @property
    def metric(self) -> tuple[str, int]:
        """The metric, and 1 if it is to be small, else -1."""
        metric = self.settings.get("metric") or {}
        return str(metric.get("name", "loss")), -1 if metric.get("goal") == "maximize" else 1

    @property
    def best_run(self) -> Run | None:
        """The run with the best value of the metric."""
        name, sign = self.metric
        values = ((run, run.summary.get(name)) for run in self.made)
        # NaN is not equal to itself.
        measured = [run for run, value in values if isinstance(value, int | float) and value == value]
        return min(measured, key=lambda run: sign * run.summary[name], default=None)

    def runs(self, first: int | None = None, after: str | None = None, **_: Any) -> dict[str, Any]:
        return connection(self.made, first, after)

    def agents(self, **_: Any) -> dict[str, Any]:
        """Return the workers."""
        return connection([each for each in self.project.state.sweep_agents.values() if each.sweep is self])

    def change(self, state: str | None) -> None:
        """Change the state, as the client asks. A canceled sweep stops its runs."""
        self.state, self.updated_at = state or self.state, timestamp()
        if self.state == "CANCELED":
            for run in self.live:
                run.stopped = True

    def next_run(self) -> Run | None:
        """Make the next run; return None while the sweep is paused, and when it has ended or is used up."""
        self.state = "RUNNING" if self.state == "PENDING" else self.state
        if self.state != "RUNNING" or self._is_used_up:
            self._end_if_used_up()
            return None
        parameters = self._grid[len(self.made)] if self.method == "grid" else self._random()
        config = {name: {"value": value} for name, value in parameters.items()}
        run = Run(short_name(), self.project, self.project.state.number(), stored_state="pending", sweep_name=self.name)
        run.config_values = config
        self.made.append(run)
        self.project.runs_by_id[run.name] = run
        return run

    def judge(self, run: Run) -> None:
        """Stop a run that is worse than the best third of the others, at the steps where hyperband compares them."""
        rule = self.settings.get("early_terminate") or {}
        name, sign = self.metric
        values = [sign * row[name] for row in run.rows if isinstance(row.get(name), int | float)]
        if rule.get("type") != "hyperband" or not values:
            return
        eta = rule.get("eta", 3)
        for band in _bands(rule, eta):
            others = [other.best_until(name, sign, band) for other in self.made if other is not run]
            measured = sorted(value for value in others if value is not None)
            if len(values) < band or not measured:
                continue
            if min(values[:band]) > measured[max(math.ceil(len(measured) / eta) - 1, 0)]:
                run.stopped = run.should_stop = True

    @property
    def _is_used_up(self) -> bool:
        cap: int = self.settings.get("run_cap") or 0
        counted = [run for run in self.made if run.summary or run.state not in ("killed", "crashed")]
        return (cap > 0 and len(counted) >= cap) or (self.method == "grid" and len(self.made) >= len(self._grid))

    def _end_if_used_up(self) -> None:
        """Finish a sweep that has no further run and no live one."""
        if self._is_used_up and not self.live and self.state == "RUNNING":
            self.state = "FINISHED" if self.project.state.behaviour.end_of_grid == "finished" else self.state

    def _random(self) -> Parameters:
        return {name: _drawn(each, self._draws) for name, each in (self.settings.get("parameters") or {}).items()}


def _bands(rule: Mapping[str, Any], eta: int) -> list[int]:
    """Return the steps at which hyperband compares runs."""
    if "min_iter" in rule:
        return [rule["min_iter"] * eta**power for power in range(5)]
    return [max(rule.get("max_iter", 27) // eta**power, 1) for power in range(1, rule.get("s", 1) + 1)]


def _grid(parameters: Mapping[str, Any]) -> Iterator[Parameters]:
    """Yield all combinations; the last parameter changes fastest."""
    choices = [[(name, value) for value in _choices(each)] for name, each in parameters.items()]
    return (dict(combination) for combination in itertools.product(*choices))


def _choices(parameter: Mapping[str, Any]) -> list[Any]:
    if "parameters" in parameter:
        return list(_grid(parameter["parameters"]))
    if "values" in parameter:
        return list(parameter["values"])
    if "value" in parameter:
        return [parameter["value"]]
    low, high = parameter.get("min"), parameter.get("max")
    if isinstance(low, int) and isinstance(high, int):
        return list(range(low, high + 1))
    raise Refused("a grid needs values, or whole numbers as min and max, for every parameter")


def _drawn(parameter: Mapping[str, Any], draws: random.Random) -> Any:
    """Draw a value of one parameter."""
    if "parameters" in parameter:
        return {name: _drawn(each, draws) for name, each in parameter["parameters"].items()}
    if "values" in parameter:
        return draws.choices(parameter["values"], parameter.get("probabilities"))[0]
    if "value" in parameter:
        return parameter["value"]
    kind, low, high = parameter.get("distribution", ""), parameter.get("min", 0), parameter.get("max", 1)
    if "log_uniform_values" in kind:
        value: float = math.exp(draws.uniform(math.log(low), math.log(high)))
    elif "log_uniform" in kind:
        value = math.exp(draws.uniform(low, high))
    elif "normal" in kind:
        value = draws.gauss(parameter.get("mu", 0), parameter.get("sigma", 1))
        value = math.exp(value) if "log" in kind else value
    elif kind == "int_uniform" or (not kind and isinstance(low, int) and isinstance(high, int)):
        return draws.randint(low, high)
    else:
        value = draws.uniform(low, high)
    step = parameter.get("q", 1) if kind.startswith("q_") else 0
    return round(value / step) * step if step else value


def upsert_sweep(state: "State", given: dict[str, Any]) -> Sweep:
    """Create or change a sweep. If it is to be launched, push its scheduler's item."""
    sweep = next((each for each in _sweeps(state) if given.get("id") in (each.id, each.name)), None)
    project = state.project(given.get("entityName"), given.get("projectName"))
    if sweep:
        sweep.change(given.get("state"))
        sweep.controller = given.get("controller") or sweep.controller
        sweep.scheduler = given.get("launchScheduler") or given.get("scheduler") or sweep.scheduler
    else:
        sweep = Sweep(
            short_name(),
            project,
            given["config"],
            state=given.get("state") or "PENDING",
            scheduler=given.get("launchScheduler"),
        )
        project.sweeps[sweep.name] = sweep
    if given.get("launchScheduler"):
        order = json.loads(given["launchScheduler"])
        queue = state.project(given.get("entityName"), order["run_queue_project"]).run_queue(order["queue"])
        if queue is None:
            raise Refused(f"run queue {order['queue']} not found", 404)
        variables = json.loads(given.get("templateVariableValues") or "null") or {}
        queue.push(json.loads(order["run_spec"].replace(_PLACEHOLDER, sweep.name)), None, variables)
    return sweep


def change_sweep(state: "State", given: dict[str, Any]) -> dict[str, Any]:
    """Pause, resume, stop or cancel a sweep, as a button says. Raises Refused."""
    sweep = next((each for each in _sweeps(state) if each.id == given["id"]), None)
    if sweep is None:
        raise Refused(f"sweep {given['id']} not found", 404)
    if sweep.state in _ENDED or given["state"] not in ("PAUSED", "RUNNING", "FINISHED", "CANCELED"):
        raise Refused(f"a sweep that is {sweep.state} cannot become {given['state']}", 400)
    sweep.change(given["state"])
    return {"success": True}


def create_agent(state: "State", given: dict[str, Any]) -> SweepAgent:
    """Register an agent of a sweep. Raises Refused."""
    project = state.find_project(given.get("entityName"), given.get("projectName"))
    sweep = project.sweep(given["sweep"]) if project else None
    if sweep is None:
        raise Refused(f"sweep {given['sweep']} not found", 404)
    agent = SweepAgent(opaque("Agent", state.number()), short_name(), given["host"], sweep)
    state.sweep_agents[agent.id] = agent
    return agent


def heartbeat(state: "State", given: dict[str, Any]) -> tuple[SweepAgent, list[dict[str, Any]]]:
    """Return the agent and its next commands. Raises Refused if the agent or its sweep does not exist."""
    agent = state.sweep_agents.get(given["id"])
    if agent is None or agent.sweep.name not in agent.sweep.project.sweeps:
        raise Refused("agent not found", 404)
    return agent, agent.commands(json.loads(given.get("runState") or "{}"))


def _sweeps(state: "State") -> list[Sweep]:
    return [sweep for project in state.projects.values() for sweep in project.sweeps.values()]
