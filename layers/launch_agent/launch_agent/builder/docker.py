"""Docker with BuildKit, as AWS CodeBuild's images have it: signs in to registries, builds, and pushes."""

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from launch_agent.errors import ImageBuildFailed
from launch_agent.image.dockerfile import NOT_INSTALLED
from launch_agent.image.recipe import BuildPlan
from launch_agent.model import Wire

_BUILDER = "launch-agent"
_WAITS = (5, 20, 60)
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_NOT_INSTALLED = re.compile(re.escape(NOT_INSTALLED) + r" (?P<package>[^$\s\"].*)")


class _Descriptor(Wire):
    media_type: str = Field(alias="mediaType", default="")


class BuiltImage(NamedTuple):
    """What came of a build."""

    digest: str
    not_installed: tuple[str, ...]
    """Packages of a frozen list that could not be installed."""


def sign_in(registry: str, password: str) -> None:
    """Sign in to an ECR registry by its host name. Raises ImageBuildFailed."""
    command = ["docker", "login", "--username", "AWS", "--password-stdin", registry]
    finished = subprocess.run(command, input=password, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise ImageBuildFailed(f"Docker could not sign in to {registry}: {finished.stderr.strip()}")


def create_builder(say: Callable[[str], None]) -> None:
    """Start a BuildKit of our own, which alone can keep layers in a registry. Raises ImageBuildFailed.

    Its image comes from Docker Hub, which turns callers away who share an address with too many others.
    """
    command = ["docker", "buildx", "create", "--name", _BUILDER, "--driver", "docker-container", "--bootstrap"]
    for wait in (*_WAITS, None):
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if not finished.returncode:
            return
        if wait is None:
            raise ImageBuildFailed(f"BuildKit did not start: {finished.stderr.strip()[-500:]}")
        say(f"BuildKit did not start, trying again in {wait} s: {finished.stderr.strip()[-500:]}")
        subprocess.run(["docker", "buildx", "rm", "--force", _BUILDER], capture_output=True, check=False)
        time.sleep(wait)


def build(plan: BuildPlan, dockerfile: Path, context: Path, say: Callable[[str], None]) -> BuiltImage:
    """Build an image and push it, saying each line of the log. Raises ImageBuildFailed.

    SageMaker takes an image in Docker's own format, without an index or attestations around it.
    """
    with tempfile.TemporaryDirectory() as folder:
        metadata = Path(folder, "metadata.json")
        lines = list(_run(_command(plan, dockerfile, context, metadata), say))
        told = json.loads(metadata.read_text())
    descriptor = _Descriptor.model_validate(told["containerimage.descriptor"])
    if descriptor.media_type != _MANIFEST:
        raise ImageBuildFailed(
            f"the image was pushed as {descriptor.media_type}, and SageMaker takes {_MANIFEST} only."
        )
    found = (_NOT_INSTALLED.search(line) for line in lines)
    return BuiltImage(told["containerimage.digest"], tuple(dict.fromkeys(each["package"] for each in found if each)))


def _command(plan: BuildPlan, dockerfile: Path, context: Path, metadata: Path) -> list[str]:
    return [
        *("docker", "buildx", "build", "--builder", _BUILDER, "--progress", "plain"),
        *("--platform", plan.recipe.platform, "--file", str(dockerfile), "--metadata-file", str(metadata)),
        *("--provenance=false", "--sbom=false"),
        *("--output", f"type=image,name={plan.image},push=true,oci-mediatypes=false"),
        *("--cache-from", f"type=registry,ref={plan.cache}"),
        "--cache-to",
        f"type=registry,ref={plan.cache},mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true",
        str(context),
    ]


def _run(command: Sequence[str], say: Callable[[str], None]) -> Iterator[str]:
    """Yield each line that a command prints. Raises ImageBuildFailed, with the line that says why, if it fails."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    last = ""
    for line in process.stdout or ():
        say(line.rstrip("\n"))
        last = line.strip() or last
        yield line
    if process.wait():
        raise ImageBuildFailed(f"docker buildx build failed: {last}")
