"""Models of W&B's answers about sweeps, and what they say."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import AwareDatetime, Field, Json

from launch_agent.clients.answers import Answer
from launch_agent.clients.wandb_answers import at
from launch_agent.model import Wire
from launch_agent.sweeps.order import Order
from launch_agent.sweeps.record import SweepRecord
from launch_agent.sweeps.scheduler import Command, Seen


class FoundSweep(NamedTuple):
    """A sweep before its scheduler starts."""

    state: str
    config: str
    """YAML."""
    runs: int
    """How many of its runs count for the run cap: all but killed and crashed ones that logged nothing."""
    earlier: Mapping[str, Any]
    """The configuration of its earlier scheduler's run."""


class Run(Wire):
    """A run of a sweep, or the run of its scheduler."""

    name: str = ""
    state: str | None = None
    lines: int = Field(alias="historyLineCount", default=0)
    config: Json[dict[str, Any]] | None = None

    @property
    def counts(self) -> bool:
        """Whether it counts for the run cap."""
        return self.lines > 0 or self.state not in ("killed", "crashed")


class RunEdge(Wire):
    """An entry of a list of runs."""

    node: Run


class Runs(Wire):
    """A list of runs."""

    edges: tuple[RunEdge, ...] = ()


class Sweep(Wire):
    """A sweep."""

    state: str
    config: str
    runs: Runs = Field(default_factory=Runs)


class Agent(Wire):
    """A sweep agent, and its last runs."""

    id: str
    runs: Runs = Field(default_factory=Runs)


class AgentEdge(Wire):
    """An entry of a list of sweep agents."""

    node: Agent


class QueuedItem(Wire):
    """A run queue item."""

    id: str
    created_at: AwareDatetime = Field(alias="createdAt")
    run_spec: Any = Field(alias="runSpec", default=None)


class ItemEdge(Wire):
    """An entry of a list of items."""

    node: QueuedItem


class PageInfo(Wire):
    """Where the next page begins, and whether there is one."""

    cursor: str | None = None
    goes_on: bool = Field(alias="goesOn", default=False)


class ItemPage(Wire):
    """A page of items."""

    edges: tuple[ItemEdge, ...] = ()
    info: PageInfo = Field(alias="pageInfo", default_factory=PageInfo)


def shown_sweeps(group: Sequence[tuple[Order, SweepRecord]], answer: Answer) -> Iterator[Seen | None]:
    """Yield what an answer shows of each sweep. In an answer with errors, what is missing may exist."""
    is_whole, first = not answer.errors and not answer.unread, 0
    for n, (_, record) in enumerate(group):
        sweep, live = at(answer.data, f"sweep{n}", "sweep"), [run for run in record.runs if run.item_id]
        runs = {run.run_id: at(answer.data, f"run{first + m}", "run", "state") for m, run in enumerate(live)}
        items = {
            str(run.item_id): at(answer.data, f"item{first + m}", "runQueue", "runQueueItem", "state")
            for m, run in enumerate(live)
        }
        first += len(live)
        if not sweep and not is_whole:
            yield None
            continue
        expected = at(sweep, "runCountExpected")
        yield Seen(
            str(at(sweep, "state") or "") if sweep else None,
            {run: state for run, state in runs.items() if state or is_whole},
            {item: state for item, state in items.items() if state or is_whole},
            is_stopped=bool(at(answer.data, f"sweep{n}", "run", "stopped")),
            has_all_runs=bool(expected) and (at(sweep, "runCount") or 0) >= expected,
        )


def commands_in(text: Any) -> list[Command]:
    """Parse the commands of a heartbeat. What cannot be read is a command that the scheduler does not know."""
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        value = [{}]
    return [each if isinstance(each, Mapping) else {} for each in (value if isinstance(value, list) else [{}])]


def waits(run: Run) -> bool:
    """Whether no process has begun a run."""
    return bool(run.name) and run.state in (None, "pending")


def command_of(run: Run) -> Command:
    """Return the command with which W&B gave a run to its agent."""
    return {
        "type": "run",
        "run_id": run.name,
        "args": {k: {"value": v} for k, v in values_in(run.config or {}).items()},
    }


def values_in(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's config without the wandb SDK's own part."""
    return {k: v.get("value") if isinstance(v, Mapping) else v for k, v in config.items() if k != "_wandb"}
