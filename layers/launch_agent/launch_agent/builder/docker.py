"""Docker with BuildKit, as AWS CodeBuild's images have it: signs in to registries, builds, and pushes."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from launch_agent.builder.commands import run, run_aloud
from launch_agent.errors import ImageBuildFailed
from launch_agent.image.dockerfile import NOT_INSTALLED
from launch_agent.image.pins import FRONTEND

_BUILDKIT = "launch-agent"
_DEFAULT = "default"
_STARTS = (5, 20, 60)
_LIMITED = (30, 90, 300)
_VARIABLES = {
    # The code is somebody else's: git, asked about it, would read settings that name programs to run.
    "BUILDX_GIT_INFO": "false",
    "BUILDX_GIT_LABELS": "false",
    "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
}
_CREDENTIALS = "169.254.0.0/16"
_TOO_MANY_REQUESTS = re.compile(r"toomanyrequests|429 Too Many Requests", re.IGNORECASE)
_MAY_NAME_FRONTEND = re.compile(r"syntax|^\s*\{", re.IGNORECASE | re.MULTILINE)
_NOT_INSTALLED = re.compile(re.escape(NOT_INSTALLED) + r" (?P<package>[^$\s\"].*)")
_MAX_NOT_INSTALLED = 100

Say = Callable[[str], None]
Pause = Callable[[float], None]


class Order(NamedTuple):
    """What is to be built and pushed."""

    image: str
    """The image's address, by tag."""
    cache: str
    """Where layers are kept for the next build."""
    platform: str
    dockerfile: Path
    context: Path
    text: str
    """What the Dockerfile says."""


def keep_from_credentials() -> None:
    """Keep containers, and so what a Dockerfile runs, from the link-local addresses at which AWS hands out credentials.

    Docker has a chain for such rules (https://docs.docker.com/engine/network/packet-filtering-firewalls/), and name
    servers may be at such an address. Raises ImageBuildFailed where it cannot be done: nothing is built then.
    """
    rules = [
        ["--jump", "REJECT"],
        *(["--protocol", each, "--dport", "53", "--jump", "RETURN"] for each in ("tcp", "udp")),
    ]
    for rule in rules:
        # Each goes in front of those before it.
        command = ["iptables", "--wait", "--insert", "DOCKER-USER", "--destination", _CREDENTIALS, *rule]
        finished = run(command, variables={})
        if finished.code:
            raise ImageBuildFailed(
                f"the code cannot be kept from the build machine's credentials, so it was not run: {finished.errors}"
            )


def sign_in(registry: str, password: str) -> None:
    """Sign in to a registry of Amazon's by its host name. Raises ImageBuildFailed."""
    command = ["docker", "login", "--username", "AWS", "--password-stdin", registry]
    finished = run(command, variables={}, typed=password)
    if finished.code:
        raise ImageBuildFailed(f"Docker could not sign in to {registry}: {finished.errors}")


def start_buildkit(image: str, say: Say, pause: Pause = time.sleep) -> bool:
    """Start a BuildKit of our own, which alone can keep layers in a registry; return whether it started.

    Registries turn callers away who share an address with too many others.
    """
    command = ["docker", "buildx", "create", "--name", _BUILDKIT, "--driver", "docker-container"]
    command += ["--driver-opt", f"image={image}", "--bootstrap"]
    for wait in (*_STARTS, None):
        finished = run(command, variables={})
        if not finished.code:
            return True
        why = finished.errors[-500:]
        run(["docker", "buildx", "rm", "--force", _BUILDKIT], variables={})
        if wait is None:
            say(
                f"BuildKit did not start: {why}. The image is built by Docker itself, without layers of earlier builds."
            )
            return False
        say(f"BuildKit did not start, trying again in {wait} s: {why}")
        pause(wait)
    raise AssertionError("the last try returns")


def build(order: Order, say: Say, *, with_buildkit: bool, pause: Pause = time.sleep) -> tuple[str, ...]:
    """Build an image and push it, saying each line of the log; return the packages that could not be installed.

    Where a registry turns us away, it is tried again. Raises ImageBuildFailed, with the line that says why.
    """
    for wait in (*_LIMITED, None):
        reading = _Reading(say)
        code = run_aloud(_command(order, with_buildkit=with_buildkit), reading.line, variables=_VARIABLES)
        if not code:
            return tuple(reading.not_installed)
        if wait is None or not _TOO_MANY_REQUESTS.search(reading.why):
            raise ImageBuildFailed(f"docker buildx build failed: {reading.why}")
        say(f"a registry limits how often it may be asked, trying again in {wait} s: {reading.why}")
        pause(wait)
    raise AssertionError("the last try returns or raises")


def _command(order: Order, *, with_buildkit: bool) -> list[str]:
    """Return the command that builds.

    SageMaker takes an image in Docker's own format, without an index or attestations around it. Docker's own builder
    cannot keep layers in a registry. A Dockerfile may name another program to read it (`# syntax=`); it is read by the
    one that we name.
    """
    kept = f"type=registry,ref={order.cache},mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true"
    cache = ["--cache-from", f"type=registry,ref={order.cache}", "--cache-to", kept]
    frontend = ["--build-arg", f"BUILDKIT_SYNTAX={FRONTEND}"] if _MAY_NAME_FRONTEND.search(order.text) else []
    return [
        *("docker", "buildx", "build", "--builder", _BUILDKIT if with_buildkit else _DEFAULT, "--progress", "plain"),
        *("--platform", order.platform, "--file", str(order.dockerfile), "--provenance=false", "--sbom=false"),
        *("--output", f"type=image,name={order.image},push=true,oci-mediatypes=false"),
        *(cache if with_buildkit else []),
        *frontend,
        str(order.context),
    ]


class _Reading:
    """What the log of a build tells while it is said."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._last, self._error = "", ""
        self.not_installed: dict[str, None] = {}

    @property
    def why(self) -> str:
        """The line that says why the build failed, if it did."""
        return self._error or self._last

    def line(self, line: str) -> None:
        self._say(line)
        self._last = line.strip() or self._last
        if line.startswith("ERROR: "):  # what a RUN prints begins with its number
            self._error = line.removeprefix("ERROR: ").strip()
        found = _NOT_INSTALLED.search(line)
        if found and len(self.not_installed) < _MAX_NOT_INSTALLED:
            self.not_installed[found["package"]] = None
