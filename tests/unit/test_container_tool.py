"""Which container tool the embedded AWS uses, and its message about what to install if it cannot use any."""

import os
import sys
from pathlib import Path

import pytest

from local.aws import containers
from local.aws.cloud import Cloud, Keys
from local.aws.containers import Containers, PulledImage
from local.aws.registry_client import RegistryClient
from local.aws.runner import Container


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with only the programs in this folder, and a user who is not root."""
    monkeypatch.setattr(containers, "PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return tmp_path


def install(machine: Path, *names: str, script: str = "exit 0") -> None:
    for name in names:
        (machine / name).write_text(f"#!/bin/sh\n{script}\n")
        (machine / name).chmod(0o755)


def test_without_any_installed_tool_images_are_pseudo_images_without_a_message(machine: Path) -> None:
    assert containers.find_tool("auto", machine / "storage") == ("none", "")


def test_a_user_needs_newuidmap(machine: Path) -> None:
    install(machine, "buildah")
    tool, reason = containers.find_tool("auto", machine / "storage")
    assert (tool, reason) == (
        "none",
        "buildah cannot be used: newuidmap is missing. On Debian and Ubuntu: apt install uidmap.",
    )


def test_a_requested_tool_that_is_missing_is_one_sentence(machine: Path) -> None:
    with pytest.raises(SystemExit, match=r"^podman is not installed\.$"):
        containers.find_tool("podman", machine / "storage")


def test_a_tool_that_fails_says_why_and_the_next_is_taken(machine: Path) -> None:
    install(machine, "docker", script="echo Cannot connect to the Docker daemon >&2; exit 1")
    assert containers.find_tool("auto", machine / "storage") == (
        "none",
        "docker cannot be used: Cannot connect to the Docker daemon",
    )
    install(machine, "docker")
    assert containers.find_tool("auto", machine / "storage") == ("docker", "")


_IN_A_CHROOT = """\
import subprocess, sys, time
command = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
if command[:1] == ["/bin/sh"] and not HAS_SHELL:
    sys.exit(127)
if command:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    lines = [(time.monotonic(), line) for line in process.stdout]
    code, ended = process.wait(), time.monotonic()
    print(*(line for said, line in lines if said < ended - 0.1), sep="", end="")
    sys.exit(code)
"""
"""Runs what follows `--`. As with buildah, the lines of the moment in which the command ends can be lost."""


def trained(machine: Path, monkeypatch: pytest.MonkeyPatch, has_shell: bool) -> tuple[list[str], int]:
    """Run a command in a container with buildah, where the last lines are always lost; return output and exit code."""
    (machine / "buildah").write_text(f"#!{sys.executable}\n{_IN_A_CHROOT.replace('HAS_SHELL', str(has_shell))}")
    (machine / "buildah").chmod(0o755)
    monkeypatch.setattr(containers, "PATH", f"{machine}:{os.defpath}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    cloud = Cloud(1, machine, Path(sys.executable), Keys("key", "secret"), container_tool="buildah")
    image = PulledImage(RegistryClient(cloud.url, "Basic x"), "tests", "latest", {}, [])
    script = "import sys, time; print('start', flush=True); time.sleep(0.2); print(sys.argv[1]); sys.exit(3)"
    run = Containers(cloud).run(image, [sys.executable, "-c", script, "the end"], {}, machine / "ml")
    lines: list[str] = []
    code = Container(run).wait(lines.append)
    return lines, code


def test_the_last_lines_of_a_container_are_not_lost(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trained(machine, monkeypatch, has_shell=True) == (["start\n", "the end\n"], 3)


def test_an_image_without_a_shell_runs_its_command_directly(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trained(machine, monkeypatch, has_shell=False) == (["start\n"], 3)
