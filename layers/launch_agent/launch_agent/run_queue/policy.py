"""`policy` in launch-config.yaml: what runs may ask for. `plan.policy` compares runs with it."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from launch_agent.model import Model

Patterns = list[str] | None
"""What is allowed: texts in which * stands for any characters. None allows everything, an empty list nothing."""
Most = Annotated[int, Field(ge=0)] | None
MostDollars = Annotated[float, Field(ge=0, allow_inf_nan=False)] | None


def matches(patterns: Sequence[str], value: str) -> bool:
    """Whether one of the patterns matches the whole value."""
    return any(_matches(each.split("*"), value) for each in patterns)


def _matches(pieces: Sequence[str], value: str) -> bool:
    """Whether a value has these pieces, with anything between two of them. Each is looked for once."""
    first, *others = pieces
    if not others or not value.startswith(first):
        return value == first
    at = len(first)
    for piece in others[:-1]:
        found = value.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return value.endswith(others[-1]) and at <= len(value) - len(others[-1])


class Rules(Model):
    """Rules for the runs of some queues. A rule that is not set allows everything; docs/configuration.md lists all."""

    roles: Patterns = None
    images: Patterns = None
    algorithms: Patterns = None
    base_images: Patterns = None
    instance_types: Patterns = None
    inputs: Patterns = None
    outputs: Patterns = None
    checkpoints: Patterns = None
    subnets: Patterns = None
    security_groups: Patterns = None
    environment: Patterns = None
    entry_points: Patterns = None
    arguments: Patterns = None
    job_names: Patterns = None
    git_remotes: Patterns = None
    jobs: Patterns = None
    projects: Patterns = None
    platforms: Patterns = None
    tags: dict[str, str] = Field(default_factory=dict)
    """The tags that a training job must have, with a pattern for the value of each."""
    max_instances: Most = None
    max_runtime_seconds: Most = None
    max_wait_seconds: Most = None
    max_keep_alive_seconds: Most = None
    max_volume_gb: Most = None
    max_usd_per_hour: MostDollars = None
    max_usd_per_run: MostDollars = None
    require_vpc: bool = False
    require_network_isolation: bool = False
    allow_remote_debug: bool = True
    allow_dockerfile_override: bool = True
    other_keys: list[str] = Field(default_factory=list)
    """Keys of CreateTrainingJob that no rule judges, and that may be there all the same."""


class Policy(Rules):
    """The rules for all queues, and more for some: a run has to keep both."""

    queues: dict[str, Rules] = Field(default_factory=dict)

    def of(self, queue: str) -> dict[str, Rules]:
        """Return the rules for a queue's runs, by their path in launch-config.yaml."""
        of_all = {"policy": self} if self.model_fields_set - {"queues"} else {}
        of_one = {f"policy.queues.{queue}": self.queues[queue]} if queue in self.queues else {}
        return {**of_all, **of_one}
