"""`make plan`: plans a run spec without launching it; JSON on stdout, messages on stderr."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launch_agent.dry_run import Asked, Env, dry_run, main
from launch_agent.run_queue.launch_config import parse_launch_config
from local.wandb import WandbServer
from tests.answering import Answer, answering, aws_error
from tests.documents import ROOT
from tests.golden.cases import load
from tests.simulation.world import price_of

CONFIG = parse_launch_config("queues: [sagemaker]")


def spec(image: str | None, **block: Any) -> dict[str, Any]:
    raw: dict[str, Any] = load("stopping-condition-empty", "run_spec.json")
    raw["docker"] = {"docker_image": image} if image else {}
    raw["resource_args"]["sagemaker"].update(block)
    return raw


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command in this process; return its exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dry_run", *arguments])
        monkeypatch.delenv("AWS_REGION", raising=False)
        code = main()
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("host", "partition"),
    [
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "aws-cn"),
        ("123456789012.dkr.ecr.us-gov-west-1.amazonaws.com", "aws-us-gov"),
        ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", "aws-eusc"),
        ("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", "aws-iso"),
        ("123456789012.dkr-ecr.eu-west-1.on.aws", "aws"),
    ],
)
def test_a_role_by_name_is_one_of_the_images_account_and_partition(host: str, partition: str) -> None:
    plan = dry_run(Asked(spec(f"{host}/train:v1", RoleArn="Training")), Env(), CONFIG)
    assert plan.training_request["RoleArn"] == f"arn:{partition}:iam::123456789012:role/Training"


def test_the_account_is_the_roles_and_not_that_of_one_of_amazons_images() -> None:
    xgboost = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
    plan = dry_run(Asked(spec(xgboost, RoleArn="Training")), Env(), CONFIG)
    assert plan.training_request["RoleArn"] == "arn:aws:iam::123456789012:role/Training"
    given = dry_run(Asked(spec(xgboost, RoleArn="Training")), Env(), CONFIG, account_id="210987654321")
    assert given.training_request["RoleArn"] == "arn:aws:iam::210987654321:role/Training"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_the_command_prints_the_plan_and_nothing_else_on_stdout(
    tmp_path: Path, command: Command, encoding: str
) -> None:
    file = tmp_path / "spec.json"
    file.write_bytes(json.dumps(spec("123456789012.dkr.ecr.us-east-1.amazonaws.com/train:v1")).encode(encoding))
    code, out, said = command(str(file))
    assert (code, said) == (0, "")
    assert json.loads(out)["training_job_name"] == "limzn0a6"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "spec.json: "),
        (b"{", "spec.json: "),
        (b"[]", "InvalidRunSpec: The run spec cannot be launched:\n- The run spec is not a JSON object."),
        (b"[" * 100_000, "spec.json: it is nested too deep"),
        (b"9" * 5_000, "spec.json: "),
        (b'"\\ud800"', "InvalidRunSpec: "),
        ("é".encode("latin-1"), "spec.json: "),
        (b'{"entity": "e"}', "- project is missing."),
    ],
    ids=lambda value: str(value)[:15],
)
def test_what_is_wrong_with_the_file_is_said_on_stderr_without_a_traceback(
    tmp_path: Path, command: Command, content: bytes, said: str
) -> None:
    (tmp_path / "spec.json").write_bytes(content)
    code, out, words = command(str(tmp_path / "spec.json"))
    assert (code, out) == (1, "")
    assert said in words


def test_a_file_that_is_not_there_is_named(tmp_path: Path, command: Command) -> None:
    missing = tmp_path / "nothing.json"
    assert command(str(missing)) == (1, "", f"{missing}: No such file or directory\n")


def test_without_a_run_spec_the_help_is_shown_on_stderr(command: Command) -> None:
    code, out, said = command("--config", "layers/config/launch-config.yaml")
    assert (code, out) == (2, "")
    assert "make plan SPEC=run_spec.json" in said


def test_warnings_of_the_configuration_are_shown_with_the_plan(tmp_path: Path, command: Command) -> None:
    (tmp_path / "launch-config.yaml").write_text("queues: [a]\nregistry: {type: ecr, repository: r}")
    (tmp_path / "spec.json").write_text(json.dumps(spec("123456789012.dkr.ecr.us-east-1.amazonaws.com/train:v1")))
    code, out, said = command("--config", str(tmp_path / "launch-config.yaml"), str(tmp_path / "spec.json"))
    assert code == 0
    assert json.loads(out)["item"]["queue"] == "a"
    assert said.startswith("registry.repository has no effect")


@pytest.mark.parametrize("text", ["queues: 5", "agent: {}\nlaunchConfig: {queues: [a]}", "[", "q"])
def test_a_faulty_configuration_is_answered_in_words(tmp_path: Path, command: Command, text: str) -> None:
    (tmp_path / "launch-config.yaml").write_text(text)
    (tmp_path / "spec.json").write_text("{}")
    code, out, said = command("--config", str(tmp_path / "launch-config.yaml"), str(tmp_path / "spec.json"))
    assert (code, out) == (1, "")
    assert said.startswith("InvalidLaunchConfig: launch-config.yaml")


def test_make_plan_puts_nothing_but_the_plan_on_stdout_not_even_what_setup_says(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(spec("123456789012.dkr.ecr.us-east-1.amazonaws.com/train:v1")))
    (tmp_path / "bin").mkdir()
    for name, script in {"python": f'exec {sys.executable} "$@"', "uv": "echo uv installs"}.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    run = ["make", "plan", f"VENV={tmp_path}", f"SPEC={tmp_path / 'spec.json'}"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["training_job_name"] == "limzn0a6"
    assert "uv installs" in done.stderr
    without = subprocess.run(run[:-1], cwd=ROOT, capture_output=True, text=True)
    assert without.stdout == ""
    assert "usage: " in without.stderr


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    server = WandbServer(entity="team", api_key="k" * 40)
    server.create_queue("sagemaker", config=spec("x")["resource_args"]["sagemaker"])
    with server.running() as url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
        yield server


def test_a_queued_item_is_planned_and_stays_queued(server: WandbServer, command: Command, tmp_path: Path) -> None:
    config = tmp_path / "launch-config.yaml"
    config.write_text("{entity: team, queues: [other, sagemaker]}")
    run = {
        "entity": "team",
        "project": "p",
        "docker": {"docker_image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/t:1"},
    }
    item = server.push("sagemaker", {**run, "run_id": "my-run"})
    before = copy.copy(vars(server.state.items[item]))
    code, out, said = command("--config", str(config), "--from-queue", item, "--explain")
    assert (code, said) == (0, "image: 123456789012.dkr.ecr.us-east-1.amazonaws.com/t:1; nothing is built\n")
    plan = json.loads(out)
    assert plan["item"] == {"id": item, "queue": "sagemaker", "entity": "team", "run_id": "my-run"}
    assert vars(server.state.items[item]) == before
    assert server.state.agents == {}
    _, _, said = command("--config", str(config), "--from-queue", "none")
    assert said.endswith("- team has no run queue item none in other or sagemaker.\n")
    config.write_text("queues: [sagemaker]")
    _, _, said = command("--config", str(config), "--from-queue", item)
    assert "than local-user, set entity in launch-config.yaml." in said


def test_without_an_api_key_nothing_is_read_from_wandb(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    code, out, said = command("--job", "team/p/job:latest")
    assert (code, out) == (1, "")
    assert said == (
        'JobArtifactNotFound: job "team/p/job:latest" is in W&B. Set WANDB_API_KEY to a key that can read it.\n'
    )


LIMITED = 'queues: [sagemaker]\npolicy: {max_usd_per_hour: 0.3, instance_types: ["ml.m5.*"]}\n'


@pytest.mark.parametrize(("dollars", "words"), [("0.23", ""), ("0.31", "The instances cost 0.31 US dollars an hour")])
def test_what_a_policy_says_of_a_run_is_shown_with_the_price_in_aws(
    dollars: str, words: str, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, config = tmp_path / "run.json", tmp_path / "launch-config.yaml"
    run.write_text(json.dumps(spec("123456789012.dkr.ecr.eu-west-1.amazonaws.com/train:v1")))
    config.write_text(LIMITED)
    listed = {"FormatVersion": "aws_v1", "PriceList": [json.dumps(price_of("ml.m5.xlarge", dollars))]}
    with answering(Answer(200, listed)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        code, out, said = command(str(run), "--config", str(config))
    assert (code, bool(out)) == ((1, False) if words else (0, True))
    assert words in said


def test_a_price_that_aws_cannot_be_asked_for_is_said_with_what_to_do(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, config = tmp_path / "run.json", tmp_path / "launch-config.yaml"
    run.write_text(json.dumps(spec("123456789012.dkr.ecr.eu-west-1.amazonaws.com/train:v1")))
    config.write_text(LIMITED)
    with answering(aws_error("AccessDeniedException", "is not authorized to perform: pricing:GetProducts")) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        code, out, said = command(str(run), "--config", str(config))
    assert (code, out) == (1, "")
    assert "Set AWS credentials that allow pricing:GetProducts." in said
