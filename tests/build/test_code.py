"""A job's code is copied into a folder, and cannot make the builder read or write outside it."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from launch_agent.builder.code import fetch_code
from launch_agent.builder.code_folder import CodeFolder
from launch_agent.clients.artifacts import Artifacts
from launch_agent.errors import LaunchError
from launch_agent.image.recipe import ArtifactCode, BuildPlan, GitCode
from local.demo.git_server import GitServer, git_server
from tests.make import REPOSITORY, image_recipe, item_ref

EVIL = "#!/bin/sh\nenv\n"
NOTEBOOK = json.dumps(
    {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code", "source": EVIL}]}
)


class StoredArtifacts(Artifacts):
    """W&B's artifacts as files by id, for tests that do not test the download."""

    def __init__(self, files: Mapping[str, Mapping[str, str | bytes]]) -> None:
        self._stored = files

    def download(self, artifact_id: str, folder: Path, *, digest: str) -> list[str]:
        for name, content in self._stored[artifact_id].items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return list(self._stored[artifact_id])


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The building machine's files outside the code: its docker, and a secret."""
    folder = tmp_path / "machine"
    folder.mkdir()
    (folder / "docker").write_text("the real docker")
    (folder / "secret").write_text("index-url = https://user:token@example.com")
    return folder


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    folder = tmp_path / "repositories"
    folder.mkdir()
    return folder


