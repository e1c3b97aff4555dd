"""`resource_args.sagemaker`: the block of a run spec that configures the training job, merged from queue and run."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import Field, ValidationError

from launch_agent.errors import InvalidRunSpec
from launch_agent.model import Model, faults_of, shown
from launch_agent.run_queue.items import RESOURCE, ItemRef, RunSpec

_SETTINGS = "launch_agent"
_FOR_LAUNCH_AGENTS = ("EcrRepoName", "region", "profile", "builder", _SETTINGS)
_REQUIRED = ("RoleArn", "OutputDataConfig", "ResourceConfig", "StoppingCondition")


class Settings(Model):
    """The `launch_agent` block: settings for this launch agent. It is never sent to SageMaker."""

    calls_wandb_init: bool | None = None
    """Whether the container calls wandb.init. If null, its image or algorithm decides."""
    start_through_sh: bool = True
    """Whether the container may start through /bin/sh, which sets variables that the request does not have."""


class QueueBlock(NamedTuple):
    """The block as in the run spec, macros not replaced, and the queue it is from."""

    queue: str
    raw: Mapping[str, Any]
    settings: Settings = Field(default_factory=Settings)

    @property
    def args(self) -> dict[str, Any]:
        """The keys for CreateTrainingJob, in SageMaker's spelling, without nulls."""
        return sagemaker_args(self.raw)

    def in_own_words(self, fault: str) -> str:
        """Return a fault whose first word is a key, with that key as the queue spells it."""
        spelt = re.match(r"\w+", fault)
        own = {camel_case(key): shown(key) for key in self.raw}.get(spelt[0]) if spelt else None
        return f"{own}{fault[spelt.end() :]}" if spelt and own else fault

    def faults(self) -> Iterator[str]:
        """Yield a fault for each key that is there in two spellings."""
        args = sagemaker_args({key: key for key in self.raw})
        for key in self.raw:
            spelt = next(iter(sagemaker_args({key: key})), None)
            if spelt is not None and args[spelt] != key:
                yield f"{shown(spelt)} is there twice, as {shown(key)} and as {shown(args[spelt])}. Keep one."


def queue_block(spec: RunSpec, item: ItemRef) -> QueueBlock:
    """Return the block of a run spec. Raises InvalidRunSpec if it is missing, at the wrong level, or not valid."""
    block = spec.resource_args.get(RESOURCE)
    if not isinstance(block, Mapping):
        raise InvalidRunSpec([_no_block(spec, item)], queue=item.queue)
    fault = _too_deep(block)
    if fault:
        raise InvalidRunSpec([fault], queue=item.queue)
    try:
        return QueueBlock(item.queue, block, Settings.model_validate(block.get(_SETTINGS) or {}, strict=True))
    except ValidationError as error:
        raise InvalidRunSpec(list(faults_of(error, _SETTINGS)), queue=item.queue) from None


def _no_block(spec: RunSpec, item: ItemRef) -> str:
    if _configures(spec.resource_args):
        return (
            f"the configuration is one level too high: resource_args has {_named(spec.resource_args)}, which belong in "
            f"resource_args.{RESOURCE}."
        )
    return (
        f'queue "{item.queue}" has no resource_args.{RESOURCE}. Choose SageMaker as the queue\'s resource, and add a '
        "configuration with RoleArn, ResourceConfig, OutputDataConfig and StoppingCondition."
    )


def _too_deep(block: Mapping[str, Any]) -> str | None:
    """Return the fault of a configuration that is nested in keys that SageMaker does not have, or None."""
    here = {f"resource_args.{RESOURCE}": block}
    for count in ("", "one level", "two levels", "three levels"):
        found = next(((path, inner) for path, inner in here.items() if _configures(inner)), None)
        if found and not count:
            return None
        if found:
            return (
                f"the configuration is {count} too deep: {found[0]} has {_named(found[1])}, which belong in "
                f"resource_args.{RESOURCE} itself. In the queue's configuration, remove the outer braces."
            )
        here = {
            f"{path}.{shown(key)}": value
            for path, inner in here.items()
            for key, value in inner.items()
            if isinstance(value, Mapping)
        }
    return None


def _configures(block: Mapping[str, Any]) -> bool:
    return len(_required_in(block)) > 1


def _required_in(block: Mapping[str, Any]) -> list[str]:
    return [key for key in _REQUIRED if key in sagemaker_args(block)]


def _named(block: Mapping[str, Any]) -> str:
    keys = _required_in(block)
    return f"{', '.join(keys[:-1])} and {keys[-1]}"


def sagemaker_args(block: Mapping[str, Any]) -> dict[str, Any]:
    """Return the block in SageMaker's spelling, without nulls and without the keys for launch agents."""
    return {
        camel_case(key): value for key, value in block.items() if value is not None and key not in _FOR_LAUNCH_AGENTS
    }


def camel_case(key: str) -> str:
    """Convert a snake_case key to SageMaker's spelling. A key without an underscore does not change."""
    return "".join(part.title() for part in key.split("_")) if "_" in key else key
