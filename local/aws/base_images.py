"""Base images without a network: made from this machine's own Python and system, to replace the public images.

A generated Dockerfile starts from uv, and from Docker's official Python or an accelerator image without Python and
tools. The replacements contain the Python that runs this program, the shared libraries and the few programs that a
build needs, and the development environment's uv. They have no other version of Python, and no C compiler.
"""

import gzip
import hashlib
import io
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from launch_agent.image.pins import UV_VERSION
from local.aws.registry_client import MIRROR, RegistryClient
from local.folders import PATH

if TYPE_CHECKING:
    from local.aws.cloud import Cloud  # builds start without it, as it imports boto3

MIRROR_NOTE = "replaced with an image made from this machine's own system"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHON = "public.ecr.aws/docker/library/python"
UV = "ghcr.io/astral-sh/uv"
ACCELERATOR, ACCELERATOR_TAG = "nvidia/cuda", "12.8.1-base-ubuntu24.04"

_PROGRAMS = (
    *("sh", "bash", "env", "cat", "chmod", "cp", "cut", "date", "dirname", "echo", "false", "find", "grep", "head"),
    *("id", "ln", "ls", "mkdir", "mktemp", "mv", "readlink", "rm", "rmdir", "sed", "sleep", "sort", "stat", "tail"),
    *("tar", "test", "touch", "tr", "true", "uname", "wc", "which"),
)
_LIBRARIES = (
    *("libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "libresolv.so.2", "librt.so.1", "libutil.so.1"),
    *("libgcc_s.so.1", "libnss_dns.so.2", "libnss_files.so.2", "libstdc++.so.6", "libz.so.1"),
)
"""The libraries that wheels expect on every Linux."""
_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_CERTIFICATE = "/etc/ssl/certs/ca-certificates.crt"
_NOT_COPIED = ("site-packages", "dist-packages", "__pycache__", "test", "tests", "idlelib", "tkinter")


_GIT_HELPERS = ("git-remote-http", "git-remote-https", "git-sh-i18n", "git-sh-setup", "git-submodule")
_PACKAGES = "/var/lib/packages"
_APT_GET = f"""\
#!/bin/sh
# This image's apt-get: the image contains the packages; installing one copies it to its place.
case "$*" in *install*) ;; *) exit 0 ;; esac
for name; do
  case "$name" in install | -*) continue ;; esac
  [ -d "{_PACKAGES}/$name" ] || {{ echo "E: Unable to locate package $name"; exit 100; }}
  cp -a "{_PACKAGES}/$name/." /
done
"""

_made = threading.Lock()


def make(cloud: "Cloud") -> None:
    """Put the base images into the registry, once. Builds that start during this time wait for them."""
    with _made:
        _make(cloud)


def _make(cloud: "Cloud") -> None:
    ecr = cloud.client("ecr")
    owner = RegistryClient.of_role(cloud)
    for repository in (PYTHON, ACCELERATOR, UV):
        try:
            ecr.create_repository(repositoryName=f"{MIRROR}{repository}")
        except ecr.exceptions.RepositoryAlreadyExistsException:
            return
    uv = _layer(_uv())
    owner.push(f"{MIRROR}{UV}", UV_VERSION, [uv], {})
    system, python, tools = _layer(_system()), _layer(_python()), _layer(_tools())
    config = {"Env": [f"PATH={PATH}", f"SSL_CERT_FILE={_CERTIFICATE}"], "Cmd": ["python3"]}
    owner.push(f"{MIRROR}{PYTHON}", f"{VERSION}-slim-trixie", [system, python], config)
    owner.push(f"{MIRROR}{PYTHON}", f"{VERSION}-trixie", [system, python, tools], config)
    owner.push(f"{MIRROR}{ACCELERATOR}", ACCELERATOR_TAG, [system, _layer(_accelerator())], config)


def _layer(members: Iterable[tuple[str, Path | bytes | str]]) -> tuple[bytes, str]:
    """Pack members, each a path and a file, contents or link target; return the gzipped tar and the tar's digest."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, what in members:
            _add(tar, path.lstrip("/"), what)
    content = packed.getvalue()
    return gzip.compress(content, 1, mtime=0), f"sha256:{hashlib.sha256(content).hexdigest()}"


def _add(tar: tarfile.TarFile, name: str, what: Path | bytes | str) -> None:
    member = tarfile.TarInfo(name)
    if isinstance(what, Path):
        member = tar.gettarinfo(str(what.resolve()), name)
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        with what.open("rb") as file:
            tar.addfile(member, file)
    elif isinstance(what, str):
        member.type, member.linkname = tarfile.SYMTYPE, what
        tar.addfile(member)
    else:
        directory = name.endswith("/")
        member.type = tarfile.DIRTYPE if directory else tarfile.REGTYPE
        program = directory or what.startswith(b"#!")
        member.mode, member.size = 0o1777 if name == "tmp/" else 0o755 if program else 0o644, len(what)
        tar.addfile(member, io.BytesIO(what))


def _uv() -> Iterator[tuple[str, Path]]:
    path = shutil.which("uv", path=str(Path(__file__).parent.parent.parent / ".venv/bin"))
    if path is None:
        raise FileNotFoundError("The development environment has no uv. Run make setup.")
    yield "/uv", Path(path)


def _system() -> Iterator[tuple[str, Path | bytes | str]]:
    """Yield the parts of a Debian system with Python that a build and a training script need."""
    python, files = Path(sys.executable).resolve(), list(_python_files())
    programs = {name: Path(found).resolve() for name in _PROGRAMS if (found := shutil.which(name))}
    yield "/tmp/", b""  # noqa: S108 - a folder of the image
    yield "/root/", b""
    yield "/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"
    yield "/etc/group", b"root:x:0:\n"
    yield "/etc/os-release", Path("/etc/os-release")
    certificates = next((Path(path) for path in _CERTIFICATES if Path(path).exists()), None)
    if certificates:
        yield _CERTIFICATE, certificates
    if Path("/etc/ld.so.cache").exists():
        yield "/etc/ld.so.cache", Path("/etc/ld.so.cache")
    binaries = [python, *programs.values(), *(path for path in files if ".so" in path.suffixes)]
    for library in sorted(_shared_libraries(binaries)):
        yield library, Path(library)
    for path in files:
        yield str(path), path
    yield str(python), python
    for name, path in programs.items():
        yield f"/bin/{name}", path
    yield "/usr/bin/env", "/bin/env"


def _python() -> Iterator[tuple[str, Path | bytes | str]]:
    """Yield the links that put the system's Python where an official image has it."""
    for name in ("python", "python3", f"python{VERSION}"):
        yield f"/usr/local/bin/{name}", str(Path(sys.executable).resolve())


def _tools(folder: str = "") -> Iterator[tuple[str, Path | bytes | str]]:
    """Yield what the full image has and the slim one lacks, if this machine has it: git, and OpenMP's library."""
    git, known = shutil.which("git"), _known_libraries()
    if openmp := re.search(r"^\s+libgomp\.so\.1 \(.*\) => (\S+)$", known, re.MULTILINE):
        yield f"{folder}{openmp[1]}", Path(openmp[1])
    if git is None:
        return
    told = subprocess.run([git, "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()
    helpers = [path for name in _GIT_HELPERS if (path := Path(told, name)).exists()]
    for path in (Path(git), *helpers):
        yield f"{folder}{'/bin/git' if path == Path(git) else path}", path
    for library in sorted(_shared_libraries([Path(git), *helpers])):
        yield f"{folder}{library}", Path(library)


def _accelerator() -> Iterator[tuple[str, Path | bytes | str]]:
    """Yield the parts of an image without Python on its path: the Python that uv would download, and packages."""
    version, machine = ".".join(map(str, sys.version_info[:3])), platform.machine()
    yield f"/opt/python/cpython-{version}-linux-{machine}-gnu/bin/python{VERSION}", str(Path(sys.executable).resolve())
    yield "/usr/bin/apt-get", _APT_GET.encode()
    for name in ("build-essential", "ca-certificates"):
        yield f"{_PACKAGES}/{name}/", b""
    yield from _tools(f"{_PACKAGES}/git")


def _python_files() -> Iterator[Path]:
    """Yield the files of the standard library, and the wheels that `venv` installs; Debian keeps those elsewhere."""
    folders = [sysconfig.get_path("stdlib"), sysconfig.get_config_var("WHEEL_PKG_DIR")]
    for path in (path for folder in folders if folder for path in Path(folder).resolve().rglob("*")):
        if path.is_file() and not any(part in _NOT_COPIED or part.startswith("config-") for part in path.parts):
            yield path


def _shared_libraries(binaries: list[Path]) -> set[str]:
    """Return the paths of the shared libraries that programs and modules load."""
    told = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=False).stdout
    known = _known_libraries()
    needed = set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", told, re.MULTILINE))
    for name in _LIBRARIES:
        found = re.search(rf"^\s+{re.escape(name)} \(.*\) => (\S+)$", known, re.MULTILINE)
        needed |= {found[1]} if found else set()
    return needed


def _known_libraries() -> str:
    return subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, env={"PATH": PATH}, check=False).stdout


def reference_in_mirror(reference: str) -> tuple[str, str]:
    """Return the repository and tag that the mirror uses for another registry's image."""
    name, _, tag = reference.partition("@")[0].partition(":")
    return f"{MIRROR}{name}", tag or "latest"
