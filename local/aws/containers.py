"""The container tool that builds and runs images on this machine: buildah, podman, a Docker engine, or none.

Without a tool, images are pseudo images: COPY copies files and RUN is skipped. A training job then runs as a plain
process, with the image's files under other paths.
"""

import base64
import getpass
import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from local.aws import base_images
from local.aws.registry_client import RegistryClient
from local.folders import PATH, remove

if TYPE_CHECKING:
    from local.aws.cloud import Cloud  # builds start without it, as it imports boto3

Tool = Literal["buildah", "podman", "docker", "none"]

_SHELL = ["/bin/sh", "-c"]
# In a chroot, buildah ends with the command, even if it has not passed on the last lines yet. With this script, it ends
# a moment later. SIGTERM is for the command alone.
_LINGER = 'trap : TERM; "$0" "$@"; code=$?; sleep 0.3; exit "$code"'

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent


def find_tool(requested: str, storage: Path) -> tuple[Tool, str]:
    """Return the container tool to use and, if it is `none`, why the installed tools cannot be used.

    `auto` selects the first tool that works here. Raises SystemExit if a tool requested by name does not work.
    """
    tools: tuple[Tool, ...] = ("buildah", "podman", "docker")
    reasons = []
    for tool in tools:
        if requested in ("auto", tool):
            reason = _reason_against(tool, storage)
            if reason is None:
                return tool, ""
            reasons += [f"{tool} cannot be used: {reason}"] if reason else []
    if requested not in ("auto", "none"):
        raise SystemExit("".join(reasons) or f"{requested} is not installed.")
    return "none", " ".join(reasons)


def _reason_against(tool: str, storage: Path) -> str | None:
    """Return why a container tool cannot be used: empty if it is not installed; None if it can be used."""
    if shutil.which(tool, path=PATH) is None:
        return ""
    if sys.platform != "linux":
        return "images are made from this machine's own system, which must be Linux."
    maps_users = os.geteuid() != 0 and tool != "docker"
    if maps_users and not all(shutil.which(name, path=PATH) for name in ("newuidmap", "newgidmap")):
        return "newuidmap is missing. On Debian and Ubuntu: apt install uidmap."
    if maps_users and not _has_sub_uids():
        ranges = "--add-subuids 100000-165535 --add-subgids 100000-165535"
        return f"this user has no sub-uids. Run as root: usermod {ranges} {getpass.getuser()}."
    if tool != "buildah":
        return _complaint([tool, "info"], _own())
    for driver in ("overlay", "vfs"):  # vfs works everywhere, but copies every file of each layer
        command = ["buildah", *storage_options(storage, driver), "info"]
        complaint = _complaint(command, tool_environment(storage))
        if complaint is None:
            (storage / "driver").write_text(driver)
            return None
    return complaint


def _complaint(command: list[str], environment: dict[str, str]) -> str | None:
    told = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return (told.stderr or told.stdout).strip() if told.returncode else None


def _has_sub_uids() -> bool:
    """Return whether this user has sub-uids, which an image's users are mapped to."""
    names = {getpass.getuser(), str(os.getuid())}
    files = [Path("/etc/subuid"), Path("/etc/subgid")]
    return all(
        file.exists() and names & {line.split(":")[0] for line in file.read_text().splitlines()} for file in files
    )


def tool_environment(storage: Path) -> dict[str, str]:
    """Return an environment that keeps all of buildah's files inside `storage`."""
    (storage / "runtime").mkdir(parents=True, exist_ok=True, mode=0o700)
    return {**_own(), "TMPDIR": str(storage / "runtime"), "XDG_RUNTIME_DIR": str(storage / "runtime")}


class Containers:
    """Builds and runs images with one tool. Its files are in the cloud's folder, or in the Docker engine's."""

    def __init__(self, cloud: "Cloud") -> None:
        """Choose a tool for images in this cloud's registry. Raises SystemExit if the requested tool does not work."""
        self._cloud = cloud
        self._storage = cloud.data / "containers"
        self.tool, self.reason = find_tool(cloud.container_tool, self._storage)

    def build_environment(self) -> dict[str, str]:
        """Create the base images; return the variables that a build's `docker`, `aws` and `python3` need."""
        if self.tool != "none":
            base_images.make(self._cloud)
        return {
            "LOCAL_CONTAINER_TOOL": self.tool,
            "LOCAL_CONTAINER_STORAGE": str(self._storage),
            "LOCAL_PYTHON": sys.executable,
            "LOCAL_REGISTRY": self._cloud.url.removeprefix("http://"),
            "LOCAL_ROOT": str(_ROOT),
            "PATH": os.pathsep.join([str(_HERE / "bin"), str(_ROOT / ".venvs/codebuild/bin"), PATH]),
        }

    def run(self, image: "PulledImage", command: list[str], environment: dict[str, str], opt_ml: Path) -> "Run":
        """Return how to run a command in a container of an image, with `opt_ml` as its /opt/ml.

        Raises CalledProcessError if the image cannot be pulled.
        """
        scratch = opt_ml.with_name(f"{opt_ml.name}-container")
        if self.tool == "none" or image.is_pseudo:
            return _pseudo_run(image, command, environment, opt_ml, scratch)
        if self.tool == "buildah":
            return _buildah_run(image, command, environment, opt_ml, scratch, self._storage)
        return _engine_run(self.tool, image, command, environment, opt_ml, scratch)

    def close(self) -> None:
        """Remove all stored images and containers."""
        remove(self._storage)


