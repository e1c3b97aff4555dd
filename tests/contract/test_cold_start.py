"""Cold starts: a handler imports only what its step needs, and the layer has what makes the imports fast."""

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import botocore
import pytest
from botocore import xform_name

import service_models
from launch_agent.clients import aws
from tests.bench.application import environment_of
from tests.documents import ROOT
from tests.handlers import NAMES

_CODE = "import json, sys; before = {*sys.modules}; import app; print(json.dumps(sorted({*sys.modules} - before)))"
CLIENTS = ROOT / "layers/launch_agent/launch_agent/clients"
_LAYERS = [ROOT / "layers/launch_agent", ROOT / "layers/config"]
_PARTIES = {"annotated_types", "aws_lambda_powertools", "botocore", "jmespath", "launch_agent", "pydantic"}
_PARTIES |= {"pydantic_core", "typing_extensions", "typing_inspection", "urllib3"}
_PARTIES |= {"certifi", "dateutil", "six"}  # botocore's
_READ_THE_CONFIGURATION = {"poll_queues", "plan_run", "sweep_runs", "check_setup"}
_PLANS = {"plan", "image"}
_SWEEPS = {"sweeps.asked", "sweeps.order", "sweeps.scheduler"}
_NOT_NEEDED = {
    "poll_queues": {*_PLANS, *_SWEEPS, "steps.ending", "clients.artifacts", "clients.sagemaker"},
    "plan_run": {*_SWEEPS, "steps.ending", "clients.sagemaker"},
    "start_training": {*_SWEEPS, "steps.ending", "clients.wandb"},
    "resume_run": {*_PLANS, *_SWEEPS, "steps.ending", "clients.wandb"},
    "advance_sweeps": {*_PLANS, "sweeps.asked", "clients.wandb", "clients.sagemaker"},
    "report_outcome": {"plan", "image.recipe", "image.dockerfile", "sweeps.asked", "clients.sagemaker"},
    "relaunch_run": {*_PLANS, *_SWEEPS, "outcome", "steps.ending", "clients.wandb"},
    "sweep_runs": {"plan", "image.recipe", "image.dockerfile", "sweeps.asked", "clients.wandb"},
    "check_setup": {*_SWEEPS, "steps.ending", "clients.runs", "clients.wandb"},
    "retire_agent": {*_PLANS, *_SWEEPS, "steps.ending", "clients.sagemaker"},
}
"""The modules and rooms of the package that a function does not import before it is called."""


@cache
def imported(name: str) -> frozenset[str]:
    """Return the names of the modules that a function's new process imports before it is called."""
    environment = environment_of(name, _LAYERS)
    finished = subprocess.run(
        [sys.executable, "-c", _CODE], env=environment, capture_output=True, text=True, check=True
    )
    return frozenset(json.loads(finished.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", NAMES)
def test_a_function_imports_no_room_that_its_step_does_not_need(name: str) -> None:
    not_needed = tuple(f"launch_agent.{each}." for each in (*_NOT_NEEDED[name], "builder", "dry_run"))
    assert "launch_agent.wiring" in imported(name)
    assert [module for module in sorted(imported(name)) if f"{module}.".startswith(not_needed)] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_function_imports_no_other_package(name: str) -> None:
    packages = {module.partition(".")[0] for module in imported(name)} - sys.stdlib_module_names - {"app"}
    yaml = {"yaml"} if name in _READ_THE_CONFIGURATION else set()
    assert {each for each in packages if not each.startswith("_")} <= {*_PARTIES, *yaml, "cython_runtime"}


def test_every_service_model_of_the_layer_is_botocores_with_the_operations_that_are_used(tmp_path: Path) -> None:
    service_models.write(Path(botocore.__path__[0]), tmp_path)
    for service, names in service_models.OPERATIONS.items():
        ours = aws.new_session(tmp_path).get_service_model(service)
        whole = aws.new_session(tmp_path / "none").get_service_model(service)
        assert list(ours.operation_names) == list(names)
        for name in names:
            for shape in ("input_shape", "output_shape"):
                of_ours, of_whole = (getattr(each.operation_model(name), shape) for each in (ours, whole))
                assert _told(of_ours) == _told(of_whole)


def _told(shape: object, seen: tuple[str, ...] = ()) -> object:
    """Return everything that a shape says, with the shapes in it."""
    name = getattr(shape, "name", None)
    if name is None or name in seen:
        return name
    members = {
        **getattr(shape, "members", {}),
        **{key: getattr(shape, key, None) for key in ("member", "key", "value")},
    }
    inner = {key: _told(each, (*seen, name)) for key, each in members.items()}
    return (
        name,
        getattr(shape, "type_name", ""),
        str(getattr(shape, "serialization", "")),
        str(getattr(shape, "metadata", "")),
        inner,
    )


def test_the_clients_of_other_services_come_from_the_runtime(tmp_path: Path) -> None:
    service_models.write(Path(botocore.__path__[0]), tmp_path)
    ours, whole = aws.new_session(tmp_path), aws.new_session(tmp_path / "none")
    for service in ("cloudformation", "ec2", "ecr-public", "iam", "kms", "pricing", "service-quotas", "dynamodb", "s3"):
        addresses = {each.create_client(service, region_name="us-east-1").meta.endpoint_url for each in (ours, whole)}
        assert len(addresses) == 1, addresses


def test_the_layer_has_every_operation_that_a_client_calls_and_no_other() -> None:
    called: dict[str, set[str]] = {service: set() for service in service_models.OPERATIONS}
    for path in CLIENTS.glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        words = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        words |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        for service in words & called.keys():
            operations = aws.session().get_service_model(service).operation_names
            called[service] |= {name for name in operations if xform_name(name) in words}
    assert {service: tuple(sorted(names)) for service, names in called.items()} == service_models.OPERATIONS


@pytest.mark.parametrize("name", NAMES)
def test_the_garbage_collector_is_off_while_a_function_starts_and_on_when_it_has_started(name: str) -> None:
    text = (ROOT / "functions" / name / "app.py").read_text()
    of_the_package = [line for line in text.splitlines() if line.startswith("from launch_agent")]
    assert of_the_package[0].startswith("from launch_agent.door import door")
    code = (
        "import gc, launch_agent.door; assert not gc.isenabled() and not gc.get_freeze_count(); "
        "import app; assert gc.isenabled() and gc.get_freeze_count()"
    )
    subprocess.run([sys.executable, "-c", code], env=environment_of(name, _LAYERS), capture_output=True, check=True)
