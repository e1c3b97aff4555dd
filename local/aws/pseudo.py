"""Pseudo images, for machines without a container tool: images of only the files that a Dockerfile copies.

RUN and COPY --from are skipped. A pseudo image is a valid image, and a label marks it.
"""

import gzip
import hashlib
import io
import json
import posixpath
import re
import shlex
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local.aws.registry_client import RegistryClient

LABEL = "pseudo"
_SKIPPED = ("RUN", "ARG", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "SHELL", "STOPSIGNAL", "USER", "VOLUME")


def build_pseudo_image(image: str, authorization: str, dockerfile: str, context: Path) -> int:
    """Build an image from a Dockerfile's last stage and push it; return an exit code."""
    print("pseudo image: this machine has no buildah, podman or Docker engine", flush=True)
    config: dict[str, Any] = {"Env": [], "WorkingDir": "/", "Labels": {LABEL: "RUN was skipped"}}
    packed = io.BytesIO()
    try:
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for keyword, rest in _last_stage(dockerfile):
                _step(keyword, rest, config, tar, context)
    except (FileNotFoundError, ValueError) as error:
        print(f"pseudo image: {error}")
        return 1
    content = packed.getvalue()
    layer = gzip.compress(content, 1, mtime=0), f"sha256:{hashlib.sha256(content).hexdigest()}"
    registry, _, name = image.partition("/")
    repository, _, tag = name.rpartition(":")
    RegistryClient(f"http://{registry}", authorization).push(repository, tag, [layer], config)
    return 0


def _last_stage(dockerfile: str) -> Iterator[tuple[str, str]]:
    """Yield the keyword and the rest of each instruction from the last FROM on."""
    lines = re.sub(r"\\\n", " ", dockerfile).splitlines()
    steps = [line.strip().partition(" ")[::2] for line in lines if line.strip() and not line.strip().startswith("#")]
    begins = [number for number, (keyword, _) in enumerate(steps) if keyword.upper() == "FROM"]
    for keyword, rest in steps[begins[-1] if begins else 0 :]:
        print(f"STEP {keyword} {rest}", flush=True)
        yield keyword.upper(), rest.strip()


def _step(keyword: str, rest: str, config: dict[str, Any], tar: tarfile.TarFile, context: Path) -> None:
    """Run one instruction. Raises FileNotFoundError for a missing file, and ValueError for an unknown instruction."""
    if keyword in _SKIPPED or keyword == "FROM":
        print(f"pseudo image: {keyword} skipped", flush=True)
    elif keyword in ("COPY", "ADD"):
        _copy(rest, config["WorkingDir"], tar, context)
    elif keyword == "ENV":
        config["Env"] += [each for each in shlex.split(rest) if "=" in each]
    elif keyword == "WORKDIR":
        config["WorkingDir"] = posixpath.join(config["WorkingDir"], rest)
    elif keyword in ("ENTRYPOINT", "CMD"):
        config[keyword.title()] = json.loads(rest) if rest.startswith("[") else ["/bin/sh", "-c", rest]
    else:
        raise ValueError(f"unknown instruction {keyword}")


def _copy(rest: str, folder: str, tar: tarfile.TarFile, context: Path) -> None:
    words = json.loads(rest) if rest.startswith("[") else shlex.split(rest)
    if any(word.startswith("--from") for word in words):
        print("pseudo image: COPY --from skipped", flush=True)
        return
    *sources, target = [word for word in words if not word.startswith("--")]
    target = posixpath.join(folder, target)
    for source in sources:
        path = context / source
        inside = posixpath.join(target, path.name) if path.is_file() and target.endswith("/") else target
        tar.add(path, arcname=inside.strip("/"))
