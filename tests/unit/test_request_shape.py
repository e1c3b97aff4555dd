"""The check against AWS's service model, for inputs that the golden cases do not cover."""

import re
import unicodedata

import pytest
import regex

from launch_agent.clients.service_model import create_training_job_shape
from launch_agent.plan.request_shape import Reading, compiled_pattern, shape_faults

SHAPE = create_training_job_shape()
MINIMAL = {
    "TrainingJobName": "a",
    "RoleArn": "arn:aws:iam::123456789012:role/Role",
    "OutputDataConfig": {"S3OutputPath": "s3://bucket"},
}


def faults(**changes: object) -> list[str]:
    return shape_faults({**MINIMAL, **changes}, SHAPE, Reading(open_enums={"TrainingInstanceType"}))


def test_a_request_within_the_model_has_no_faults() -> None:
    assert faults() == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"Environment": {f"V{i}": "" for i in range(101)}}, "Environment has 101 entries. It must be at most 100."),
        ({"Environment": {"A": "x" * 513}}, "Environment.A has 513 characters. It must be at most 512."),
        ({"HyperParameters": {"k" * 257: "1"}}, "a key of HyperParameters has 257 characters. It must be at most 256."),
        ({"Tags": [{"Key": "k", "Value": "${x}"}]}, 'Tags[0].Value is "${x}", which does not match'),
        ({"EnableNetworkIsolation": "yes"}, 'EnableNetworkIsolation must be true or false, not "yes".'),
        ({"ResourceConfig": []}, "ResourceConfig must be an object, not a list."),
        ({"Tags": {}}, "Tags must be a list, not an object."),
        ({"Tags": [{"Key": "k", "Value": None}]}, "Tags[0].Value is missing."),
        ({"VpcConfig": None}, "VpcConfig is null. Leave the key out, or give it a value."),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": True}}, "MaxRuntimeInSeconds must be a whole number, not True."),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 0}}, "MaxRuntimeInSeconds is 0. It must be at least 1."),
        ({"zzzzzz": 1}, "zzzzzz is not a key that SageMaker knows. Leave it out."),
        (
            {"AlgorithmSpecification": {"TrainingInputMode": "Fast"}},
            'TrainingInputMode is "Fast". It can be Pipe, File or FastFile.',
        ),
    ],
)
def test_each_kind_of_fault_is_said_in_words(changes: dict[str, object], fault: str) -> None:
    assert [each for each in faults(**changes) if fault in each], faults(**changes)


def test_an_instance_type_newer_than_the_model_passes() -> None:
    config = {"InstanceType": "ml.brand-new.96xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}
    assert faults(ResourceConfig=config) == []
    assert shape_faults({**MINIMAL, "ResourceConfig": config}, SHAPE) != []


def test_the_unicode_classes_of_the_model_are_translated_faithfully() -> None:
    """Compare all characters of this Python's Unicode version with a library that has the classes."""
    pattern = r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)"
    ours, theirs = compiled_pattern(pattern), regex.compile(pattern)
    known = (char for char in map(chr, range(0x110000)) if unicodedata.category(char) not in ("Cn", "Cs"))
    assert [char for char in known if bool(ours.fullmatch(char)) != bool(theirs.fullmatch(char))] == []


def test_the_model_has_no_unicode_class_but_the_translated_ones() -> None:
    found: set[str] = set()
    seen: set[str] = set()

    def walk(shape: object) -> None:
        name = shape.name  # type: ignore[attr-defined]  # a botocore Shape
        if name in seen:
            return
        seen.add(name)
        found.update(re.findall(r"\\[pP]\{\w+\}", shape.metadata.get("pattern", "")))  # type: ignore[attr-defined]
        members = getattr(shape, "members", {})
        for part in (*members.values(), *(getattr(shape, each, None) for each in ("member", "key", "value"))):
            if part is not None:
                walk(part)

    walk(SHAPE)
    assert found <= {r"\p{L}", r"\p{N}", r"\p{Z}", r"\p{Alnum}"}
