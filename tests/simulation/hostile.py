"""Malicious run queue items. Each may fail, but must not affect other items."""

import base64
import random
from collections.abc import Callable
from typing import Any

from local.wandb.queues import RunQueueItem
from tests.simulation import others
from tests.simulation.world import ENTITY, IMAGE, PROJECT, World, queue_config

Kind = Callable[[World], RunQueueItem]


def nested(levels: int) -> list[Any]:
    """Return lists nested to this many levels."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def noise(length: int) -> str:
    """Return a text that compresses badly."""
    return base64.b64encode(random.Random(length).randbytes(length)).decode()[:length]


def _spec(**more: Any) -> dict[str, Any]:
    image = {"docker": {"docker_image": IMAGE}, "resource_args": {"sagemaker": queue_config()}}
    return {"entity": ENTITY, "project": PROJECT, "resource": "sagemaker", **image, **more}


def _with(**more: Any) -> Kind:
    """Queue a run with other keys in its spec."""
    return lambda made: made.push_raw(_spec(**more))


def _args(**more: Any) -> Kind:
    """Queue a run with other keys in its resource_args."""
    return _with(resource_args={"sagemaker": {**queue_config(), **more}})


def _raw(text: bytes) -> Kind:
    """Queue a run whose spec contains invalid JSON, or JSON that Python cannot read."""
    return lambda made: made.push_raw(_spec(junk=made.raw(text)))


def _as_it_is(spec: Any) -> Kind:
    return lambda made: made.push_raw(spec)


def _algorithm(**more: Any) -> Kind:
    """Queue a run of a SageMaker algorithm, which the launch agent writes to W&B itself."""
    algorithm = {"AlgorithmName": "arn:aws:sagemaker:us-east-1:123456789012:algorithm/xgb", "TrainingInputMode": "File"}
    args = {"sagemaker": {**queue_config(), "AlgorithmSpecification": algorithm}}
    return _with(resource_args=args, docker=None, **more)


def _without_ack(made: World) -> RunQueueItem:
    return made.push_raw(_spec(), run_name_refused=True)


_NAMES = {"surrogate": "\ud800", "empty": "", "NUL and newline": "a\0b\nc", "a slash": "a/b", "a path": "../../x"}
KINDS: dict[str, Kind] = {
    **{f"run_id: {name}": _with(run_id=value) for name, value in _NAMES.items()},
    "run_id: a number": _with(run_id=5),
    "run_id: an object": _with(run_id={"a": 1}),
    "run_id: 300 KB": _with(run_id="x" * 300_000),
    "run_id: 500 KB": _with(run_id=noise(500_000)),
    "run_id: 129 characters": _with(run_id="x" * 129),
    "raw: an integer of 5,000 digits": _raw(b"1" * 5_000),
    "raw: an integer of 4,000 digits": _raw(b"1" * 4_000),
    "raw: nested 994 levels": _raw(b"[" * 994 + b"]" * 994),
    "raw: nested 100,000 levels": _raw(b"[" * 100_000 + b"]" * 100_000),
    "raw: a string that does not end": _raw(b'"'),
    "raw: a number without bounds": _raw(b"1e999"),
    "raw: no number": _raw(b"NaN"),
    "raw: no UTF-8": _raw(b'"\xff"'),
    "raw: a key twice": _raw(b'{"a": 1, "a": 2}'),
    "spec: null": _as_it_is(None),
    "spec: a list": _as_it_is([1, 2]),
    "spec: a text": _as_it_is("{}"),
    "spec: empty": _as_it_is({}),
    "spec: of other types": _as_it_is({key: 5 for key in _spec()} | {"overrides": "x", "job": [], "run_id": None}),
    "spec: 40,000 empty lists": _with(junk=[[]] * 40_000),
    "spec: 2 MB of text": _with(junk="x" * 2_000_000),
    "spec: 12 MB of text": _with(junk="x" * 12_000_000),
    "spec: 500 KB of noise": _with(junk=noise(500_000)),
    "spec: a scheduler": _with(uri="placeholder-uri-scheduler"),
    "project: surrogate": _with(project="p\ud800"),
    "entity: one that W&B does not show": _with(entity=others.FORBIDDEN),
    "algorithm of an entity that cannot be written": _algorithm(entity=others.FORBIDDEN),
    "algorithm for a run of others": _algorithm(entity=others.ENTITY, project=others.PROJECT, run_id=others.RUN),
    "the acknowledgement is refused": _without_ack,
    "resource_args: null": _with(resource_args=None),
    "resource_args: a text": _with(resource_args={"sagemaker": "x"}),
    "Environment: nested": _args(Environment=nested(90)),
    "Environment: 100 entries of 512": _args(Environment={f"E{n}": noise(512) for n in range(100)}),
    "HyperParameters: 240 KB": _args(HyperParameters={f"h{n}": noise(2_400) for n in range(100)}),
    "HyperParameters: surrogate": _args(HyperParameters={"a": "\ud800"}),
    "Tags: 20,000": _args(Tags=[{"Key": str(n), "Value": ""} for n in range(20_000)]),
    "Tags: an object as key": _args(Tags=[{"Key": {"a": []}, "Value": "x"}]),
    "RoleArn: surrogate": _args(RoleArn="x\ud800"),
    "MaxRuntimeInSeconds: no float holds it": _args(StoppingCondition={"MaxRuntimeInSeconds": 10**400}),
    "MaxRuntimeInSeconds: two billion": _args(StoppingCondition={"MaxRuntimeInSeconds": 2_000_000_000}),
    "overrides.dockerfile: 300 KB": _with(overrides={"dockerfile": "d" * 300_000}),
    "TrainingJobName: a job of others": _args(TrainingJobName=others.FINISHED_JOB),
    "TrainingJobName: a live job of others": _args(TrainingJobName=others.LIVE_JOB),
}
