"""Texts that users choose. What reads them takes time in proportion to their length, up to 1 MB.

For each pattern, the table has the text that makes a search try again and again. A time says little on a busy machine,
so the growth is compared: where the text doubles, the processor time may triple.
"""

import ast
import json
import re
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from launch_agent.builder.git import apply
from launch_agent.builder.install import Installer
from launch_agent.builder.notebook import script_of
from launch_agent.builder.requirements import find_requirements
from launch_agent.clients.answers import Unreadable, read_answer, read_json, text_in
from launch_agent.deployment import ecr_address
from launch_agent.errors import LaunchError
from launch_agent.image.build_failure import Build, build_id_in, explain
from launch_agent.image.dockerfile import entry_script
from launch_agent.image.recipe import QueueBuilder, git_code, parse_queue_builder, python_version
from launch_agent.outcome.log_lines import headline, plain
from launch_agent.outcome.report import capacity_warning
from launch_agent.plan.launch_plan import plan_launch
from launch_agent.plan.macros import macros_in
from launch_agent.plan.secret_references import filled
from launch_agent.remedies import explained
from launch_agent.run_queue.commands import Command
from launch_agent.run_queue.configured_queue import has_variable
from launch_agent.run_queue.items import parse_run_spec
from launch_agent.run_queue.job_artifact import parse_job_artifact
from launch_agent.run_queue.launch_config import parse_launch_config
from launch_agent.run_queue.policy import matches
from launch_agent.run_queue.secret_values import secret_values
from launch_agent.safe_text import forget_secrets, keep_secret, safe
from launch_agent.training.container import netrc
from launch_agent.training.echoes import without_echoes, without_shown_values
from tests.documents import ROOT
from tests.golden.cases import item_of, load
from tests.make import agent

PACKAGE = ROOT / "layers/launch_agent/launch_agent"
SPEC = load("image-uri", "run_spec.json")
SECRET = "a" * 100_000
LONGEST = 1_000_000


def planned(*path: str, config: str = "queues: [sm]") -> Callable[[str], object]:
    """Return a function that plans a run with its argument at this place of the run spec."""

    def plan(text: str) -> object:
        spec = json.loads(json.dumps(SPEC))
        place = spec
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = [{"Key": text, "Value": text}] if path[-1] == "Tags" else text
        return plan_launch(parse_run_spec(spec), None, item_of(spec), agent(config))

    return plan


def args(*path: str, config: str = "queues: [sm]") -> Callable[[str], object]:
    """Return a function that plans a run with its argument in the queue's configuration."""
    return planned("resource_args", "sagemaker", *path, config=config)


def git_job(remote: str) -> object:
    source = {"git": {"remote": remote, "commit": "a" * 40}, "entrypoint": ["python", "train.py"]}
    job = parse_job_artifact("repo", {"source_type": "repo", "source": source}, artifact_id="j", digest="d")
    return git_code(job, "train", QueueBuilder())


def patched(patch: str) -> object:
    with tempfile.TemporaryDirectory() as folder:
        return apply(patch.encode(), Path(folder))


def hidden(text: str) -> str:
    forget_secrets()
    keep_secret(SECRET, "launchlaunch")
    return safe(text)


def notebook(source: str) -> object:
    return script_of(json.dumps({"nbformat": 4, "cells": [{"cell_type": "code", "source": source}]}).encode())


def build(line: str) -> object:
    return build_id_in(line), explain(Build.model_validate({"id": "b", "buildStatus": "FAILED"}), [line])


