"""`docker` for builds in the embedded AWS: runs the commands that the builder uses with this machine's container tool.

CodeBuild's images have Docker with BuildKit and buildx. Here buildah, podman or a plain Docker engine builds and
pushes instead; without any of them, a pseudo image is made. Other commands are refused.
"""

import argparse
import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import urllib3

from local.aws.base_images import MIRROR_NOTE, reference_in_mirror
from local.aws.containers import Tool, engine, storage_options, tool_environment
from local.aws.pseudo import build_pseudo_image

_ECR_HOST = re.compile(r"^\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$")
_REFERENCE = re.compile(r"^(?P<before>FROM\s+(?:--platform=\S+\s+)?|COPY\s+--from=)(?P<reference>\S+)", re.IGNORECASE)
_STAGE = re.compile(r"^FROM\s.*\sAS\s+(\S+)\s*$", re.IGNORECASE)
_TOO_MANY = "429 Too Many Requests"
_TURNED_AWAY = {
    "docker.io": "toomanyrequests: You have reached your unauthenticated pull rate limit. "
    "https://www.docker.com/increase-rate-limit",
    "public.ecr.aws": "toomanyrequests: Rate exceeded",
}
_HOST_FILES = ("/etc/pip.conf", "/etc/uv/uv.toml")
"""This machine's settings for package indexes. A RUN needs them to reach these."""


def main() -> int:
    """Run one command; return its exit code."""
    match sys.argv[1:]:
        case ["login", "--username", "AWS", "--password-stdin", host]:
            return _login(host, sys.stdin.read())
        case ["buildx", "create", *options]:
            return _create_builder(options)
        case ["buildx", "rm", "--force", name]:
            _builder(name).unlink(missing_ok=True)
            return 0
        case ["buildx", "build", *options]:
            return _build(options)
    print(
        f"docker {' '.join(sys.argv[1:3])}: the embedded AWS has only the commands that the builder uses",
        file=sys.stderr,
    )
    return 125


def _tool() -> Tool:
    tool: Tool = os.environ["LOCAL_CONTAINER_TOOL"]  # type: ignore[assignment]  # written by containers.py
    return tool


def _auth_file() -> Path:
    return Path(os.environ["HOME"], ".docker", "config.json")


def _builder(name: str) -> Path:
    return Path(os.environ["HOME"], ".docker", "buildx", name)


def _address(image: str) -> str:
    """Return an image's address on this machine: images in ECR are in the emulator's registry."""
    host, _, name = image.partition("/")
    return f"{os.environ['LOCAL_REGISTRY']}/{name}" if _ECR_HOST.fullmatch(host) else image


def _login(host: str, password: str) -> int:
    """Store the registry's password for this build."""
    auth = base64.b64encode(f"AWS:{password}".encode()).decode()
    path = _auth_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    known = json.loads(path.read_text() or "{}").get("auths", {})
    where = os.environ["LOCAL_REGISTRY"] if _ECR_HOST.fullmatch(host) else host
    path.write_text(json.dumps({"auths": {**known, where: {"auth": auth}}}))
    print(f"Login Succeeded: {host}")
    return 0


def _create_builder(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="docker buildx create", allow_abbrev=False)
    for name in ("--name", "--driver"):
        parser.add_argument(name, required=True)
    parser.add_argument("--driver-opt", action="append", default=[])
    parser.add_argument("--bootstrap", action="store_true")
    asked = parser.parse_args(arguments)
    images = [each.removeprefix("image=") for each in asked.driver_opt if each.startswith("image=")]
    refused = _refused_pull(images[0] if images else "moby/buildkit:buildx-stable-1")
    if refused:
        print(f"ERROR: Error response from daemon: {refused}", file=sys.stderr)
        return 1
    _builder(asked.name).parent.mkdir(parents=True, exist_ok=True)
    _builder(asked.name).touch()
    print(f"{_tool()} replaces BuildKit here, and keeps layers on this machine")
    return 0


def _refused_pull(reference: str) -> str:
    """Count a pull from an image's public registry; return the registry's error if the rate limit is exceeded."""
    first, slash, _ = reference.partition("/")
    registry = first if slash and ("." in first or ":" in first) else "docker.io"
    signed_in = _auth_file().exists() and registry in json.loads(_auth_file().read_text())["auths"]
    if signed_in or registry == os.environ["LOCAL_REGISTRY"]:
        return ""
    url = f"http://{os.environ['LOCAL_REGISTRY']}/_local/pulls/{registry}"
    return "" if urllib3.request("POST", url, retries=False).status == 200 else _TURNED_AWAY.get(registry, _TOO_MANY)


def _build(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="docker buildx build", allow_abbrev=False)
    for name in ("--builder", "--progress", "--platform", "--provenance", "--sbom", "--cache-from", "--cache-to"):
        parser.add_argument(name)
    parser.add_argument("--build-arg", action="append", default=[])
    parser.add_argument("--secret", action="append", default=[])
    parser.add_argument("--metadata-file")  # builds of version 0.1.0 use it. Delete with tests/upgrade/0.1.0.
    for name in ("--file", "--output"):
        parser.add_argument(name, required=True)
    parser.add_argument("context")
    asked = parser.parse_args(arguments)
    dockerfile = Path(asked.file)
    refused = _refused_build(asked.builder, asked.cache_to, dockerfile)
    if refused:
        print(f"ERROR: failed to build: {refused}", flush=True)
        return 1
    output = dict(each.partition("=")[::2] for each in asked.output.split(","))
    image = _address(output["name"])
    print(f"{_tool()} builds this image; cache options have no effect, because it has its own cache", flush=True)
    if _tool() == "none":
        status = _build_pseudo(image, dockerfile, asked.context)
    else:
        status = _build_with_tool(image, dockerfile, asked)
    if asked.metadata_file and not status:
        Path(asked.metadata_file).write_text(json.dumps(_pushed(image)))
    return status


