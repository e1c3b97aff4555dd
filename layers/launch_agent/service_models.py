"""Writes the parts of botocore's service models that the functions use: python service_models.py BOTOCORE FOLDER.

A cold start parses the model of each service that the function calls, and the list of all services' endpoints. With
only the operations that are used, this takes a third of the time and 25 MB less. botocore reads a model from the first
of its data paths that has it, so other services, and everything except these models, come from Lambda's runtime
(https://docs.aws.amazon.com/botocore/latest/reference/loaders.html).
"""

import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

OPERATIONS = {
    "codebuild": ("BatchGetBuilds",),
    "dynamodb": ("DeleteItem", "GetItem", "PutItem", "Query", "TransactWriteItems", "UpdateItem"),
    "ecr": ("BatchGetImage", "DescribeImages", "GetAuthorizationToken", "GetDownloadUrlForLayer"),
    "events": ("PutEvents",),
    "logs": ("DescribeLogStreams", "GetLogEvents"),
    "s3": ("DeleteObject", "GetObject", "HeadBucket", "ListObjectsV2", "PutObject"),
    "sagemaker": ("CreateTrainingJob", "DescribeTrainingJob", "ListTags", "Search", "StopTrainingJob"),
    "secretsmanager": ("GetSecretValue",),
    "sqs": ("SendMessageBatch",),
    "stepfunctions": (
        "DescribeExecution",
        "ListExecutions",
        "SendTaskFailure",
        "SendTaskSuccess",
        "StartExecution",
        "StopExecution",
    ),
}
"""The operations that the functions and the builder use, by botocore's name of the service."""

_OTHER_ENDPOINTS = {
    "api.ecr-public",
    "cloudformation",
    "ec2",
    "iam",
    "kms",
    "lambda",
    "api.pricing",
    "servicequotas",
    "sts",
}
"""Services that functions call rarely: their models come from the runtime."""


def write(botocore: Path, folder: Path) -> None:
    """Write the models of a botocore package into a folder that can be one of botocore's data paths."""
    data = botocore / "data"
    prefixes = set(_OTHER_ENDPOINTS)
    for service, names in OPERATIONS.items():
        version = max(path.name for path in (data / service).iterdir())
        model = _read(data / service / version, "service-2")
        prefixes.add(model["metadata"]["endpointPrefix"])
        operations = {name: model["operations"][name] for name in names}
        used = set(_shapes(operations.values(), model["shapes"]))
        shapes = {name: shape for name, shape in model["shapes"].items() if name in used}
        parts = {"operations": operations, "shapes": shapes, "documentation": ""}
        _write(folder / service / version / "service-2.json", {**model, **_without_documentation(parts)})
    endpoints = _read(data, "endpoints")
    for partition in endpoints["partitions"]:
        partition["services"] = {name: each for name, each in partition["services"].items() if name in prefixes}
    _write(folder / "endpoints.json", endpoints)


def _read(folder: Path, name: str) -> Any:
    packed = folder / f"{name}.json.gz"
    return json.loads(
        gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / f"{name}.json").read_bytes()
    )


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, separators=(",", ":")))


def _without_documentation(value: Any) -> Any:
    """Return operations and shapes without their texts. A member with the name `documentation` is not a text."""
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if key != "documentation" or not isinstance(each, str)}
        return {key: _without_documentation(each) for key, each in kept.items()}
    return [_without_documentation(each) for each in value] if isinstance(value, list) else value


def _shapes(values: Iterable[Any], shapes: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the shapes that operations refer to, and of those that these refer to."""
    pending, seen = list(values), set[str]()
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            name = value.get("shape")
            if isinstance(name, str) and name in shapes and name not in seen:
                seen.add(name)
                pending.append(shapes[name])
                yield name
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
