"""`resource_args.sagemaker`: the block of a run spec that configures its training job, merged from queue and run."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from launch_agent.errors import InvalidRunSpec
from launch_agent.run_queue.items import ItemRef, RunSpec

RESOURCE = "sagemaker"
_FOR_LAUNCH_AGENTS = ("EcrRepoName", "region", "profile", "builder")


class QueueBlock(NamedTuple):
    """The block as it came, with its macros, and the queue it came from."""

    queue: str
    raw: Mapping[str, Any]

    @property
    def args(self) -> dict[str, Any]:
        """The keys for CreateTrainingJob, spelled as SageMaker does, without nulls."""
        return sagemaker_args(self.raw)

    def faults(self) -> Iterator[str]:
        """Say which keys are there twice."""
        args = sagemaker_args({key: key for key in self.raw})
        for key in self.raw:
            spelt = next(iter(sagemaker_args({key: key})), None)
            if spelt is not None and args[spelt] != key:
                yield f"{spelt} is there twice, as {key} and as {args[spelt]}. Keep one."


def queue_block(spec: RunSpec, item: ItemRef) -> QueueBlock:
    """Return the block of a run spec. Raises InvalidRunSpec when there is none."""
    block = spec.resource_args.get(RESOURCE)
    if not isinstance(block, Mapping):
        fault = (
            f'queue "{item.queue}" gives no resource_args.{RESOURCE}. Choose SageMaker as the queue\'s resource, and '
            "give it a configuration with RoleArn, ResourceConfig, OutputDataConfig and StoppingCondition."
        )
        raise InvalidRunSpec([fault], queue=item.queue)
    return QueueBlock(item.queue, block)


def sagemaker_args(block: Mapping[str, Any]) -> dict[str, Any]:
    """Spell the keys of the block as SageMaker does, and leave out nulls and what is for launch agents."""
    return {
        camel_case(key): value for key, value in block.items() if value is not None and key not in _FOR_LAUNCH_AGENTS
    }


def camel_case(key: str) -> str:
    """Spell a snake_case key as SageMaker does. A key without underscore stays, right or wrong."""
    return "".join(part.title() for part in key.split("_")) if "_" in key else key