@pytest.fixture
def server(repositories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitServer]:
    with git_server(repositories, tmp_path) as running:
        monkeypatch.setenv("GIT_SSL_CAINFO", str(running.certificate))
        yield running


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A clean git working copy."""
    folder = tmp_path / "work"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "README").write_text("hello\n")
    commit(folder)
    return folder


def git(folder: Path, *arguments: str) -> str:
    author = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "init.defaultBranch=main"]
    command = ["git", *author, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "work")


def served(source: Path, repositories: Path) -> str:
    """Publish a repository as job.git; return its commit."""
    git(source, "clone", "--quiet", "--bare", str(source), str(repositories / "job.git"))
    git(repositories / "job.git", "config", "uploadpack.allowAnySHA1InWant", "true")
    return git(source, "rev-parse", "HEAD").strip()


def git_job(server: GitServer, commit: str) -> GitCode:
    return GitCode(remote=f"{server.url}/job.git", commit=commit)


def as_patch(source: Path) -> str:
    """Return the changes since the last commit as a patch, and undo them."""
    git(source, "add", "--all")
    patch = git(source, "diff", "--cached")
    git(source, "reset", "--quiet", "--hard")
    return patch


def plan(code: ArtifactCode | GitCode, *, entry_point: str = "train.py", notebook: bool = False) -> BuildPlan:
    recipe = image_recipe(
        job_artifact_id="job", entry_point=("python", entry_point), notebook=notebook, python_version="3.12"
    )
    return BuildPlan(
        item=item_ref(),
        entity="e",
        job="e/p/j:v0",
        code=code,
        recipe=recipe,
        tag="t",
        repository=REPOSITORY,
        token="t",
    )


def fetched(
    tmp_path: Path, ordered: BuildPlan, job: Mapping[str, str], code: Mapping[str, str] | None = None
) -> tuple[CodeFolder, tuple[str, ...]]:
    (tmp_path / "code").mkdir()
    folder = CodeFolder(tmp_path / "code")
    _, warnings = fetch_code(ordered, folder, StoredArtifacts({"job": job, "code": code or {}}), {})
    return folder, warnings


def lead_out(folder: Path, machine: Path) -> None:
    """Replace the files that the builder reads and writes with links out of the folder."""
    (folder / "train.ipynb").write_text(NOTEBOOK)
    (folder / "train.py").symlink_to(machine / "docker")
    (folder / "requirements.frozen.txt").symlink_to(machine / "docker")
    (folder / "requirements.txt").symlink_to(machine / "secret")
    (folder / "Dockerfile.wandb").symlink_to(os.path.relpath(machine / "secret", folder))
    (folder / "inner").symlink_to(machine)
    (folder / "missing").symlink_to("not/there")


@pytest.mark.parametrize("variant", ["repository", "patch"])
def test_links_of_the_code_give_the_builder_nothing_of_its_machine(
    variant: str, tmp_path: Path, machine: Path, source: Path, repositories: Path, server: GitServer
) -> None:
    job = {"wandb-job.json": "{}", "requirements.frozen.txt": "wandb==0.31.0\n"}
    lead_out(source, machine)
    if variant == "patch":
        job["diff.patch"] = as_patch(source)
    else:
        commit(source)
    code = git_job(server, served(source, repositories))
    folder, warnings = fetched(tmp_path, plan(code, notebook=True), job)
    assert (machine / "docker").read_text() == "the real docker"
    assert sorted(each.name for each in machine.iterdir()) == ["docker", "secret"]
    assert folder.read_text("train.py") == f"# cell 1\n{EVIL}"
    assert folder.read_text("requirements.frozen.txt") == "wandb==0.31.0\n"
    assert folder.files() == {"README", "requirements.frozen.txt", "train.ipynb", "train.py"}
    (warning,) = warnings
    assert warning == (
        "These links of the code lead out of it and are not in the image: Dockerfile.wandb, inner, "
        "requirements.frozen.txt, requirements.txt, train.py."
    )


@pytest.mark.parametrize(
    "entry_point", ["../machine/docker", "inner/docker.py", "/etc/passwd", "a\0b.py", "sub/../../x.py"]
)
def test_a_notebook_outside_of_the_code_is_no_entry_point(
    entry_point: str, tmp_path: Path, machine: Path, source: Path, repositories: Path, server: GitServer
) -> None:
    (source / "inner").symlink_to(machine)
    (machine / "docker.ipynb").write_text(NOTEBOOK)
    commit(source)
    code = git_job(server, served(source, repositories))
    with pytest.raises(LaunchError, match="the job's notebook cannot be read"):
        fetched(tmp_path, plan(code, entry_point=entry_point, notebook=True), {"wandb-job.json": "{}"})
    assert sorted(each.name for each in machine.iterdir()) == ["docker", "docker.ipynb", "secret"]


@pytest.mark.parametrize("large_files", [False, True])
def test_a_warning_says_that_files_of_git_lfs_are_pointers(
    large_files: bool, tmp_path: Path, source: Path, repositories: Path, server: GitServer
) -> None:
    (source / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    commit(source)
    code = git_job(server, served(source, repositories)).model_copy(update={"large_files": large_files})
    _, warnings = fetched(tmp_path, plan(code), {})
    assert [each for each in warnings if "builder.git_lfs" in each] == list(warnings)
    assert bool(warnings) is not large_files


def test_a_patch_cannot_change_what_git_itself_reads(
    tmp_path: Path, source: Path, repositories: Path, server: GitServer
) -> None:
    code = git_job(server, served(source, repositories))
    patch = "--- /dev/null\n+++ b/.git/hooks/post-checkout\n@@ -0,0 +1 @@\n+touch /tmp/owned\n"
    with pytest.raises(LaunchError, match=r"invalid path '\.git"):
        fetched(tmp_path, plan(code), {"diff.patch": patch})


def test_the_codes_own_list_of_packages_is_kept_and_the_jobs_is_added_if_it_is_missing(tmp_path: Path) -> None:
    code = ArtifactCode(artifact_id="code", digest="c")
    folder, warnings = fetched(tmp_path, plan(code), {"requirements.frozen.txt": "a\n"}, {"train.py": ""})
    assert folder.files() == {"train.py", "requirements.frozen.txt"}
    assert warnings == ()


def test_an_artifacts_own_list_of_packages_stays(tmp_path: Path) -> None:
    code = ArtifactCode(artifact_id="code", digest="c")
    own = {"train.py": "", "requirements.frozen.txt": "own\n"}
    folder, _ = fetched(tmp_path, plan(code), {"requirements.frozen.txt": "a\n"}, own)
    assert folder.read_text("requirements.frozen.txt") == "own\n"