class Run(NamedTuple):
    """A process to start, and the commands to run when it has ended."""

    command: list[str]
    environment: dict[str, str]
    folder: Path
    afterwards: tuple[list[str], ...] = ()


def storage_options(storage: Path, driver: str = "") -> list[str]:
    """Return the options that make buildah keep its files in `storage`, with `driver` or the one known to work."""
    driver = driver or (storage / "driver").read_text()
    return ["--root", str(storage / driver), "--runroot", str(storage / "run"), "--storage-driver", driver]


class PulledImage(NamedTuple):
    """An image that a role may pull, and the registry client with the role's credentials."""

    client: RegistryClient
    repository: str
    reference: str
    config: dict[str, Any]
    layers: list[str]

    @property
    def address(self) -> str:
        """The image's address in this machine's registry."""
        separator = "@" if self.reference.startswith("sha256:") else ":"
        return f"{self.client.address}/{self.repository}{separator}{self.reference}"

    @property
    def is_pseudo(self) -> bool:
        """Whether the image was built without a container tool."""
        return "pseudo" in (self.config.get("Labels") or {})

    def sign_in(self, folder: Path) -> Path:
        """Write the role's credentials for the registry into a folder, for the container tools; return the file."""
        auth = base64.b64encode(f"AWS:{self.client.password}".encode()).decode()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "config.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps({"auths": {self.client.address: {"auth": auth}}}))
        return path


def pulled(client: RegistryClient, repository: str, reference: str) -> PulledImage | None:
    """Look up an image in the registry; None if it does not exist. Raises Denied if the role may not pull it."""
    image = client.image(repository, reference)
    if image is None:
        return None
    layers = [layer["digest"] for layer in image.manifest["layers"]]
    return PulledImage(client, repository, reference, image.config["config"], layers)


def _buildah_run(
    image: PulledImage, command: list[str], environment: dict[str, str], opt_ml: Path, scratch: Path, storage: Path
) -> Run:
    name = f"training-{uuid.uuid4().hex[:12]}"
    buildah, own = ["buildah", *storage_options(storage)], tool_environment(storage)
    auth = ["--authfile", str(image.sign_in(scratch)), "--tls-verify=false"]
    _call([*buildah, "from", "--quiet", "--name", name, *auth, f"docker://{image.address}"], own)
    # Unlike the other tools, buildah needs each variable's value on the command line.
    passed = [f"--env={name}={value}" for name, value in environment.items()]
    run = [*buildah, "run", "--isolation", "chroot", "--volume", f"{opt_ml}:/opt/ml"]
    shell = subprocess.run([*run, name, "--", *_SHELL, ":"], capture_output=True, env=own, check=False)
    start = [] if shell.returncode else [*_SHELL, _LINGER]
    return Run([*run, *passed, name, "--", *start, *command], own, scratch, ([*buildah, "rm", name],))


def _engine_run(
    tool: str, image: PulledImage, command: list[str], environment: dict[str, str], opt_ml: Path, scratch: Path
) -> Run:
    name = f"training-{uuid.uuid4().hex[:12]}"
    program = engine(tool, image.sign_in(scratch))
    insecure = ["--tls-verify=false"] if tool == "podman" else []
    _call([*program, "pull", "--quiet", *insecure, image.address], _own())
    passed, variables = _passed(environment)
    run = [*program, "run", "--rm", "--name", name, "--network", "host", "--volume", f"{opt_ml}:/opt/ml", *passed]
    run += ["--entrypoint", command[0], image.address, *command[1:]]
    return Run(run, variables, scratch, ([*program, "rm", "--force", name], [*program, "rmi", image.address]))


def engine(tool: str, auth: Path) -> list[str]:
    """Return the command of podman or Docker, with credentials from a file."""
    if tool == "podman":
        return ["env", f"REGISTRY_AUTH_FILE={auth}", "podman"]
    return [shutil.which("docker", path=PATH) or "docker", "--config", str(auth.parent)]


def _own() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("HOME", "XDG_RUNTIME_DIR") if name in os.environ}
    return {**kept, "PATH": PATH}


def _passed(environment: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """Pass variables by name, so that process lists do not show their values. The tool's own variables need values."""
    own = _own()
    options = [f"--env={name}={environment[name]}" if name in own else f"--env={name}" for name in environment]
    return options, {**environment, **own}


def _pseudo_run(
    image: PulledImage, command: list[str], environment: dict[str, str], opt_ml: Path, scratch: Path
) -> Run:
    """Unpack the image's files, and run the command with their paths on this machine."""
    root = scratch / "root"
    root.mkdir(parents=True)
    for digest in image.layers:
        # tar does not follow links out of the folder; tarfile refuses those only since Python 3.11.4.
        layer = image.client.blob(image.repository, digest)
        subprocess.run(["tar", "-xzf", "-", "--no-same-owner", "-C", root], input=layer, check=True, env={"PATH": PATH})
    variables = dict(each.partition("=")[::2] for each in image.config.get("Env") or [])
    training = str(_ROOT / ".venvs/training/bin")
    program = f"{training}/python" if Path(command[0]).name.startswith("python") else command[0]

    def here(text: str) -> str:
        text = text.replace("/opt/ml", str(opt_ml))
        return str(root / text[1:]) if text.startswith("/") and (root / text[1:]).exists() else text

    mapped = {name: here(value) for name, value in {**variables, **environment}.items()}
    path = f"{training}:{mapped.get('PATH', PATH)}"
    folder = root / (image.config.get("WorkingDir") or "/")[1:]
    return Run([program, *map(here, command[1:])], {**mapped, "PATH": path, "HOME": str(opt_ml)}, folder)


def _call(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
