"""The parts of a job's code: artifacts and their manifests, patches, notebooks, requirements, and failed builds."""

import base64
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from launch_agent.builder.git import apply
from launch_agent.builder.notebook import script_of
from launch_agent.builder.requirements import find_requirements, wandb_warning
from launch_agent.clients.artifacts import Artifacts
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.image.build_failure import build_id_in, explain_without_build
from tests.documents import ROOT
from tests.fuzz.values import Parsers, almost_json, pumped
from tests.simulation.transport import answered

MD5 = base64.b64encode(hashlib.md5(b"", usedforsecurity=False).digest()).decode()
MANIFEST = {
    "version": 1,
    "contents": {"train.py": {"digest": MD5, "size": 0, "extra": {}}, "a/b": {"digest": MD5, "ref": None}},
}
DIGEST = hashlib.md5(
    f"wandb-artifact-manifest-v1\na/b:{MD5}\ntrain.py:{MD5}\n".encode(), usedforsecurity=False
).hexdigest()
ARTIFACT = {
    "id": "a",
    "digest": DIGEST,
    "state": "COMMITTED",
    "artifactType": {"name": "job"},
    "currentManifest": {"file": {"directUrl": "/manifest"}},
    "files": {
        "pageInfo": {"endCursor": None, "hasNextPage": False},
        "edges": [
            {"node": {"name": "train.py", "directUrl": "/file"}},
            {"node": {"name": "a/b", "directUrl": "/file"}},
        ],
    },
}
JOB_FILES = {"edges": [{"node": {"name": "wandb-job.json", "directUrl": "/job"}}]}
NAMED = {"project": {"artifactCollection": {"artifactMembership": {"artifact": ARTIFACT, "files": JOB_FILES}}}}
JOB = json.loads((ROOT / "tests/golden/code-job/wandb-job.json").read_text())


class Store:
    """W&B's artifacts, with valid answers except for some paths."""

    def __init__(self, instead: Mapping[str, bytes]) -> None:
        """Answer these paths with the given bytes instead."""
        self._answers = {
            "/graphql": json.dumps({"data": {"artifact": ARTIFACT, **NAMED}}).encode(),
            "/manifest": json.dumps(MANIFEST).encode(),
            "/job": json.dumps(JOB).encode(),
            "/file": b"",
            **instead,
        }
        self.objects: dict[str, bytes] = {}

    def answer(self, _: str, url: str, *__: Any) -> Any:
        """Answer a request to W&B."""
        content = self._answers.get(url)
        return (404, b"") if content is None else (200, content)


def reading(path: str, call: Callable[[Artifacts, Path], object]) -> Callable[[bytes], object]:
    """Return a function that reads artifacts, with its argument as the answer for `path`."""

    def read(content: bytes) -> object:
        store = Store({path: content})
        with answered(store, store), tempfile.TemporaryDirectory() as folder:
            return call(Artifacts(GraphqlClient("http://wandb", lambda: "key")), Path(folder))

    return read


def fuzz_patch(patch: bytes) -> object:
    """Apply a patch to a folder with one file."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "train.py").write_text("print(1)\n")
        return apply(patch, Path(folder))


def fuzz_requirements(content: bytes) -> object:
    """Read the same bytes as each kind of requirements file."""
    files = ("requirements.txt", "pyproject.toml", "requirements.frozen.txt")
    return [list(wandb_warning(find_requirements({name: content, "more.txt": content}))) for name in files]


def _job(artifacts: Artifacts, _: Path) -> object:
    return artifacts.job_with_code("team/jobs/job:v0", entity="team", project="p")


def _download(artifacts: Artifacts, folder: Path) -> object:
    return artifacts.download("a", folder, digest=DIGEST)


PATCH = [
    *"""diff --git a/train.py b/train.py
--- a/train.py
+++ b/train.py
@@ -1 +1 @@
-print(1)
+print(2)
Binary files a/x and b/x differ
GIT binary patch
new file mode 120000
Subproject commit 0123
\\ No newline
""".splitlines(keepends=True),
    *("../", "\r\n", "\0", " and ", " differ"),
]
REQUIREMENTS = [
    *"""wandb
torch==2.1
-r more.txt
-c more.txt
--index-url https://u:p@x/y
[project]
dependencies = [
--hash=sha256:
""".splitlines(keepends=True),
    *("-r ", "-e ", "-c ", "git+ssh://", "==", "a\\\n", "--hash=a ", "a.", "a ; "),
    *".=<;[](){}@# '\"\n\0",
]
CELLS = [
    *"""import os
%matplotlib inline
!ls
%%bash
x = !ls
?os
if x:
""".splitlines(keepends=True),
    *("'''", "(", "\\\n", "    ", "\t", "%time ", "\0", "\r", ";"),
]
CELL = {"cell_type": "code", "source": ["x = 1\n", "%time x\n"]}
NOTEBOOK = {"nbformat": 4, "cells": [CELL, {"cell_type": "markdown", "source": "#"}]}


def _bytes(pieces: list[str], *, at_most: int) -> SearchStrategy[bytes]:
    return st.binary(max_size=200) | pumped(pieces, at_most=at_most).map(lambda text: text.encode(errors="replace"))


def _notebook(cells: list[str]) -> bytes:
    return json.dumps({"nbformat": 4, "cells": [{"cell_type": "code", "source": cell} for cell in cells]}).encode()


SHOWN = {"data": {"artifact": ARTIFACT, **NAMED}}
PARSERS: Parsers = {
    "artifacts: what W&B says of a job": (almost_json([SHOWN]), reading("/graphql", _job)),
    "artifacts: wandb-job.json": (almost_json([JOB]), reading("/job", _job)),
    "artifacts: what W&B says of files": (almost_json([SHOWN]), reading("/graphql", _download)),
    "artifacts: manifests": (almost_json([MANIFEST]), reading("/manifest", _download)),
    "patches": (_bytes(PATCH, at_most=100_000), fuzz_patch),
    "requirements": (_bytes(REQUIREMENTS, at_most=1_000_000), fuzz_requirements),
    "notebooks": (
        almost_json([NOTEBOOK]) | st.lists(pumped(CELLS, at_most=10_000), max_size=3).map(_notebook),
        script_of,
    ),
    "causes of failed builds": (
        st.text() | pumped(['"Id": "', "x:", "0" * 36, '"', "{"]),
        lambda cause: (build_id_in(cause), explain_without_build("States.TaskFailed", cause)),
    ),
}
