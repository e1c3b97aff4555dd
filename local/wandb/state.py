"""The server's state: entities, their projects, and the projects' contents."""

import itertools
import threading
from dataclasses import dataclass, field
from typing import Any, Literal

from local.wandb.answers import Refused, connection, opaque, timestamp
from local.wandb.artifacts import Artifact, Collection
from local.wandb.queues import LaunchAgent, ResourceConfig, RunQueue, RunQueueItem
from local.wandb.runs import Run
from local.wandb.sweeps import Sweep, SweepAgent

LAUNCH_PROJECT = "model-registry"


@dataclass(frozen=True)
class Behaviour:
    """Switches for unknown behaviour of the real server; True means that the server accepts it."""

    lease_seconds: float = 60.0
    late_ack: bool = True
    """An acknowledgement after the lease has expired, before the item is leased again."""
    repeated_ack: bool = True
    """A second acknowledgement of an item with the same run name."""
    repeated_fail: bool = True
    """Failing an item that has already failed."""
    fail_while_running: bool = True
    """Failing an acknowledged item whose run is running."""
    silence_seconds: float = 300.0
    """A running run that sends no heartbeat for longer has crashed."""
    pop_by_strangers: bool = True
    """A pop without a launch agent, or by one not registered for the queue."""
    newest_items_first: bool = False
    """The order of a queue's items in lists."""
    end_of_grid: Literal["finished", "exit", "nothing"] = "finished"
    """What an agent gets when its sweep is used up: the sweep is finished, or only an exit, or no command."""


@dataclass
class Entity:
    """A user's or a team's namespace."""

    id: str
    name: str
    is_team: bool
    state: "State" = field(repr=False)
    organization: None = None

    def default_resource_config(self, id: str) -> ResourceConfig | None:
        """Return a queue's configuration by its id."""
        return self.state.resource_configs.get(id)


@dataclass
class Project:
    """A project of an entity; the first write to it creates it."""

    entity: Entity
    name: str
    number: int
    state: "State" = field(repr=False)
    created_at: str = field(default_factory=timestamp)
    queues: dict[str, RunQueue] = field(default_factory=dict)
    runs_by_id: dict[str, Run] = field(default_factory=dict)
    sweeps: dict[str, Sweep] = field(default_factory=dict)
    collections: dict[str, Collection] = field(default_factory=dict)
    access: str = "PRIVATE"
    views: str = "{}"
    is_benchmark: bool = False

    @property
    def id(self) -> str:
        return opaque("Project", "v1", self.name, self.entity.name)

    @property
    def internal_id(self) -> str:
        """The numeric id in opaque form."""
        return opaque("ProjectInternalId", self.number)

    @property
    def entity_name(self) -> str:
        """The owner's name."""
        return self.entity.name

    @property
    def run_queues(self) -> list[RunQueue]:
        return list(self.queues.values())

    @property
    def launch_agents(self) -> list[LaunchAgent]:
        """All launch agents, if this is the launch project."""
        return [agent for agent in self.state.agents.values() if agent.project is self]

    def run_queue(self, name: str) -> RunQueue | None:
        """Return a run queue by name."""
        return self.queues.get(name)

    def run(self, name: str, desc: str | None = None) -> Run | None:
        """Return a run by its run id."""
        return self.runs_by_id.get(name)

    def bucket(self, name: str, missing_ok: bool = False) -> Run | None:
        """Return a run by its run id; older clients use this name."""
        return self.runs_by_id.get(name)

    @property
    def run_count(self) -> int:
        return len(self.runs_by_id)

    def runs(self, first: int | None = None, after: str | None = None, **_: Any) -> dict[str, Any]:
        """Return a page of the runs, oldest first. Filters are not applied: a laptop has few runs."""
        return connection(list(self.runs_by_id.values()), first, after)

    def sweep(self, sweep_name: str) -> Sweep | None:
        """Return a sweep by its short name."""
        return self.sweeps.get(sweep_name)

    def artifact_collection(self, name: str) -> Collection | None:
        """Return a collection by name."""
        return self.collections.get(name)

    def artifact_collection_membership(self, name: str) -> Any:
        """Return the membership that `collection:alias` names."""
        collection, _, alias = name.partition(":")
        found = self.collections.get(collection)
        return found.artifact_membership(alias or "latest") if found else None

    def artifact(self, name: str) -> Artifact | None:
        """Return the artifact that `collection:alias` names."""
        membership = self.artifact_collection_membership(name)
        return membership.artifact if membership else None

    def artifact_type(self, name: str) -> dict[str, Any]:
        """Return an artifact type with its collections."""
        return {
            "id": opaque("ArtifactType", name),
            "name": name,
            "artifactCollections": connection([each for each in self.collections.values() if each.type_name == name]),
        }


class State:
    """The server's whole state. `lock` guards it: requests come from many threads."""

    def __init__(self, entity: str, username: str, behaviour: Behaviour) -> None:
        """Start with one user and one team, and without projects."""
        self.behaviour = behaviour
        self.username = username
        self.user_name = username.replace("-", " ").title()
        self.lock = threading.RLock()
        self._numbers = itertools.count(3)
        self.entities = {
            entity: Entity(opaque("Entity", 2), entity, is_team=True, state=self),
            username: Entity(opaque("Entity", 1), username, is_team=False, state=self),
        }
        self.team = self.entities[entity]
        self.projects: dict[tuple[str, str], Project] = {}
        self.resource_configs: dict[str, ResourceConfig] = {}
        self.items: dict[str, RunQueueItem] = {}
        self.agents: dict[str, LaunchAgent] = {}
        self.sweep_agents: dict[str, SweepAgent] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.storage: dict[str, bytes] = {}

    def number(self) -> int:
        """Return the next number for an id; all kinds share one sequence."""
        return next(self._numbers)

    def find_project(self, entity: str | None, name: str | None) -> Project | None:
        """Return a project; None if it does not exist. The default entity is the user's."""
        return self.projects.get((entity or self.username, name or ""))

    def project(self, entity: str | None, name: str | None) -> Project:
        """Return a project; create it if needed. Raises Refused if the entity does not exist."""
        owner = self.entities.get(entity or self.username)
        if owner is None or not name:
            raise Refused(f"entity {entity} not found" if owner is None else "a project name is required", 404)
        key = (owner.name, name)
        if key not in self.projects:
            self.projects[key] = Project(owner, name, self.number(), self)
        return self.projects[key]

    @property
    def runs(self) -> dict[tuple[str, str, str], Run]:
        """All runs, by entity, project and run id."""
        return {
            (*where, name): run for where, project in self.projects.items() for name, run in project.runs_by_id.items()
        }