def _pushed(image: str) -> dict[str, object]:
    """Return the pushed image's metadata in BuildKit's form."""
    registry, _, name = image.partition("/")
    repository, _, tag = name.rpartition(":")
    url = f"http://{registry}/v2/{repository}/manifests/{tag}"
    answer = urllib3.request("GET", url, headers={"Authorization": _auth_header()}, retries=False)
    digest = answer.headers["Docker-Content-Digest"]
    descriptor = {"mediaType": answer.headers["Content-Type"], "digest": digest, "size": len(answer.data)}
    return {"containerimage.digest": digest, "containerimage.descriptor": descriptor}


def _refused_build(builder: str, cache_to: str | None, dockerfile: Path) -> str:
    """Return the error that buildx would stop with; empty if it would build."""
    if builder == "default" and cache_to:
        return "Cache export is not supported for the docker driver."
    if builder != "default" and not _builder(builder).exists():
        return f'no builder "{builder}" found'
    for reference in _references(dockerfile):
        refused = _refused_pull(reference)
        if refused:
            return f"failed to solve: {reference}: {refused}"
    return ""


def _references(dockerfile: Path) -> list[str]:
    """Return the images that a Dockerfile uses, except its own stages, `scratch` and images in ECR."""
    lines = dockerfile.read_text().splitlines()
    stages = {found[1] for line in lines if (found := _STAGE.match(line))}
    named = [found["reference"] for line in lines if (found := _REFERENCE.match(line))]
    return [
        each
        for each in named
        if each not in stages and each != "scratch" and not _ECR_HOST.match(each.partition("/")[0])
    ]


def _build_pseudo(image: str, dockerfile: Path, context: str) -> int:
    return build_pseudo_image(image, _auth_header(), dockerfile.read_text(), Path(context))


def _build_with_tool(image: str, dockerfile: Path, asked: argparse.Namespace) -> int:
    """Build with the mirror's images instead of the public ones, and push the result."""
    rewritten = Path(os.environ["HOME"], "Dockerfile")
    rewritten.write_text("\n".join(map(_with_mirror, dockerfile.read_text().splitlines())) + "\n")
    _keep_ignored(dockerfile, rewritten)
    tool = _tool()
    command = _buildah() if tool == "buildah" else engine(tool, _auth_file())
    options = ["--network", "host", "--file", str(rewritten), "--tag", image]
    options += [part for each in asked.secret for part in ("--secret", each)]
    options += [part for each in asked.build_arg for part in ("--build-arg", each) if "_PROXY=" in each.upper()]
    if tool != "docker":
        auth = ["--authfile", str(_auth_file()), "--tls-verify=false"]
        mounts = [f"--volume={path}:{path}:ro" for path in _HOST_FILES if Path(path).exists()] + _git_mounts()
        options += ["--isolation", "chroot", "--layers", "--format", "docker", *auth, *mounts]
    status = _call([*command, "build", *options, asked.context])
    if status:
        return status
    pushing = [*command, "push", *(auth if tool != "docker" else []), image]
    status = _call(pushing)
    if tool == "docker":
        _call([*command, "rmi", "--force", image])
    return status


def _git_mounts() -> list[str]:
    """Return mounts that make git in a RUN trust the same servers as in the build."""
    certificates = os.environ.get("GIT_SSL_CAINFO")
    if not certificates:
        return []
    settings = Path(os.environ["HOME"], "gitconfig")
    settings.write_text(f"[http]\n\tsslCAInfo = {certificates}\n")
    return [f"--volume={certificates}:{certificates}:ro", f"--volume={settings}:/etc/gitconfig:ro"]


def _buildah() -> list[str]:
    return ["buildah", *storage_options(Path(os.environ["LOCAL_CONTAINER_STORAGE"]))]


def _call(command: list[str]) -> int:
    environment = {**os.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    environment.pop("DOCKER_HOST", None)
    if _tool() == "buildah":
        # Without these, buildah leaves folders of the user's in /tmp.
        own = tool_environment(Path(os.environ["LOCAL_CONTAINER_STORAGE"]))
        environment |= {name: own[name] for name in ("TMPDIR", "XDG_RUNTIME_DIR")}
    # The first folder on the path contains this program as `docker`.
    environment["PATH"] = os.environ["PATH"].partition(os.pathsep)[2]
    sys.stdout.flush()
    return subprocess.run(command, env=environment, check=False).returncode


def _keep_ignored(dockerfile: Path, rewritten: Path) -> None:
    ignored = Path(f"{dockerfile}.dockerignore")
    if ignored.exists():
        shutil.copy(ignored, f"{rewritten}.dockerignore")


def _with_mirror(line: str) -> str:
    """Return a line of a Dockerfile, with the mirror's image instead of the public one if the mirror has it."""
    found = _REFERENCE.match(line)
    if not found:
        return line
    repository, tag = reference_in_mirror(found["reference"])
    registry = os.environ["LOCAL_REGISTRY"]
    if urllib3.request("HEAD", f"http://{registry}/v2/{repository}/manifests/{tag}", retries=False).status != 200:
        return line
    print(f"{found['reference']}: {MIRROR_NOTE}", flush=True)
    return f"{found['before']}{registry}/{repository}:{tag}{line[found.end() :]}"


def _auth_header() -> str:
    auth = json.loads(_auth_file().read_text())["auths"][os.environ["LOCAL_REGISTRY"]]
    return f"Basic {auth['auth']}"


if __name__ == "__main__":
    sys.exit(main())
