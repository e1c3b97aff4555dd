"""Uses Docker and BuildKit of AWS CodeBuild's images: signs in to registries, builds, and pushes."""

import re
import time
from collections.abc import Callable, Mapping
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
    # The code is not trusted: git would read settings in it that name programs to run.
    "BUILDX_GIT_INFO": "false",
    "BUILDX_GIT_LABELS": "false",
    "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
}
_CREDENTIALS = "169.254.0.0/16"
_TOO_MANY_REQUESTS = re.compile(r"toomanyrequests|429 Too Many Requests", re.IGNORECASE)
_MAY_NAME_FRONTEND = re.compile(r"syntax|^[^\S\n]*+\{", re.IGNORECASE | re.MULTILINE)
_NOT_INSTALLED = re.compile(re.escape(NOT_INSTALLED) + r" (?P<package>[^$\s\"].*)")
_MAX_NOT_INSTALLED = 100

Say = Callable[[str], None]
Pause = Callable[[float], None]


class Order(NamedTuple):
    """What to build and push."""

    image: str
    """The image's address, by tag."""
    cache: str
    """The address at which layers are stored for the next build."""
    platform: str
    dockerfile: Path
    context: Path
    text: str
    """The contents of the Dockerfile."""
    secrets: Mapping[str, Path] = {}
    """Files that commands of the Dockerfile can mount, by name. They are in no layer and no argument."""
    proxies: Mapping[str, str] = {}
    """HTTPS_PROXY and NO_PROXY, if there is a proxy."""


def keep_from_credentials() -> None:
    """Block containers, so also the commands of a Dockerfile, from the addresses at which AWS provides credentials.

    These are link-local addresses. DNS is allowed, as name servers may have such an address. Docker has a chain for
    such rules (https://docs.docker.com/engine/network/packet-filtering-firewalls/). Raises ImageBuildFailed if a rule
    cannot be set; then nothing is built.
    """
    rules = [
        ["--jump", "REJECT"],
        *(["--protocol", each, "--dport", "53", "--jump", "RETURN"] for each in ("tcp", "udp")),
    ]
    for rule in rules:
        # Each rule is inserted in front of the one before it.
        command = ["iptables", "--wait", "--insert", "DOCKER-USER", "--destination", _CREDENTIALS, *rule]
        finished = run(command, variables={})
        if finished.code:
            raise ImageBuildFailed(
                "access to the build machine's credentials could not be blocked, so the image was not built: "
                f"{finished.errors}"
            )


def sign_in(registry: str, password: str) -> None:
    """Sign in to a registry of Amazon's. `registry` is its host name. Raises ImageBuildFailed."""
    command = ["docker", "login", "--username", "AWS", "--password-stdin", registry]
    finished = run(command, variables={}, typed=password)
    if finished.code:
        raise ImageBuildFailed(f"Docker could not sign in to {registry}: {finished.errors}")


def start_buildkit(
    image: str, say: Say, pause: Pause = time.sleep, *, proxies: Mapping[str, str] | None = None
) -> bool:
    """Start a separate BuildKit, which can store layers in a registry; return whether it started.

    It pulls and pushes through the proxy. An option of the driver is a line of CSV, and NO_PROXY has commas.
    The pull of its image may fail at first: registries limit the requests from one address, which others use too.
    """
    command = ["docker", "buildx", "create", "--name", _BUILDKIT, "--driver", "docker-container"]
    command += ["--driver-opt", f"image={image}", "--bootstrap"]
    command += [part for name, value in (proxies or {}).items() for part in ("--driver-opt", f'"env.{name}={value}"')]
    for wait in (*_STARTS, None):
        finished = run(command, variables={})
        if not finished.code:
            return True
        why = finished.errors[-500:]
        run(["docker", "buildx", "rm", "--force", _BUILDKIT], variables={})
        if wait is None:
            say(f"BuildKit did not start: {why}. Docker itself builds the image, without the layers of earlier builds.")
            return False
        say(f"BuildKit did not start, trying again in {wait} s: {why}")
        pause(wait)
    raise AssertionError("the last try returns")


def build(order: Order, say: Say, *, with_buildkit: bool, pause: Pause = time.sleep) -> tuple[str, ...]:
    """Build and push an image, and pass each line of the log to `say`. Return the packages that could not be installed.

    If a registry limits requests, tries again. Raises ImageBuildFailed with the line that says why.
    """
    for wait in (*_LIMITED, None):
        reading = _Reading(say)
        code = run_aloud(_command(order, with_buildkit=with_buildkit), reading.line, variables=_VARIABLES)
        if not code:
            return tuple(reading.not_installed)
        if wait is None or not _TOO_MANY_REQUESTS.search(reading.why):
            raise ImageBuildFailed(f"docker buildx build failed: {reading.why}")
        say(f"a registry limits requests, trying again in {wait} s: {reading.why}")
        pause(wait)
    raise AssertionError("the last try returns or raises")


def _command(order: Order, *, with_buildkit: bool) -> list[str]:
    """Return the build command.

    SageMaker needs an image in Docker's own format, without an index or attestations. Docker's built-in builder cannot
    store layers in a registry. A Dockerfile may name its parser (`# syntax=`); the pinned one is used instead.
    """
    kept = f"type=registry,ref={order.cache},mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true"
    cache = ["--cache-from", f"type=registry,ref={order.cache}", "--cache-to", kept]
    # Docker knows these arguments: commands have them as variables, and the history of the image does not.
    arguments = [f"{each}={value}" for name, value in order.proxies.items() for each in (name, name.lower())]
    proxies = [part for each in arguments for part in ("--build-arg", each)]
    frontend = ["--build-arg", f"BUILDKIT_SYNTAX={FRONTEND}"] if _MAY_NAME_FRONTEND.search(order.text) else []
    return [
        *("docker", "buildx", "build", "--builder", _BUILDKIT if with_buildkit else _DEFAULT, "--progress", "plain"),
        *("--platform", order.platform, "--file", str(order.dockerfile), "--provenance=false", "--sbom=false"),
        *("--output", f"type=image,name={order.image},push=true,oci-mediatypes=false"),
        *(cache if with_buildkit else []),
        *frontend,
        *proxies,
        *(part for name, path in order.secrets.items() for part in ("--secret", f"id={name},src={path}")),
        str(order.context),
    ]


class _Reading:
    """Collects the last error and the missing packages from a build's log, and passes on each line."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._last, self._error = "", ""
        self.not_installed: dict[str, None] = {}

    @property
    def why(self) -> str:
        """The line that says why the build failed."""
        return self._error or self._last

    def line(self, line: str) -> None:
        self._say(line)
        self._last = line.strip() or self._last
        if line.startswith("ERROR: "):  # the output of a RUN begins with a number
            self._error = line.removeprefix("ERROR: ").strip()
        found = _NOT_INSTALLED.search(line)
        if found and len(self.not_installed) < _MAX_NOT_INSTALLED:
            self.not_installed[found["package"]] = None