Row = tuple[Callable[[str], object], str, str, str]
ROWS: dict[str, list[Row]] = {
    "training.echoes": [
        (without_echoes, "", "Value '", ""),
        (without_echoes, "", "Value '[", ""),
        (without_echoes, "", "Value '[]' at ", ""),
        (without_echoes, "", "Value '{a}' at '", ""),
        (without_shown_values, "", ", value: ", ""),
        (without_shown_values, "", ", value: a, ", ""),
    ],
    "run_queue.policy": [
        (lambda text: matches(["*a*a*a*a*b"], text), "", "a", "c"),
        (lambda text: matches(["*ab*ab*ab*"], text), "", "a", ""),
    ],
    "training.container": [
        (lambda text: netrc(text, "key"), "", "a", ""),
        (lambda text: netrc(text, "key"), "https://", ":1", "x"),
        (lambda text: netrc("https://host", text), "", "a", "\n"),
    ],
    "safe_text": [
        (hidden, "", "a", "x"),
        (hidden, "", "launchla", ""),
        (hidden, "", "//", ""),
        (hidden, "//", "a", ""),
        (hidden, "", "?token=", ""),
        (hidden, "?", "token", ""),
    ],
    "remedies": [
        (explained, "", "Value 'a", ""),
        (explained, "Data download failed", "a", ""),
        (explained, "", "subnet ", ""),
        (explained, "", "not authorized to perform: a:bb on resource: ", ""),
        (explained, "Because ", "a", ""),
        (explained, "", ": [ml.", ""),
    ],
    "outcome.report": [
        (capacity_warning, "'", " usage", ""),
        (capacity_warning, "", "1", ""),
        (capacity_warning, "", "'a", ""),
    ],
    "outcome.log_lines": [
        (lambda text: headline("", [("", [text])]), "", "/", ""),
        (lambda text: headline("", [("", [text])]), "", "/sh: ", ""),
        (lambda text: headline("", [("", [text])]), "", 'exec: "', ""),
        (lambda text: headline("", [("", [text])]), 'exec: "a": ', "stat ", ""),
        (lambda text: headline("", [("", [text])]), "", "python", ""),
        (lambda text: headline("", [("", [text])]), "", ":", ""),
        (plain, "", "\x1b]", ""),
        (plain, "\x1b[", "0", ""),
        (plain, "\x1b[", " ", ""),
        (plain, "", "\r", ""),
    ],
    "image.build_failure": [
        (build, '"Id"', " ", ""),
        (build, '"Id":"', "a", ""),
        (build, "", '"Id":"a:', ""),
        (build, "#1 ", "1", ""),
        (build, "", "#1 ", ""),
    ],
    "image.recipe": [
        (lambda text: parse_queue_builder({"base_image": text}), "a", ":/.", "@"),
        (lambda text: parse_queue_builder({"base_image": text}), "", "a@sha256:", ""),
        (python_version, "", "1", ""),
        (python_version, "", "1.", ""),
        (git_job, "", "a.", "@b"),
        (git_job, "a@", "a.", ""),
        (git_job, "https://", "a", ""),
        (git_job, "ssh://", "a.-", "@a/b"),
    ],
    "image.dockerfile": [(lambda text: entry_script([text, "train.py"]), "python", "1.", "x")],
    "deployment": [
        (ecr_address, "123456789012.dkr.ecr.", "a", ""),
        (ecr_address, "123456789012.dkr.ecr.us-east-1.amazonaws.com/", "a", ""),
    ],
    "run_queue.commands": [
        (lambda text: TypeAdapter(Command).validate_python([text, text]), "python", "A", " 1"),
        (lambda text: TypeAdapter(Command).validate_python([text, text]), "", ".py", ""),
    ],
    "run_queue.configured_queue": [
        (has_variable, "", "{{", ""),
        (has_variable, "{{", " ", ""),
        (has_variable, "", "{{a ", ""),
        (has_variable, "", "{{ a", ""),
    ],
    "run_queue.launch_config": [
        (lambda text: parse_launch_config(f"queues: [q]\nregistry: {{uri: '{text}'}}"), "arn:aws", "a", ""),
        (lambda text: parse_launch_config(f"queues: [q]\nregistry: {{uri: '{text}'}}"), "", "https://", ""),
        (lambda text: parse_launch_config(f"queues: [q]\npolicy: {{roles: ['{text}']}}"), "", "a*", ""),
    ],
    "run_queue.secret_values": [
        (lambda text: [*secret_values({"resource_args": {"sagemaker": {"Environment": {"A": text}}}})], "aa", "-a", ""),
        (lambda text: [*secret_values({"resource_args": {"sagemaker": {"Environment": {"A": text}}}})], "", "${", ""),
        (
            lambda text: [*secret_values({"resource_args": {"sagemaker": {"Environment": {"A": text}}}})],
            "",
            "${secret:",
            "",
        ),
        (lambda text: [*secret_values({"overrides": {"args": [text, text]}})], "--", "a", "="),
        (lambda text: [*secret_values({"overrides": {"args": [text, text]}})], "", "-", ""),
    ],
    "plan.macros": [(macros_in, "", "${", ""), (macros_in, "${", "a", "")],
    "plan.secret_references": [
        (lambda text: filled(text, "", lambda _: ""), "", "${secret:", ""),
        (lambda text: filled(text, "", lambda _: ""), "${secret:", "a", ""),
    ],
    "plan.environment_rules": [(args("Environment", "A"), "", "WANDB_CONFIG_", "")],
    "plan.run_environment": [(args("Environment", "WANDB_CONFIG"), "", "1", "")],
    "plan.delivery": [
        (planned("overrides", "args"), "", "a", ""),
        (args("Environment", "A"), "", "\u2028", ""),
    ],
    "plan.queue_block": [(args("a_"), "", "a_", ""), (args("launch_agent", "x"), "", "a ", "")],
    "plan.request_shape": [
        (args("RoleArn"), "arn:aws", "a", ""),
        (args("TrainingJobName"), "a", "-", "."),
        (args("TrainingJobName"), "${run_id}", "-a", ""),
        (args("OutputDataConfig", "S3OutputPath"), "s3://", "a", ""),
        (args("OutputDataConfig", "KmsKeyId"), "", "a", ""),
        (args("ResourceConfig", "InstanceType"), "ml.", "a", ""),
    ],
    "plan.resource_rules": [(args("ResourceConfig", "InstanceType"), "ml.a", "-a", ".")],
    "plan.buckets": [(args("OutputDataConfig", "S3OutputPath"), "s3://aaa", ".", "")],
    "plan.training_rules": [
        (args("Environment", "A"), "", "{{", ""),
        (args("Environment", "A"), "{{", " ", ""),
        (args("HyperParameters", "a"), "", "{{a ", ""),
    ],
    "plan.training_request": [
        (args("Tags"), "", "\n", ""),
        (planned("run_id"), "", "-_", ""),
        (planned("name"), "", "%", ""),
    ],
    "plan.policy": [
        (
            args("OutputDataConfig", "S3OutputPath", config="{queues: [sm], policy: {outputs: [s3://a*b*c]}}"),
            "",
            "s3://ab",
            "",
        ),
    ],
    "plan.asked": [
        (
            args("HyperParameters", "sagemaker_submit_directory", config="{queues: [sm], policy: {inputs: [a]}}"),
            "",
            '"',
            "://",
        ),
    ],
    "plan.secure_mode": [
        (args("HyperParameters", "sagemaker_program", config="{queues: [sm], secure_mode: true}"), "", "{{", ""),
        (args("Environment", "LD_PRELOAD", config="{queues: [sm], secure_mode: true}"), "", "a", ""),
    ],
    "clients.answers": [
        (lambda text: read_answer(text.encode()), "", '"\\', ""),
        (lambda text: read_answer(text.encode()), '{"data": {"a": ', "[", ""),
        (lambda text: read_answer(text.encode()), '{"data": {"a": "', "\\ud800", '"}}'),
        (lambda text: read_json(text.encode()), '"', "\\\\", "u"),
        (lambda text: text_in(text.encode(), "a"), "", '{"a":', ""),
    ],
    "builder.git": [
        (patched, "diff --git ", "\r", ""),
        (patched, "diff --git a b\nBinary files ", " differ", "x"),
        (patched, "", "diff --git a/b a/b\n", ""),
        (patched, "", "Binary files a and b differ\n", ""),
    ],
    "builder.install": [
        (Installer().read_frozen, "a", " ", ""),
        (Installer().read_frozen, "", "a", ""),
        (Installer().read_frozen, "", "=", ""),
        (Installer().read_frozen, "a @", " ", ""),
        (Installer().read_frozen, "a==1+cu", "1", "x"),
        (Installer().read_frozen, "", "a==1\n", ""),
    ],
    "builder.notebook": [
        (notebook, "x =", " ", ""),
        (notebook, "", "\n", ""),
    ],
    "builder.requirements": [
        (lambda text: find_requirements({"requirements.txt": text.encode()}), "", "\n", ""),
        (lambda text: find_requirements({"requirements.txt": text.encode()}), "", "a ", ""),
        (lambda text: find_requirements({"requirements.txt": text.encode()}), "wandb", "[", ""),
        (lambda text: find_requirements({"requirements.txt": text.encode()}), "wandb", " ", "["),
        (lambda text: find_requirements({"requirements.txt": text.encode()}), "", "a.", ""),
    ],
}
"""By module: what reads a text, and a text: its beginning, what is repeated, its end."""
WITHOUT_ROW = {
    "builder.docker": "reads one line of a build's log at a time; a class of characters, and fixed words",
    "clients.model_artifacts": "a class of characters",
    "clients.prices": "the name of an instance type that is known to be one",
    "dry_run": "the user's own files",
    "operations.queue_setup": "the id of a KMS key in the queue's own configuration",
    "runs.execution": "a class of characters",
}


