"""The input of an image build: the Dockerfile and its build context."""

import ast
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from launch_agent.builder.code_folder import CodeFolder
from launch_agent.builder.context import BuildContext, lay_out
from launch_agent.errors import UnsupportedJobSource
from tests.make import image_recipe

RECIPE = image_recipe()
GENERATED = {"train.py": "", "requirements.txt": "wandb\n"}


def laid_out(
    tmp_path: Path, files: Mapping[str, str | bytes], *, history: list[str] | None = None, **recipe: Any
) -> BuildContext:
    source = tmp_path / "source"
    for name, content in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    folder = CodeFolder(source)
    return lay_out(
        RECIPE.model_copy(update=recipe),
        folder,
        tmp_path / "context",
        lambda: (history if history is not None else []).append("fetched"),
    )


def copied(context: BuildContext) -> set[str]:
    """Return the paths of the context's files that the Dockerfile copies or mounts."""
    words = context.dockerfile.read_text().replace(",", " ").split()
    sources = {word.removeprefix("source=").strip("/") for word in words if word.startswith("source=")}
    sources |= {words[number + 1].strip("/") for number, word in enumerate(words) if word == "COPY"}
    sources = {source for source in sources if not source.startswith("--from")}
    files = {path.relative_to(context.folder).as_posix() for path in context.folder.rglob("*") if path.is_file()}
    for source in sources:
        assert any(file == source or file.startswith(f"{source}/") for file in files), f"{source} is not there"
    return {file for file in files if any(file == each or file.startswith(f"{each}/") for each in sources)}


def test_requirements_are_copied_before_the_code(tmp_path: Path) -> None:
    context = laid_out(tmp_path, GENERATED)
    assert copied(context) == {"install.py", "requirements/requirements.txt", "code/train.py", "code/requirements.txt"}
    text = context.text
    assert text == context.dockerfile.read_text()
    assert text.index("COPY requirements/") < text.index("RUN --mount") < text.index("COPY code/")
    assert context.warnings == ()


@pytest.mark.parametrize("ignored", ["*\n!src\n", "requirements.txt\n", "**\n", "code\nrequirements\n*.py\n"])
def test_a_dockerignore_of_the_code_does_not_rule_a_generated_dockerfile(ignored: str, tmp_path: Path) -> None:
    context = laid_out(tmp_path, {**GENERATED, ".dockerignore": ignored})
    assert not (context.folder / ".dockerignore").exists()
    assert not context.dockerfile.with_name("Dockerfile.dockerignore").exists()
    assert (context.folder / "code/.dockerignore").read_text() == ignored


def test_a_dockerignore_rules_the_dockerfile_of_the_code(tmp_path: Path) -> None:
    context = laid_out(tmp_path, {**GENERATED, ".dockerignore": "*\n", "Dockerfile.wandb": "FROM scratch\n"})
    assert context.folder == tmp_path / "source"
    assert (context.folder / ".dockerignore").exists()
    assert context.text == "FROM scratch\n"


IN_CODE = [
    {"requirements.txt": "wandb\nlibs/mylib\n"},
    {"requirements.txt": "wandb\n--find-links ./wheels\n"},
    {"pyproject.toml": '[project]\ndependencies = ["mylib"]\n[tool.uv.sources]\nmylib = {path = "libs/mylib"}\n'},
]


@pytest.mark.parametrize("files", IN_CODE)
def test_what_may_need_the_code_is_installed_with_all_of_it(files: dict[str, str], tmp_path: Path) -> None:
    context = laid_out(tmp_path, {"train.py": "", "libs/mylib/setup.py": "", **files})
    assert context.text.index("COPY code/") < context.text.index("RUN --mount")
    assert "code/libs/mylib/setup.py" in copied(context)


PROJECT = {"train.py": "", "requirements.txt": "-e .\nwandb\n", ".git/HEAD": "ref: refs/heads/main\n"}


def test_git_is_there_when_a_project_is_installed_and_not_in_the_image(tmp_path: Path) -> None:
    history: list[str] = []
    context = laid_out(tmp_path, PROJECT, history=history)
    assert "--mount=type=bind,source=git,target=/opt/program/.git" in context.text
    assert "git/HEAD" in copied(context)
    assert not (context.folder / "code/.git").exists()
    assert history == ["fetched"]


