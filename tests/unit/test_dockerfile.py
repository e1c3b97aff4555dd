"""Which Dockerfile is chosen, and the text of the one that is generated: `dockerfiles/` has each to read."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from launch_agent.errors import UnsupportedJobSource
from launch_agent.image.dockerfile import (
    choose_dockerfile,
    entry_point_in,
    entry_script,
    expected_choice,
    find_requirements,
    generate_dockerfile,
    wandb_warning,
)
from launch_agent.image.pins import UV_VERSION
from launch_agent.image.recipe import ImageRecipe, parse_queue_builder
from tests.unit.test_image import job, planned

GOLDEN = Path(__file__).with_name("dockerfiles")
ROOT = Path(__file__).parent.parent.parent
RECIPE = ImageRecipe(
    code="c", job_artifact_id="j", job_digest="d", entry_point=("python", "src/train.py"), python_version="3.11"
)
ENTRY_POINT = ["python", "src/train.py"]
REQUIREMENTS = {"requirements.txt": "numpy\nwandb\n"}

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
    # what the job names, what the run overrides, what is there -> what is used, in which context
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
    assert plan.recipe.entry_point == tuple(ENTRY_POINT)  # an override changes how it is started, not the image
    in_image = ("python", "train.py") if dockerfile == "wandb" else tuple(ENTRY_POINT)
    assert entry_point_in(choice, plan.recipe.entry_point) == in_image
    if used is None:
        text = generate_dockerfile(plan.recipe, find_requirements(REQUIREMENTS))
        base = {"base image": "team/base:1"}.get(source) or {
            "plain": "public.ecr.aws/docker/library/python:3.11-slim-trixie",
            "accelerator": "nvidia/cuda:12.8.1-base-ubuntu24.04",
            "base image": "queue/base:1",
        }[queue]
        assert f"\nFROM {base}\n" in f"\n{text}"
        installs = "base image" not in (source, queue)
        assert ("uv pip install" in text) == installs
        assert text.endswith('ENTRYPOINT ["python", "src/train.py"]\n')
        assert "USER root" in text


def test_a_build_context_is_where_dockerfiles_are_looked_for() -> None:
    recipe = RECIPE.model_copy(update={"build_context": "app"})
    beside = choose_dockerfile(recipe, {"app/src/train.py", "app/src/Dockerfile.wandb"})
    assert (beside.path, beside.context) == ("app/src/Dockerfile.wandb", "app/src")
    named = choose_dockerfile(recipe.model_copy(update={"dockerfile": "gpu/Dockerfile"}), {"app/gpu/Dockerfile"})
    assert (named.path, named.context) == ("app/gpu/Dockerfile", "app")


def test_a_dockerfile_that_is_not_there_is_named() -> None:
    with pytest.raises(UnsupportedJobSource, match=r"Dockerfile gpu\.Dockerfile is not in the job's code"):
        choose_dockerfile(RECIPE.model_copy(update={"dockerfile": "gpu.Dockerfile"}), {"Dockerfile"})


def test_before_the_code_is_there_the_choice_is_told_as_a_rule() -> None:
    assert expected_choice(RECIPE).startswith("Dockerfile.wandb if there is one beside src/train.py; else generated")
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


CASES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "requirements": ({}, {**REQUIREMENTS, "pyproject.toml": '[project]\ndependencies = ["x"]'}),
    "requirements_that_include_others": (
        {},
        {
            "requirements.txt": "-r requirements/base.txt\n",
            "requirements/base.txt": "wandb\n-c pins.txt\n",
            "requirements/pins.txt": "wandb==0.22\n",
        },
    ),
    "requirements_of_a_project_in_the_code": ({}, {"requirements.txt": "-e .\nwandb\n"}),
    "pyproject": ({}, {"pyproject.toml": '[project]\ndependencies = ["wandb"]', "requirements.frozen.txt": "x==1"}),
    "frozen": ({}, {"requirements.frozen.txt": "wandb==0.22.0\n", "pyproject.toml": "[tool.x]"}),
    "no_requirements": ({}, {"requirements.frozen.txt": ""}),
    "accelerator": ({"accelerator_image": "nvidia/cuda:12.8.1-base-ubuntu24.04"}, REQUIREMENTS),
    "accelerator_without_requirements": ({"accelerator_image": "nvidia/cuda:12.8.1-base-ubuntu24.04"}, {}),
    "base_image": ({"base_image": "team/base:1"}, {}),
    "base_image_with_working_dir": ({"base_image": "team/base:1", "working_dir": "src"}, {}),
    "old_python": ({"python_version": "3.8"}, REQUIREMENTS),
    "old_python_without_requirements": ({"python_version": "3.8"}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_generated_dockerfile_is_the_golden_one(case: str) -> None:
    changes, texts = CASES[case]
    text = generate_dockerfile(RECIPE.model_copy(update=changes), find_requirements(texts))
    assert text == (GOLDEN / f"{case}.Dockerfile").read_text()


def test_every_golden_dockerfile_belongs_to_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.Dockerfile")} == set(CASES)


def test_no_generated_dockerfile_is_based_on_a_debian_that_is_no_longer_maintained() -> None:
    for path in GOLDEN.glob("*.Dockerfile"):
        assert not any(name in path.read_text() for name in ("buster", "bullseye", "bookworm"))


def test_the_uv_of_images_is_the_uv_of_this_project() -> None:
    assert f"\nuv=={UV_VERSION} " in (ROOT / "requirements/uv.txt").read_text()


@pytest.mark.parametrize(
    ("texts", "warned"),
    [
        ({"requirements.txt": "numpy\nwandb>=0.20\n"}, ""),
        ({"requirements.txt": "Wandb[launch] ; python_version > '3.10'"}, ""),
        (
            {"requirements.txt": "wandb-workspaces\n# wandb\n"},
            "wandb is not among the requirements in requirements.txt",
        ),
        ({"requirements.txt": "-r base.txt", "base.txt": "wandb"}, ""),
        ({"requirements.txt": "-e .\n"}, ""),
        ({"pyproject.toml": '[project]\ndependencies = ["wandb==0.21"]\n'}, ""),
        ({"pyproject.toml": '[project]\ndependencies = ["numpy"]\n[tool.wandb]\n'}, "in pyproject.toml"),
        ({"pyproject.toml": "project = wandb"}, "nothing was installed"),
        ({"pyproject.toml": "project = 'wandb'"}, "nothing was installed"),
        ({"requirements.frozen.txt": "numpy==2.0\n"}, "in requirements.frozen.txt"),
        ({}, "nothing was installed"),
    ],
)
def test_requirements_without_wandb_are_warned_of(texts: dict[str, str], warned: str) -> None:
    warnings = "".join(wandb_warning(find_requirements(texts), texts))
    assert warned in warnings
    assert bool(warned) == bool(warnings)


if __name__ == "__main__":  # `make golden`
    for name, (changes, texts) in CASES.items():
        text = generate_dockerfile(RECIPE.model_copy(update=changes), find_requirements(texts))
        (GOLDEN / f"{name}.Dockerfile").write_text(text)
