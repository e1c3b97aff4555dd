"""`secure_mode`: what runs is the job's own or the queue's, and nothing that a run says changes it.

A run spec comes with the queue's configuration and what was pushed with the run merged into one, so it is compared with
the queue's configuration as W&B has it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from launch_agent.model import shown
from launch_agent.plan.fault import Fault
from launch_agent.plan.queue_block import QueueBlock, sagemaker_args
from launch_agent.plan.source import Source

_VARIABLE = re.compile(r"\{\{[^{}]*\}\}")
_ALGORITHM = "AlgorithmSpecification"
_OF_ALGORITHM = ("AlgorithmName", "ContainerArguments", "ContainerEntrypoint", "TrainingImage", "TrainingImageConfig")
_BLOCKS = ("DebugRuleConfigurations", "ProfilerRuleConfigurations", "RemoteDebugConfig")
_VARIABLES = (
    *("BASH_ENV", "ENV", "LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD", "PATH", "PYTHONBREAKPOINT", "PYTHONHOME"),
    *("PYTHONPATH", "PYTHONSTARTUP", "PYTHONUSERBASE", "SAGEMAKER_PROGRAM", "SAGEMAKER_SUBMIT_DIRECTORY"),
)
"""Variables by which another program, or other code, runs in the same image."""
_HYPERPARAMETERS = ("sagemaker_program", "sagemaker_submit_directory")
"""What SageMaker's own images run instead of what is in them."""


def policy_faults(source: Source, block: QueueBlock, queue: Mapping[str, Any] | None) -> Iterator[Fault]:
    """Say what a run changes of what runs. `queue` is the queue's own block in W&B; None where that is not known."""
    overrides, job = source.spec.overrides, source.artifact
    own_entry_point = job.source.entrypoint if job else None
    if overrides.entry_point and overrides.entry_point != own_entry_point:
        yield _not_allowed("overrides.entry_point")
    if job and source.spec.image:
        yield _not_allowed("docker.docker_image", "the job has an image")
    run, own = _what_runs(block.raw), _what_runs(queue or {})
    for path, value in run.items():
        if not _is_from(own.get(path), value):
            yield _not_allowed(path, "it is not the queue's" if queue is not None else "it is not the job's")
    if overrides.args and not own_entry_point and f"{_ALGORITHM}.ContainerEntrypoint" not in own:
        yield _not_allowed("overrides.args", "without an entry point of the job's or the queue's they are the command")


def _not_allowed(path: str, why: str = "") -> Fault:
    reason = f": {why}" if why else ""
    return Fault(path, f"{path} is not allowed{reason}; the launch agent runs in secure mode.")


def _what_runs(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Pick what says what runs, by its path."""
    args = sagemaker_args(raw)
    nested = {_ALGORITHM: _OF_ALGORITHM, "Environment": _VARIABLES, "HyperParameters": _HYPERPARAMETERS}
    picked = {key: args[key] for key in _BLOCKS if key in args}
    if raw.get("builder"):
        picked["builder"] = raw["builder"]
    for key, names in nested.items():
        inner = args.get(key)
        if isinstance(inner, Mapping):
            picked |= {f"{key}.{shown(name)}": inner[name] for name in names if inner.get(name) not in (None, "")}
    return picked


def _is_from(template: Any, value: Any) -> bool:
    """Whether a value is the queue's, or what W&B made of its template variables, within the bounds the queue sets."""
    if isinstance(template, str) and _VARIABLE.search(template):
        fixed = [re.escape(part) for part in _VARIABLE.split(template)]
        return not any(fixed) or (isinstance(value, str) and bool(re.fullmatch(".*".join(fixed), value)))
    if isinstance(template, Mapping) and isinstance(value, Mapping):
        return template.keys() == value.keys() and all(_is_from(template[key], value[key]) for key in template)
    if isinstance(template, list) and isinstance(value, list):
        return len(template) == len(value) and all(
            _is_from(one, other) for one, other in zip(template, value, strict=True)
        )
    return bool(template == value)
