"""Runs git, docker and iptables, without the credentials of the build's role. Keeps the end of their output."""

import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, NamedTuple

_KEPT = 1 << 16
_LONGEST_LINE = 1 << 16
_ROLE = (
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
"""The variables in which AWS's clients find the credentials of the build's role."""


class Finished(NamedTuple):
    """The result of a command: its exit code, and the last 64 KiB of its output and of its error output."""

    code: int
    output: str
    errors: str


def run(command: Sequence[str], *, variables: Mapping[str, str], typed: str = "") -> Finished:
    """Run a command with more variables and with `typed` as its input. A missing command has the exit code 127."""
    with subprocess.Popen(
        _with_variables(command, variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # without a terminal, so that it cannot ask for a password
    ) as process:
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.append(_end_of(process.stderr)), daemon=True)
        reader.start()
        if process.stdin:
            with suppress(BrokenPipeError):  # it may end without reading its input; the exit code tells
                process.stdin.write(typed.encode())
                process.stdin.close()
        output = _end_of(process.stdout)
        reader.join()
    return Finished(process.returncode, output, "".join(errors).strip())


def run_aloud(command: Sequence[str], say: Callable[[str], None], *, variables: Mapping[str, str]) -> int:
    """Run a command with additional variables, pass each line it prints to `say`, and return its exit code."""
    with subprocess.Popen(
        _with_variables(command, variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        while line := process.stdout.readline(_LONGEST_LINE) if process.stdout else b"":
            say(line.decode(errors="replace").rstrip("\n"))
    return process.returncode


def _with_variables(command: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    unset = [part for name in _ROLE for part in ("--unset", name)]
    return ["env", *unset, *(f"{name}={value}" for name, value in variables.items()), *command]


def _end_of(stream: IO[bytes] | None) -> str:
    end = b""
    while chunk := stream.read(_KEPT) if stream else b"":
        end = (end + chunk)[-_KEPT:]
    return end.decode(errors="replace")
