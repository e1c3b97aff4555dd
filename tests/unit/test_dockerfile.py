"""Which Dockerfile is chosen, and the text of generated ones: `dockerfiles/` has an example of each."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from launch_agent.builder.requirements import find_requirements
from launch_agent.errors import UnsupportedJobSource
from launch_agent.image.dockerfile import (
    choose_dockerfile,
    entry_point_in,
    entry_script,
    expected_choice,
    generate_dockerfile,
    missing_script,
)
from launch_agent.image.pins import UV_VERSION
from launch_agent.image.recipe import parse_queue_builder
from tests.make import image_recipe
from tests.unit.test_image import job, planned

GOLDEN = Path(__file__).with_name("dockerfiles")
ROOT = Path(__file__).parent.parent.parent
RECIPE = image_recipe(entry_point=("python", "src/train.py"))
ENTRY_POINT = ["python", "src/train.py"]
REQUIREMENTS = {"requirements.txt": b"numpy\nwandb\n"}

GIT = {"remote": "https://git.example.com/r", "commit": "ab" * 20}
SOURCES: dict[str, dict[str, Any]] = {
    "artifact": job(entrypoint=ENTRY_POINT),
    "git": {**job(entrypoint=ENTRY_POINT, git=GIT), "source_type": "repo", "runtime": "CPython 3.11.7"},
    "base image": job(entrypoint=ENTRY_POINT, base_image="team/base:1"),
}
QUEUES: dict[str, Any] = {
    "plain": None,
    "accelerator": {"accelerator": {"base_image": "nvidia/cuda:12.8.1-base-ubuntu24.04"}},
    "base image": {"base_image": "queue/base:1"},
}
DOCKERFILES: dict[str, tuple[str | None, str | None, set[str], str | None, str]] = {
    # the job's Dockerfile, the run's override, the existing files -> the chosen Dockerfile, its context
    "override": ("job.Dockerfile", "gpu/Dockerfile", {"job.Dockerfile", "gpu/Dockerfile"}, "gpu/Dockerfile", "."),
    "override over wandb": (None, "gpu/Dockerfile", {"gpu/Dockerfile", "src/Dockerfile.wandb"}, "gpu/Dockerfile", "."),
    "job": ("job.Dockerfile", None, {"job.Dockerfile", "src/Dockerfile.wandb"}, "job.Dockerfile", "."),
    "wandb": (None, None, {"src/Dockerfile.wandb", "Dockerfile"}, "src/Dockerfile.wandb", "src"),
    "generated": (None, None, {"Dockerfile", "Dockerfile.wandb"}, None, "."),
}
OVERRIDES: dict[str, dict[str, Any]] = {
    "none": {},
    "entry point": {"entry_point": ["python", "other.py"], "args": ["--x"]},
}


@pytest.mark.parametrize(
    ("source", "queue", "dockerfile", "override"), list(itertools.product(SOURCES, QUEUES, DOCKERFILES, OVERRIDES))
)
def test_each_source_with_each_dockerfile_and_override(source: str, queue: str, dockerfile: str, override: str) -> None:
    named, overridden, files, used, context = DOCKERFILES[dockerfile]
    description = {**SOURCES[source], "source": {**SOURCES[source]["source"], "dockerfile": named}}
    plan = planned(
        description,
        parse_queue_builder(QUEUES[queue]),
        overrides={"dockerfile": overridden, **OVERRIDES[override]},
    )
    choice = choose_dockerfile(plan.recipe, {"src/train.py", *files})
    assert (choice.path, choice.context) == (used, context)
    assert (used or "generated") in choice.why
    assert plan.recipe.entry_point == tuple(ENTRY_POINT)  # an override changes the start command, not the image
    in_image = ("python", "train.py") if dockerfile == "wandb" else tuple(ENTRY_POINT)
    assert entry_point_in(choice, plan.recipe.entry_point) == in_image
    if used is None:
        text = generate_dockerfile(plan.recipe, find_requirements(REQUIREMENTS))
        base = {"base image": "team/base:1"}.get(source) or {
            "plain": "public.ecr.aws/docker/library/python:3.11-trixie",
            "accelerator": "nvidia/cuda:12.8.1-base-ubuntu24.04",
            "base image": "queue/base:1",
        }[queue]
        assert f"\nFROM {base}\n" in f"\n{text}"
        installs = "base image" not in (source, queue)
        assert ("python /opt/install.py requirements.txt" in text) == installs
        assert text.endswith('ENTRYPOINT ["python", "src/train.py"]\n')
        assert "USER root" in text


def test_a_build_context_is_where_dockerfiles_are_looked_for() -> None:
    recipe = RECIPE.model_copy(update={"build_context": "app"})
    default = choose_dockerfile(recipe, {"app/src/train.py", "app/src/Dockerfile.wandb"})
    assert (default.path, default.context) == ("app/src/Dockerfile.wandb", "app/src")
    named = choose_dockerfile(recipe.model_copy(update={"dockerfile": "gpu/Dockerfile"}), {"app/gpu/Dockerfile"})
    assert (named.path, named.context) == ("app/gpu/Dockerfile", "app")


@pytest.mark.parametrize(
    ("script", "files", "root"),
    [
        ("job.py", {"jobs/hello/job.py"}, "jobs/hello"),
        ("src/job.py", {"jobs/hello/src/job.py", "src/job.py"}, "jobs/hello"),
        ("jobs/hello/job.py", {"jobs/hello/job.py"}, "."),  # like the reference, which copies all code
        ("module", {"jobs/hello/module/__init__.py"}, "jobs/hello"),
    ],
)
def test_a_build_context_without_a_dockerfile_is_the_root_of_the_image(script: str, files: set[str], root: str) -> None:
    recipe = RECIPE.model_copy(update={"build_context": "jobs/hello", "entry_point": ("python", script)})
    choice = choose_dockerfile(recipe, files)
    assert (choice.path, choice.context) == (None, root)


@pytest.mark.parametrize(
    ("entry_point", "missing"),
    [
        (("python", "src/train.py"), None),
        (("python3.11", "-u", "tran.py", "src/train.py"), "tran.py"),
        (("bash", "run.sh"), "run.sh"),
        (("./run.sh", "fast"), "./run.sh"),
        (("./src/train.py",), None),
        (("python", "src"), None),  # a folder can have a __main__.py
        (("python", "-m", "tran"), None),
        (("python", "-c", "x"), None),
        (("torchrun", "tran.py"), None),
        (("python", "/opt/other/tran.py"), None),
        (("python",), None),
    ],
)
def test_a_script_that_is_certain_to_be_missing_is_named(entry_point: tuple[str, ...], missing: str | None) -> None:
    files = {"src/train.py"}
    recipe = RECIPE.model_copy(update={"entry_point": entry_point})
    assert missing_script(choose_dockerfile(recipe, files), recipe, files) == missing
    based = recipe.model_copy(update={"base_image": "team/base:1"})
    assert missing_script(choose_dockerfile(based, files), based, files) is None
    own = recipe.model_copy(update={"dockerfile": "Dockerfile"})
    assert missing_script(choose_dockerfile(own, {"Dockerfile"}), own, {"Dockerfile"}) is None


def test_a_dockerfile_that_is_not_there_is_named() -> None:
    with pytest.raises(UnsupportedJobSource, match=r"Dockerfile gpu\.Dockerfile is not in the job's code"):
        choose_dockerfile(RECIPE.model_copy(update={"dockerfile": "gpu.Dockerfile"}), {"Dockerfile"})


def test_before_the_code_is_there_the_choice_is_described_as_a_rule() -> None:
    assert expected_choice(RECIPE).startswith("Dockerfile.wandb if it is next to src/train.py; else generated")
    assert expected_choice(RECIPE.model_copy(update={"dockerfile": "D"})) == "D: the job or the override names it"


@pytest.mark.parametrize(
    ("entry_point", "script"),
    [
        (("python", "src/train.py"), "src/train.py"),
        (("python", "train.py", "--epochs", "3"), "train.py"),
        (("./run.sh", "fast"), "./run.sh"),
        (("torchrun", "-m", "module"), "module"),
        ((), ""),
    ],
)
def test_the_script_of_an_entry_point(entry_point: tuple[str, ...], script: str) -> None:
    assert entry_script(entry_point) == script


CASES: dict[str, tuple[dict[str, Any], dict[str, bytes]]] = {
    "requirements": ({}, REQUIREMENTS),
    "project_in_the_code": ({}, {"requirements.txt": b"-e .\nwandb\n"}),
    "pyproject": ({}, {"pyproject.toml": b'[project]\ndependencies = ["wandb"]'}),
    "pyproject_with_a_project_in_the_code": (
        {},
        {"pyproject.toml": b'[project]\ndependencies = ["wandb", "x"]\n[tool.uv.sources]\nx = {path = "libs/x"}'},
    ),
    "frozen": ({}, {"requirements.frozen.txt": b"wandb==0.22.0\n", "pyproject.toml": b"[tool.x]"}),
    "no_requirements": ({}, {"requirements.frozen.txt": b""}),
    "accelerator": ({"accelerator_image": "nvidia/cuda:12.8.1-base-ubuntu24.04"}, REQUIREMENTS),
    "base_image": ({"base_image": "team/base:1"}, {}),
    "base_image_with_working_dir": ({"base_image": "team/base:1", "working_dir": "src"}, {}),
    "secrets": ({"secrets": ("UV_INDEX_TEAM_PASSWORD", "netrc")}, REQUIREMENTS),
    "secrets_with_a_project_in_the_code": ({"secrets": ("netrc",)}, {"requirements.txt": b"-e .\nwandb\n"}),
    "old_python": ({"python_version": "3.8"}, REQUIREMENTS),
}


def generated(case: str) -> str:
    changes, files = CASES[case]
    requirements = find_requirements(files) if files else None
    return generate_dockerfile(RECIPE.model_copy(update=changes), requirements, with_git=case == "project_in_the_code")


@pytest.mark.parametrize("case", CASES)
def test_the_generated_dockerfile_is_the_golden_one(case: str) -> None:
    assert generated(case) == (GOLDEN / f"{case}.Dockerfile").read_text()


def test_every_golden_dockerfile_belongs_to_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.Dockerfile")} == set(CASES)


def test_no_generated_dockerfile_is_based_on_a_debian_that_is_no_longer_maintained() -> None:
    for path in GOLDEN.glob("*.Dockerfile"):
        assert not any(name in path.read_text() for name in ("buster", "bullseye", "bookworm"))


def test_the_uv_of_images_is_the_uv_of_this_project() -> None:
    assert f"\nuv=={UV_VERSION} " in (ROOT / "requirements/uv.txt").read_text()


def test_an_image_runs_on_what_it_was_installed_on() -> None:
    for path in GOLDEN.glob("*.Dockerfile"):
        assert sum(line.startswith("FROM") for line in path.read_text().splitlines()) == 1


if __name__ == "__main__":  # `make golden`
    for name in CASES:
        (GOLDEN / f"{name}.Dockerfile").write_text(generated(name))
