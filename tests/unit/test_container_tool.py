"""Which container tool the embedded AWS uses, and its message about what to install if it cannot use any."""

import os
from pathlib import Path

import pytest

from local.aws import containers


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