def seconds(read: Callable[[str], object], text: str) -> float:
    begun = time.thread_time()  # another thread of the process is not counted
    with suppress(LaunchError, Unreadable, ValueError):
        read(text)
    return time.thread_time() - begun


def grows_too_fast(read: Callable[[str], object], before: str, piece: str, after: str) -> int:
    """Return the length of the text that takes more than three times as long as one of half the length; else 0."""
    seconds(read, before + piece * 10 + after)  # what is imported and compiled at the first time
    half = seconds(read, before + after)
    for length in (LONGEST >> shift for shift in reversed(range(15))):
        text = before + piece * (length // len(piece)) + after
        allowed = 3 * half + 0.2
        half = seconds(read, text)
        if half > allowed and min(seconds(read, text) for _ in range(3)) > allowed:
            return length
    return 0


@pytest.mark.parametrize(
    ("name", "row"), [pytest.param(name, row, id=f"{name} {row[1:]}") for name, rows in ROWS.items() for row in rows]
)
def test_a_text_that_is_twice_as_long_takes_twice_the_time(name: str, row: Row) -> None:
    assert not grows_too_fast(*row)


@pytest.mark.parametrize(("exponent", "is_found"), [(1, False), (2, True)])
def test_a_time_that_grows_with_the_square_of_the_length_is_found(
    exponent: int, is_found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.seconds", lambda _, text: len(text) ** exponent * 1e-9)
    assert bool(grows_too_fast(str.strip, "", "a", "")) is is_found


def test_every_module_with_a_pattern_has_a_row_or_a_reason() -> None:
    modules = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if any(_imports_re(node) for node in ast.walk(ast.parse(path.read_text())))
    }
    assert modules - ROWS.keys() == WITHOUT_ROW.keys()


def _imports_re(node: Any) -> bool:
    return isinstance(node, ast.Import) and any(name.name == "re" for name in node.names)


@given(st.lists(st.text("ab*.\n", max_size=5), max_size=3), st.text("ab.\n", max_size=12))
def test_a_pattern_of_a_policy_matches_what_a_regular_expression_would_match(patterns: list[str], value: str) -> None:
    expected = any(re.fullmatch(".*".join(map(re.escape, each.split("*"))), value, re.DOTALL) for each in patterns)
    assert matches(patterns, value) is expected
