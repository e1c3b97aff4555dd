"""Parses what a sweep scheduler is asked to do: its run queue item, and the configuration of its sweep."""

import ast
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, ValidationError

from launch_agent.errors import InvalidRunSpec
from launch_agent.model import Wire, faults_of, json_fault, kind
from launch_agent.run_queue.items import RunSpec
from launch_agent.sweeps.order import Order

DEFAULT_WORKERS, MAX_WORKERS = 8, 500
_PROGRAM = "${program}"
_DEFAULT_PRIORITY = 2
_LONGEST_CONFIG = 500_000
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Overrides(Wire):
    args: list[Any] | None = None
    run_config: dict[str, Any] | None = None


class _Launch(Wire):
    overrides: _Overrides = Field(default_factory=_Overrides)
    docker: dict[str, Any] | None = None
    priority: int = _DEFAULT_PRIORITY
    queue_entity: str | None = None


class _Scheduler(Wire):
    num_workers: Any = None


class _RunConfig(Wire):
    launch: dict[str, Any] = Field(default_factory=dict)
    scheduler: _Scheduler = Field(default_factory=_Scheduler)


def _run_cap(value: object) -> object:
    return value or None  # 0 means no cap


class SweepConfig(Wire):
    """The part of a sweep's configuration that its scheduler needs."""

    job: str | None = None
    image_uri: str | None = None
    program: str | None = None
    command: list[Any] | None = None
    run_cap: Annotated[int | None, Field(ge=1), BeforeValidator(_run_cap)] = None


def read_config(text: str) -> Any:
    """Parse a sweep's configuration, which W&B stores as YAML. Raises InvalidRunSpec."""
    try:
        value = yaml.load(text, Loader=_LOADER) if len(text) <= _LONGEST_CONFIG else None  # noqa: S506 - a safe loader
        fault = json_fault(value) if value else f"it has more than {_LONGEST_CONFIG:,} characters."
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError, RecursionError):
        fault = "it is not YAML."
    if fault:
        raise InvalidRunSpec([f"the sweep's configuration cannot be read: {fault} Create the sweep again."])
    return value


def parse_order(
    spec: RunSpec, config: object, *, earlier: Mapping[str, Any] | None = None, runs_before: int = 0
) -> Order:
    """Return what a scheduler item and its sweep's configuration ask for.

    `earlier` is the configuration of the sweep's earlier scheduler, whose `launch` block is used if the item has none:
    `wandb launch-sweep --resume_id` queues an item without it. Raises InvalidRunSpec with every fault.
    """
    given = {"launch": (earlier or {}).get("launch"), **(spec.overrides.run_config or {})}
    where = "overrides.run_config"
    faults: list[str] = []
    run_config = _parsed(_RunConfig, given, where, faults) or _RunConfig()
    launch = _parsed(_Launch, run_config.launch, f"{where}.launch", faults) or _Launch()
    sweep = _parsed(SweepConfig, config, "the sweep's configuration", faults) or SweepConfig()
    flags = _flags(spec.overrides.args or [])
    entry_point = spec.overrides.entry_point or []
    sweep_id = spec.run_id or (entry_point[2] if len(entry_point) > 2 else None)
    job, image_uri = flags.get("job") or sweep.job, flags.get("image_uri") or sweep.image_uri
    workers = _workers(run_config.scheduler.num_workers)
    faults += _missing(sweep_id, flags.get("queue"), job, image_uri)
    faults += _impossible(workers, sweep)
    if faults:
        raise InvalidRunSpec(faults)
    return Order(
        sweep_id=sweep_id or "",
        entity=spec.entity,
        project=flags.get("project") or spec.project,
        queue=flags["queue"],
        queue_entity=launch.queue_entity or spec.entity,
        author=flags.get("author"),
        job=job,
        image_uri=image_uri,
        workers=workers,
        priority=launch.priority,
        launch=run_config.launch,
        command=tuple(sweep.command or ()),
        program=sweep.program,
        run_cap=sweep.run_cap,
        runs_before=runs_before,
    )


def _parsed(model: type[Any], value: object, where: str, faults: list[str]) -> Any:
    """Parse a block, or add its faults to the list and return None."""
    if not isinstance(value, Mapping):
        faults.append(f"{where} is {kind(value)}: expected an object.")
        return None
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults.extend(faults_of(error, where))
        return None


def _flags(args: Sequence[str]) -> dict[str, str]:
    """Return the values of `--name value` pairs. `wandb launch-sweep` writes most values as Python strings, in quotes.

    https://github.com/wandb/wandb/blob/v0.31.0/wandb/sdk/launch/sweeps/utils.py, construct_scheduler_args
    """
    pairs = itertools.pairwise(args)
    return {name[2:].replace("-", "_"): _unquoted(value) for name, value in pairs if name.startswith("--")}


def _unquoted(text: str) -> str:
    if len(text) < 2 or text[0] not in "'\"" or text[-1] != text[0]:
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text[1:-1]
    return value if isinstance(value, str) else text[1:-1]


def _workers(asked: object) -> int:
    text = str(asked)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else DEFAULT_WORKERS


def _missing(sweep_id: str | None, queue: str | None, job: str | None, image_uri: str | None) -> Iterator[str]:
    if not sweep_id:
        yield "the scheduler's sweep is not named. Start the sweep again with `wandb launch-sweep`."
    if not queue:
        yield "overrides.args has no --queue for the sweep's runs. Start the sweep again with `wandb launch-sweep`."
    if not job and not image_uri:
        yield "the sweep names no job and no image_uri. Add one of them to the sweep's file."
    if job and image_uri:
        yield "the sweep names both a job and an image_uri. Remove one of them from the sweep's file."


def _impossible(workers: int, sweep: SweepConfig) -> Iterator[str]:
    if not 1 <= workers <= MAX_WORKERS:
        yield f"scheduler.num_workers is {workers}: no run would start. Use 1 to {MAX_WORKERS} workers."
    if _PROGRAM in (sweep.command or []) and not sweep.program:
        yield f"the sweep's command has {_PROGRAM}, and the sweep has no program. Add program to the sweep's file."
