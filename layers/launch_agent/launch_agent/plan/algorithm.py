"""What a training job runs: an image with a command, or one of SageMaker's algorithms, which do not log to W&B."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from launch_agent.deployment import ecr_address
from launch_agent.errors import InvalidRunSpec, UnsupportedJobSource
from launch_agent.model import Model
from launch_agent.plan.queue_block import QueueBlock
from launch_agent.plan.source import Source

_SCRIPT = ("sagemaker_program", "SAGEMAKER_PROGRAM")
"""The hyperparameter and the variable that name the script for SageMaker's images to run."""


class Algorithm(Model):
    """The `AlgorithmSpecification` of the training job, and the image that the run spec or its job names."""

    specification: dict[str, Any]
    job_image: str | None = None
    is_provided: bool
    """Whether it never calls wandb.init, so that the agent writes its run."""
    takes_channel: bool
    """Whether it may have an input channel of ours. Algorithms of SageMaker's, and algorithm resources, refuse channels
    that they do not know.
    """


def algorithm(args: Mapping[str, Any], source: Source, block: QueueBlock) -> Algorithm:
    """Choose what runs: the queue's algorithm or image if it names one, else the job's image.

    Raises UnsupportedJobSource if there is no image, and InvalidRunSpec if AlgorithmSpecification is not an object.
    """
    specification = _specification(args, source)
    calls_init, is_ready_made = block.settings.calls_wandb_init, _knows_nothing_of_wandb(specification, args)
    return Algorithm(
        specification=specification,
        job_image=source.image,
        is_provided=not calls_init if calls_init is not None else is_ready_made,
        takes_channel=not is_ready_made,
    )


def _specification(args: Mapping[str, Any], source: Source) -> dict[str, Any]:
    own = args.get("AlgorithmSpecification", {})
    if not isinstance(own, Mapping):
        raise InvalidRunSpec(['AlgorithmSpecification must be an object, for example {"TrainingInputMode": "File"}.'])
    given = {"TrainingInputMode": "File", **{key: value for key, value in own.items() if value not in (None, "")}}
    if "AlgorithmName" in given:
        return given
    overrides = source.spec.overrides
    entry_point = overrides.entry_point
    if given.setdefault("TrainingImage", source.image) == source.image:
        if source.image is None:
            raise UnsupportedJobSource(source.why_no_image)
        entry_point = source.entry_point
    command = {"ContainerEntrypoint": entry_point, "ContainerArguments": overrides.args}
    return {**given, **{key: value for key, value in command.items() if value}}


def _knows_nothing_of_wandb(specification: Mapping[str, Any], args: Mapping[str, Any]) -> bool:
    """Whether it is an algorithm resource, or one of Amazon's algorithm images without a script of the user's."""
    if "AlgorithmName" in specification:
        return True
    if not is_algorithm_image(specification.get("TrainingImage")) or "ContainerEntrypoint" in specification:
        return False
    given = [args.get(key) for key in ("HyperParameters", "Environment")]
    return not any(name in names for names in given if isinstance(names, Mapping) for name in _SCRIPT)


def is_algorithm_image(image: object) -> bool:
    """Whether an image is one of those of SageMaker's built-in algorithms.

    `make lock` writes the table of these images from the lists in AWS's sagemaker-core package.
    """
    address = ecr_address(image) if isinstance(image, str) else None
    return address is not None and address.account in _accounts().get(address.repository, ())


@cache
def _accounts() -> dict[str, list[str]]:
    table: dict[str, list[str]] = json.loads(Path(__file__).with_name("algorithm_images.json").read_text())
    return table
