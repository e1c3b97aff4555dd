"""Which Dockerfile builds a job's image, and the text of the one that is generated where the job has none."""

import json
import posixpath
import re
import tomllib
from collections.abc import Collection, Sequence

from pydantic import ValidationError

from launch_agent.build.recipe import BuildRecipe
from launch_agent.errors import UnsupportedJobSource
from launch_agent.model import Model, Wire

_UV = "ghcr.io/astral-sh/uv:0.9"
_CODE_FOLDER = "/opt/program"
_DEPENDENCIES = "/opt/dependencies"
"""The virtual environment and, where the base image lacks the job's Python, that Python: all that is copied on."""

_NAMES_WANDB = re.compile(r"^\s*wandb\s*(\[[^\]]*\])?\s*([<>=!~;@#].*)?$", re.IGNORECASE | re.MULTILINE)


class _Project(Wire):
    dependencies: tuple[str, ...] = ()


class _Pyproject(Wire):
    project: _Project = _Project()


class DockerfileChoice(Model):
    """The chosen Dockerfile: a file of the code, or to be generated when `path` is None."""

    path: str | None
    context: str
    """The folder of the code that is the build context, `.` for all of it."""
    why: str


def choose_dockerfile(recipe: BuildRecipe, files: Collection[str]) -> DockerfileChoice:
    """Choose for a recipe among the paths of its code: the one it names, else `Dockerfile.wandb`, else generated.

    Raises UnsupportedJobSource when the recipe names one that is not there.
    """
    context = posixpath.normpath(recipe.build_context or ".")
    if recipe.dockerfile:
        path = posixpath.normpath(posixpath.join(context, recipe.dockerfile))
        if path not in files:
            raise UnsupportedJobSource(
                f"the Dockerfile {path} is not in the job's code. Add it, or name another in overrides.dockerfile."
            )
        return DockerfileChoice(path=path, context=context, why=f"{path}: the job or the override names it")
    script = entry_script(recipe.entry_point)
    folder = posixpath.normpath(posixpath.join(context, posixpath.dirname(script)))
    path = posixpath.normpath(posixpath.join(folder, "Dockerfile.wandb"))
    if path in files:
        return DockerfileChoice(path=path, context=folder, why=f"{path}: it is beside the entry point {script}")
    why = "generated: the job names no Dockerfile, and there is no Dockerfile.wandb beside its entry point"
    return DockerfileChoice(path=None, context=context, why=why)


def entry_script(entry_point: Sequence[str]) -> str:
    """Return the file that an entry point runs: its first part ending in .py or .sh, else its last part."""
    scripts = [part for part in entry_point if part.endswith((".py", ".sh"))]
    return (scripts or list(entry_point[-1:]) or [""])[0]


def requirements_file(files: Collection[str]) -> str | None:
    """Return which file says what to install: `requirements.txt`, else `pyproject.toml`, else the frozen list."""
    order = ("requirements.txt", "pyproject.toml", "requirements.frozen.txt")
    return next((name for name in order if name in files), None)


def names_wandb(name: str, text: str) -> bool:
    """Say whether the requirements in a file of this name and text ask for the wandb package.

    A pyproject.toml that cannot be read asks for nothing here; the build fails on it and says where.
    """
    if name == "pyproject.toml":
        try:
            text = "\n".join(_Pyproject.model_validate(tomllib.loads(text)).project.dependencies)
        except (tomllib.TOMLDecodeError, ValidationError):
            return False
    return bool(_NAMES_WANDB.search(text))


def generate_dockerfile(recipe: BuildRecipe, requirements: str | None) -> str:
    """Write the Dockerfile of a job that has none; `requirements` is the file to install from, None to install nothing.

    SageMaker runs an image as root and reads its entry point in the exec form
    (https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-dockerfile.html).
    """
    version = recipe.python_version
    lines = []
    if requirements:
        lines += [
            f"FROM {_UV} AS uv",
            "",
            # The full image, not the slim one: some packages have to be compiled.
            f"FROM {recipe.base_image or f'python:{version}-bookworm'} AS dependencies",
            "COPY --from=uv /uv /usr/local/bin/uv",
            f"ENV UV_LINK_MODE=copy UV_PYTHON_INSTALL_DIR={_DEPENDENCIES}/python",
            f"RUN uv venv --python {version} {_DEPENDENCIES}/venv",
            f"COPY {requirements} /tmp/requirements/",
            f"RUN uv pip install --python {_DEPENDENCIES}/venv --requirement /tmp/requirements/{requirements}",
            "",
        ]
    lines += [f"FROM {recipe.base_image or f'python:{version}-slim-bookworm'}", "USER root"]
    if requirements:
        lines += [
            f"COPY --from=dependencies {_DEPENDENCIES} {_DEPENDENCIES}",
            f'ENV PATH="{_DEPENDENCIES}/venv/bin:$PATH"',
        ]
    lines += [
        "ENV PYTHONUNBUFFERED=1",
        f"WORKDIR {_CODE_FOLDER}",
        f"COPY . {_CODE_FOLDER}/",
        f"ENTRYPOINT {json.dumps(list(recipe.entry_point))}",
    ]
    return "\n".join(lines) + "\n"