@pytest.mark.parametrize(
    ("files", "recipe"),
    [
        ({"requirements.txt": "wandb\n"}, {}),
        ({"requirements.txt": ""}, {}),
        ({}, {"base_image": "team/base:1"}),
    ],
)
def test_git_is_gone_where_nothing_needs_it(files: dict[str, str], recipe: dict[str, Any], tmp_path: Path) -> None:
    history: list[str] = []
    context = laid_out(tmp_path, {**PROJECT, **files} if not recipe else PROJECT, history=history, **recipe)
    assert not any(file.startswith(("git/", "code/.git/")) for file in copied(context))
    assert history == []


def test_the_dockerfile_of_the_code_finds_git_as_the_reference_leaves_it(tmp_path: Path) -> None:
    context = laid_out(tmp_path, {**PROJECT, "Dockerfile.wandb": "FROM scratch\n"})
    assert (context.folder / ".git/HEAD").exists()


def test_a_build_context_is_the_root_of_a_generated_image(tmp_path: Path) -> None:
    files = {"jobs/hello/train.py": "", "jobs/hello/requirements.txt": "wandb\n", "requirements.txt": "other\n"}
    context = laid_out(tmp_path, files, build_context="jobs/hello")
    assert copied(context) == {"install.py", "requirements/requirements.txt", "code/train.py", "code/requirements.txt"}
    assert (context.folder / "requirements/requirements.txt").read_text() == "wandb\n"
    assert context.warnings == ()


def test_an_entry_point_relative_to_all_of_the_code_has_all_of_it(tmp_path: Path) -> None:
    files = {"jobs/hello/train.py": "", "requirements.txt": "wandb\n"}
    context = laid_out(tmp_path, files, build_context="jobs/hello", entry_point=("python", "jobs/hello/train.py"))
    assert "code/jobs/hello/train.py" in copied(context)


def test_a_build_context_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedJobSource, match="jobs/hello is not a folder of the job's code"):
        laid_out(tmp_path, GENERATED, build_context="jobs/hello", entry_point=("python", "job.py"))


def test_a_missing_script_is_warned_of(tmp_path: Path) -> None:
    context = laid_out(tmp_path, GENERATED, entry_point=("python", "tran.py"))
    (warning,) = context.warnings
    assert warning.startswith("The entry point runs tran.py, which is not in the job's code.")


def test_a_frozen_list_is_installed_as_one(tmp_path: Path) -> None:
    context = laid_out(tmp_path, {"train.py": "", "requirements.frozen.txt": "torch==2.1.0+cu121\nwandb==0.22.0\n"})
    assert "install.py --frozen requirements.frozen.txt" in context.text
    assert "requirements/requirements.frozen.txt" in copied(context)


def test_the_script_that_installs_is_one_that_old_pythons_read(tmp_path: Path) -> None:
    script = laid_out(tmp_path, GENERATED).folder / "install.py"
    ast.parse(script.read_text(), feature_version=(3, 8))
    names = {node.module for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.ImportFrom)}
    assert names == {"__future__"}  # the image contains nothing from this package


def test_an_accelerator_image_gets_what_an_installation_needs(tmp_path: Path) -> None:
    """Run the step that installs tools in a shell with only the given tools on its path."""
    context = laid_out(tmp_path, GENERATED, accelerator_image="nvidia/cuda:12.8.1-base-ubuntu24.04")
    step = context.text.partition("RUN ")[2].partition("\nCOPY")[0].replace("\\\n", "")
    asked = {}
    for manager in ("apt-get", "dnf", "yum", None):
        tools = tmp_path / f"tools-{manager}"
        tools.mkdir()
        if manager:
            (tools / manager).write_text(f"#!/bin/sh\necho $* >> {tools}/asked\n")
            (tools / manager).chmod(0o755)
        finished = subprocess.run(
            ["/bin/sh", "-c", step], env={"PATH": str(tools)}, capture_output=True, text=True, check=True
        )
        asked[manager] = (tools / "asked").read_text() if (tools / "asked").exists() else finished.stdout
    assert asked["apt-get"].splitlines() == [
        "update --quiet",
        "install --yes --quiet --no-install-recommends build-essential ca-certificates git",
    ]
    assert asked["dnf"] == asked["yum"] == "install --assumeyes gcc gcc-c++ git make\n"
    assert "git and a C compiler could not be installed" in asked[None]
