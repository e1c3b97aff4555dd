"""`python -m local up` and `down`: they deploy, serve, and leave no process and no file behind, however they end."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3

from local import up as local_up
from local.loopback import listening
from local.stack import DEMO_KEY, ROOT, Deployed, LocalCloud, WandbLogin, embedded_cloud
from local.wandb import WandbServer
from tests.e2e.conftest import wait_for

STATE_FILE, VARIABLES_FILE = ROOT / ".local/up.json", ROOT / ".local/environment"
WAITS = "Ctrl-C stops everything"
NEVER_ANSWERS = {
    "Resources": {
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": {
                        "Effect": "Allow",
                        "Principal": {"Service": "lambda.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                    },
                }
            },
        },
        "Function": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Runtime": "python3.11",
                "Handler": "index.handler",
                "Timeout": 900,
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                "Code": {"ZipFile": "import time\ndef handler(event, context):\n    while True: time.sleep(1)\n"},
            },
        },
        "Custom": {"Type": "Custom::Go", "Properties": {"ServiceToken": {"Fn::GetAtt": ["Function", "Arn"]}}},
    }
}


AS_TYPED = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
"""The environment of `python -m local` without `make`."""


@pytest.fixture(autouse=True)
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run one of these tests at a time: a checkout can have only one `up`."""
    (ROOT / ".local").mkdir(exist_ok=True)
    with (ROOT / ".local/tests").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def begun(folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start an `up` with its temporary files in a folder."""
    command = [sys.executable, "-m", "local", "up", "--speed", "60", *options]
    environment = {**AS_TYPED, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def started(*command: str) -> subprocess.Popen[str]:
    """Start another command of `python -m local`."""
    run, environment = [sys.executable, "-m", "local", *command], {**AS_TYPED, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(run, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def queue_with_priority(page: str, queue: str) -> str:
    """Queue a run of no valid image, before others; return its id."""
    address, _, key = page.partition("/#")
    document = """mutation Push($input: PushToRunQueueByNameInput!) {
  pushToRunQueueByName(input: $input) { runQueueItemId }
}"""
    spec = {"entity": "team", "project": "p", "run_id": "my-run", "docker": {"docker_image": "x"}}
    given = {"entityName": "team", "projectName": "model-registry", "queueName": queue, "runSpec": json.dumps(spec)}
    body = {"query": document, "variables": {"input": {**given, "priority": 0}}}
    headers = urllib3.make_headers(basic_auth=f"api:{key}")
    answer = urllib3.request("POST", f"{address}/graphql", json=body, headers=headers).json()
    assert answer["data"]["pushToRunQueueByName"]["runQueueItemId"], answer
    return "my-run"


def said(process: subprocess.Popen[str], last: str) -> str:
    """Return a process's output, up to a line with these words."""
    words = ""
    while last not in words:
        line = process.stdout.readline() if process.stdout else ""
        assert line, words
        words += line
    return words


@contextmanager
def up(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `up`; yield the process, and its output until it waits."""
    with begun(folder, *options) as process:
        try:
            yield process, said(process, WAITS)
        finally:
            process.terminate()  # without effect if it has ended, as the tests expect


def down() -> None:
    command = [sys.executable, "-m", "local", "down"]
    subprocess.run(command, cwd=ROOT, env=AS_TYPED, check=True, timeout=60)


def processes_below(folder: Path) -> list[str]:
    """Return the command lines of running processes that contain a folder or run in it."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            line = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            place = (each / "cwd").readlink()
        except OSError:
            continue  # it has ended in the meantime
        if str(folder) in line or place.is_relative_to(folder):
            found.append(line)
    return found


def assert_nothing_is_left(folder: Path) -> None:
    wait_for(lambda: not processes_below(folder), within=10)
    assert list(folder.iterdir()) == []
    assert not STATE_FILE.exists()
    assert not VARIABLES_FILE.exists()


def test_a_second_up_and_a_taken_port_are_one_sentence_and_ctrl_c_ends_all(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with listening() as taken:
        for option in ("--aws-port", "--wandb-port"):
            port = str(taken.getsockname()[1])
            with begun(second, option, port) as refused:
                _, errors = refused.communicate(timeout=60)
            assert refused.returncode == 1
            assert (
                errors == f"Port {port} of this machine cannot be used: Address already in use. "
                "Omit the port to use a free one.\n"
            )
            assert_nothing_is_left(second)
    queues = ["--queue", "one", "--queue", "two", "--priorities"]
    with up(first, *queues, "--container-tool", "none") as (process, words):
        (page,) = re.findall(r"http://127.0.0.1:\d+/#\w+", words)
        assert urllib3.request("GET", page).status == 200
        (variables,) = re.findall(r"^  \. (\S+)$", words, re.MULTILINE)
        exported = subprocess.run(
            ["sh", "-c", f". {variables}; env"], capture_output=True, text=True, check=True
        ).stdout
        assert f"WANDB_API_KEY={page.partition('#')[2]}\n" in exported
        assert f"PATH={ROOT / '.venvs/training/bin'}:" in exported
        assert f"LAYER_PYTHON={sys.version_info.major}.{sys.version_info.minor}\n" in exported  # for make deploy
        pushed = queue_with_priority(page, "two")
        with started("watch") as watching:
            assert f"  {pushed}  " in said(watching, pushed)
            watching.send_signal(signal.SIGINT)
            assert watching.wait(30) == 0
        assert Path(variables).stat().st_mode & 0o077 == 0
        state = STATE_FILE.read_text()
        with begun(second) as refused:
            _, errors = refused.communicate(timeout=60)
        assert (refused.returncode, errors) == (
            1,
            "The application is already running. Stop it with `python -m local down`.\n",
        )
        assert STATE_FILE.read_text() == state
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert_nothing_is_left(first)
    assert list(second.iterdir()) == []


@pytest.mark.parametrize("word", ["booting the embedded AWS ...", "deploying it"])
def test_sigterm_ends_everything_at_any_step(tmp_path: Path, word: str) -> None:
    with begun(tmp_path) as process:
        said(process, word)
        process.terminate()
        assert process.wait(60) == 130
    assert_nothing_is_left(tmp_path)


def test_an_up_that_was_killed_leaves_no_process_and_down_removes_its_files(tmp_path: Path) -> None:
    with begun(tmp_path) as process:
        said(process, "building the template")
        process.kill()
    wait_for(lambda: not processes_below(tmp_path), within=30)
    assert STATE_FILE.exists()
    down()
    assert_nothing_is_left(tmp_path)


def test_the_file_to_source_is_written_in_a_new_checkout_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make local` writes it when it stays up, and nothing else has made the folder yet."""
    file = tmp_path / ".local/environment"
    monkeypatch.setattr(local_up, "VARIABLES_FILE", file)
    cloud, wandb = LocalCloud("http://127.0.0.1:1", tmp_path, "", ""), WandbLogin("http://127.0.0.1:2", "team", "q", "")
    with local_up.variables(Deployed(cloud, wandb, {})):
        assert "export WANDB_ENTITY=team\n" in file.read_text()
    assert not file.exists()


def test_the_embedded_aws_ends_though_a_custom_resource_never_answers(tmp_path: Path) -> None:
    with embedded_cloud(tmp_path, speed=60) as cloud:
        cloudformation = cloud.client("cloudformation")
        cloudformation.create_stack(
            StackName="stuck", TemplateBody=json.dumps(NEVER_ANSWERS), Capabilities=["CAPABILITY_IAM"]
        )
        wait_for(lambda: cloud.get("environments")["cold"])
    assert processes_below(tmp_path) == []


def test_up_serves_another_server_and_down_ends_it(tmp_path: Path) -> None:
    server = WandbServer(entity="others", api_key=DEMO_KEY)
    server.create_queue("theirs", config={})
    theirs = ["--entity", "others", "--queue", "theirs", "--api-key", DEMO_KEY]
    with server.running() as url, up(tmp_path, "--wandb-url", url, *theirs) as (process, words):
        _, _, after = words.partition("The configuration for the queue theirs:")
        assert "RoleArn" in json.JSONDecoder().raw_decode(after.lstrip())[0]
        wait_for(lambda: server.state.agents)
        down()
        assert process.wait(30) == 130
    assert_nothing_is_left(tmp_path)
