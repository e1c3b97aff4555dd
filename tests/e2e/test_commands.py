"""`python -m local up` and `down`: it deploys, serves, and leaves no process and no file behind."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3

from local.stack import DEMO_KEY, ROOT
from local.wandb import WandbServer
from tests.e2e.conftest import wait_for

STATE_FILE = ROOT / ".local/up.json"


@contextmanager
def up(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `up` with its temporary files below a folder; give the process, and what it said until it waited."""
    command = [sys.executable, "-m", "local", "up", "--speed", "60", *options]
    path = os.pathsep.join([str(ROOT), str(ROOT / "layers/launch_agent")])
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            words = ""
            while "Ctrl-C ends all of it" not in words:
                line = process.stdout.readline()
                assert line, words
                words += line
            yield process, words
        finally:
            process.terminate()  # of no effect when it has ended, which is what the tests wait for


def processes_below(folder: Path) -> list[str]:
    """Return the command lines of living processes that name a folder."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has ended since
        if str(folder) in line:
            found.append(line)
    return found


def assert_nothing_is_left(folder: Path) -> None:
    wait_for(lambda: not processes_below(folder), within=10)
    assert list(folder.iterdir()) == []
    assert not STATE_FILE.exists()


def test_ctrl_c_ends_all_that_up_began(tmp_path: Path) -> None:
    with up(tmp_path) as (process, words):
        (page,) = re.findall(r"http://127.0.0.1:\d+/#\w+", words)
        assert urllib3.request("GET", page).status == 200
        assert processes_below(tmp_path)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert_nothing_is_left(tmp_path)


def test_up_serves_another_server_and_down_ends_it(tmp_path: Path) -> None:
    server = WandbServer(entity="others", api_key=DEMO_KEY)
    server.create_queue("theirs", config={})
    theirs = ["--entity", "others", "--queue", "theirs", "--api-key", DEMO_KEY]
    with server.running() as url, up(tmp_path, "--wandb-url", url, *theirs) as (process, words):
        _, _, after = words.partition("The configuration for the queue theirs:")
        assert "RoleArn" in json.JSONDecoder().raw_decode(after.lstrip())[0]
        wait_for(lambda: server.state.agents)
        down = [sys.executable, "-m", "local", "down"]
        subprocess.run(down, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=60)
        assert process.wait(30) == 130
    assert_nothing_is_left(tmp_path)
