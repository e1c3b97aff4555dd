"""The recipe's tag, and the choice and the text of the Dockerfile."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.build.dockerfile import choose_dockerfile, generate_dockerfile, names_wandb, requirements_file
from launch_agent.build.recipe import BuildRecipe
from launch_agent.errors import UnsupportedJobSource

RECIPE = BuildRecipe(source="a", job_digest="d", entry_point=("python", "src/train.py"), python_version="3.11")
GOLDEN = Path(__file__).with_name("dockerfiles")
TEXT = st.text(max_size=8)
RECIPES = st.builds(
    BuildRecipe,
    source=TEXT,
    job_digest=TEXT,
    entry_point=st.lists(TEXT, max_size=3).map(tuple),
    dockerfile=st.none() | TEXT,
    build_context=st.none() | TEXT,
    base_image=st.none() | TEXT,
    python_version=TEXT,
    platform=TEXT,
    builder_version=TEXT,
)


@given(RECIPES, RECIPES)
def test_the_tag_changes_if_and_only_if_the_recipe_does(one: BuildRecipe, other: BuildRecipe) -> None:
    assert (one.tag == other.tag) == (one == other)


@given(RECIPES, st.sampled_from(sorted(BuildRecipe.model_fields)), TEXT)
def test_every_field_is_in_the_tag(recipe: BuildRecipe, field: str, text: str) -> None:
    other = recipe.model_copy(update={field: (text,) if field == "entry_point" else text})
    assert (recipe.tag == other.tag) == (recipe == other)


@pytest.mark.parametrize(
    ("changes", "files", "path", "context"),
    [
        ({"dockerfile": "Dockerfile"}, {"Dockerfile", "src/Dockerfile.wandb"}, "Dockerfile", "."),
        ({"dockerfile": "gpu/Dockerfile", "build_context": "src"}, {"src/gpu/Dockerfile"}, "src/gpu/Dockerfile", "src"),
        ({}, {"src/train.py", "src/Dockerfile.wandb"}, "src/Dockerfile.wandb", "src"),
        ({"entry_point": ("python", "train.py")}, {"train.py", "src/Dockerfile.wandb"}, None, "."),
        ({"entry_point": ("./run.sh", "fast")}, {"run.sh", "Dockerfile.wandb"}, "Dockerfile.wandb", "."),
        ({"entry_point": ()}, {"Dockerfile"}, None, "."),
        ({}, {"src/train.py", "Dockerfile"}, None, "."),
    ],
)
def test_dockerfile_chosen(changes: dict[str, object], files: set[str], path: str | None, context: str) -> None:
    choice = choose_dockerfile(RECIPE.model_copy(update=changes), files)
    assert (choice.path, choice.context) == (path, context)
    assert (path or "generated") in choice.why


def test_a_dockerfile_that_is_not_there_is_named() -> None:
    with pytest.raises(UnsupportedJobSource, match=r"Dockerfile gpu\.Dockerfile is not in the job's code"):
        choose_dockerfile(RECIPE.model_copy(update={"dockerfile": "gpu.Dockerfile"}), {"Dockerfile"})


@pytest.mark.parametrize(
    ("name", "changes", "files"),
    [
        ("requirements", {}, {"requirements.txt", "pyproject.toml"}),
        ("pyproject", {}, {"pyproject.toml", "requirements.frozen.txt"}),
        ("base_image", {"base_image": "nvidia/cuda:12.8.1-base-ubuntu24.04"}, {"requirements.frozen.txt"}),
        ("no_requirements", {}, {"src/train.py"}),
    ],
)
def test_dockerfile_generated(name: str, changes: dict[str, object], files: set[str]) -> None:
    text = generate_dockerfile(RECIPE.model_copy(update=changes), requirements_file(files))
    assert text == (GOLDEN / f"{name}.Dockerfile").read_text()


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("requirements.txt", "numpy\nwandb>=0.20\n", True),
        ("requirements.txt", "Wandb[launch] ; python_version > '3.10'", True),
        ("requirements.txt", "wandb-workspaces\n# wandb\n", False),
        ("pyproject.toml", '[project]\ndependencies = ["wandb==0.21"]\n', True),
        ("pyproject.toml", "[tool.wandb]\n", False),
        ("pyproject.toml", "project = wandb", False),
        ("pyproject.toml", "project = 'wandb'", False),
    ],
)
def test_requirements_that_name_wandb(name: str, text: str, named: bool) -> None:
    assert names_wandb(name, text) is named
