"""`secure_mode`: a run cannot change the program, the code or the image that its job and its queue name.

In a run spec, the queue's configuration and that of the run are merged, so the run spec is compared with the queue's
configuration in W&B.
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
_OF_ALGORITHM = re.compile("AlgorithmName|ContainerArguments|ContainerEntrypoint|TrainingImage|TrainingImageConfig")
_BLOCKS = ("DebugRuleConfigurations", "ProfilerRuleConfigurations", "RemoteDebugConfig")
_VARIABLES = re.compile(
    "(BASH|GCONV_|GIT_|GLIBC_|JAVA_|JDK_|LD_|NODE_|OPENSSL_|PERL5|PIP_|PYTHON|RUBY|SAGEMAKER_|SHELL|SM_|UV_|ZDOT|_JAVA_).*"
    "|BROWSER|CUDA_INJECTION64_PATH|ENV|IFS|PATH|PROMPT_COMMAND|PS[0-4]|.*_PLUGIN"
)
"""Variables that make another program, or other code, run in the same image."""
_HARMLESS = ("PYTHONDONTWRITEBYTECODE", "PYTHONFAULTHANDLER", "PYTHONHASHSEED", "PYTHONUNBUFFERED", "PYTHONUTF8")
_HYPERPARAMETERS = re.compile("sagemaker_.*", re.DOTALL)
"""Hyperparameters that make SageMaker's own images run other code, or run it otherwise."""


def secure_mode_faults(source: Source, block: QueueBlock, queue: Mapping[str, Any] | None) -> Iterator[Fault]:
    """Yield a fault for each thing that secure mode does not let a run change.

    `queue` is the queue's own block in W&B; None if it is not known.
    """
    overrides, job = source.spec.overrides, source.artifact
    own_entry_point = job.source.entrypoint if job else None
    if overrides.entry_point and overrides.entry_point != own_entry_point:
        yield _not_allowed("overrides.entry_point")
    if job and source.spec.image:
        yield _not_allowed("docker.docker_image", "the job has an image")
    run, own = _what_runs(block.raw), _what_runs(queue or {})
    for path, value in run.items():
        if not _is_from(own.get(path), value):
            known = queue is not None
            yield _not_allowed(
                path, "it differs from the queue's configuration" if known else "the job does not set it"
            )
    if overrides.args and not own_entry_point and f"{_ALGORITHM}.ContainerEntrypoint" not in own:
        yield _not_allowed("overrides.args", "without an entry point of the job or the queue, they are the command")


def _not_allowed(path: str, why: str = "") -> Fault:
    reason = f": {why}" if why else ""
    return Fault(path, f"{path} is not allowed{reason}; the launch agent runs in secure mode.")


def _what_runs(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide what runs, by path."""
    args = sagemaker_args(raw)
    nested = {_ALGORITHM: _OF_ALGORITHM, "Environment": _VARIABLES, "HyperParameters": _HYPERPARAMETERS}
    picked = {key: args[key] for key in _BLOCKS if key in args}
    if raw.get("builder"):
        picked["builder"] = raw["builder"]
    for key, names in nested.items():
        inner = args.get(key)
        for name, value in inner.items() if isinstance(inner, Mapping) else ():
            if names.fullmatch(name) and name not in _HARMLESS and value not in (None, ""):
                picked[f"{key}.{shown(name)}"] = value
    return picked


def _is_from(template: Any, value: Any) -> bool:
    """Whether a value is the queue's own, or differs from it only in the values of its template variables."""
    if isinstance(template, str) and _VARIABLE.search(template):
        fixed = _VARIABLE.split(template)
        return not any(fixed) or (isinstance(value, str) and _fits(fixed, value))
    if isinstance(template, Mapping) and isinstance(value, Mapping):
        return template.keys() == value.keys() and all(_is_from(template[key], value[key]) for key in template)
    if isinstance(template, list) and isinstance(value, list):
        return len(template) == len(value) and all(
            _is_from(one, other) for one, other in zip(template, value, strict=True)
        )
    return bool(template == value)


def _fits(fixed: list[str], text: str) -> bool:
    """Whether a text has these parts, from its beginning to its end and in this order, on the same lines."""
    first, *others, last = fixed
    at = len(first) if text.startswith(first) else len(text) + 1
    for part in others:
        found = text.find(part, at)
        at = found + len(part) if found >= 0 else len(text) + 1
    same_lines = text.count("\n") == sum(part.count("\n") for part in fixed)
    return at <= len(text) - len(last) and text.endswith(last) and same_lines
