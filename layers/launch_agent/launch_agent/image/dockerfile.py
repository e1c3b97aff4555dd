"""Chooses the Dockerfile of a job's image, and generates one if the job has none."""

import json
import posixpath
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence

from launch_agent.errors import UnsupportedJobSource
from launch_agent.image.pins import UV, pinned
from launch_agent.image.recipe import ImageRecipe
from launch_agent.model import Model

NOT_INSTALLED = "launch-agent: not installed:"
"""A build prints this before the name of each frozen requirement that no index has."""

CODE_FOLDER = "/opt/program"
REQUIREMENTS_FOLDER = "/opt/requirements"

_DOCKERFILE = "Dockerfile.wandb"
_ENVIRONMENT = "/opt/venv"
_OFFICIAL_IMAGES = "public.ecr.aws/docker/library"
"""Docker's official images in Amazon's public registry, where Docker Hub's pull limits do not apply."""
_OLDEST_PYTHON_IMAGE = (3, 9)
"""The oldest Python with an official image on a maintained Debian. uv installs older ones."""
_TOOLS = r"""RUN if ! { command -v git && command -v cc; }; then \
      if command -v apt-get; then \
        export DEBIAN_FRONTEND=noninteractive; apt-get update --quiet; \
        apt-get install --yes --quiet --no-install-recommends build-essential ca-certificates git; \
      elif command -v dnf; then dnf install --assumeyes gcc gcc-c++ git make; \
      elif command -v yum; then yum install --assumeyes gcc gcc-c++ git make; \
      else false; fi || echo "launch-agent: git and a C compiler could not be installed; continuing without them"; \
    fi"""
"""Installs git and a C compiler, which accelerator images lack: git requirements, packages without a wheel and
torch.compile need them."""

_STARTS_SCRIPTS = re.compile(r"(python[\d.]*|bash|sh)")


class DockerfileChoice(Model):
    """The chosen Dockerfile: a file of the code or, if `path` is None, a generated one."""

    path: str | None
    context: str
    """The folder of the code that is the build context; `.` is all of the code."""
    why: str


class Requirements(Model):
    """The requirements to install into the image."""

    name: str
    """The file of the code that has them."""
    path: str
    """The requirements file to install from: absolute, or relative to the folder in which the installation runs."""
    files: Mapping[str, bytes] = {}
    """The contents of the requirements folder, by path; empty if the code's own files are used."""
    needs_code: bool = False
    """Whether the installation may need files of the code."""
    is_frozen: bool = False
    """Whether it lists the packages of another machine, some of which may be in no package index."""
    asks_for_wandb: bool = True
    """Whether the wandb package is or may be among them."""


def choose_dockerfile(recipe: ImageRecipe, files: Collection[str]) -> DockerfileChoice:
    """Choose the Dockerfile: the one that the recipe names, else `Dockerfile.wandb`, else a generated one.

    `files` are the paths of the code. Raises UnsupportedJobSource if the recipe names a file that is not in the code.
    """
    context = recipe.build_context or "."
    if recipe.dockerfile:
        path = posixpath.normpath(posixpath.join(context, recipe.dockerfile))
        if path not in files:
            raise UnsupportedJobSource(
                f"the Dockerfile {path} is not in the job's code. Add it, or name another one in overrides.dockerfile."
            )
        return DockerfileChoice(path=path, context=context, why=f"{path}: the job or the override names it")
    script = entry_script(recipe.entry_point)
    folder = posixpath.normpath(posixpath.join(context, posixpath.dirname(script)))
    path = posixpath.normpath(posixpath.join(folder, _DOCKERFILE))
    if path in files:
        return DockerfileChoice(path=path, context=folder, why=f"{path}: it is next to the entry point {script}")
    return DockerfileChoice(
        path=None, context=_root(context, script, files), why=f"generated: {_generated_because(recipe)}"
    )


def _root(context: str, script: str, files: Collection[str]) -> str:
    """Return the folder of the code that becomes the root of a generated image.

    The entry point is relative to the build context, so that is the root. `wandb launch-agent` puts all of the code at
    the root, so the entry point of some jobs is relative to all of the code instead.
    """
    inside = posixpath.normpath(posixpath.join(context, script))
    return "." if inside not in files and posixpath.normpath(script) in files else context


def expected_choice(recipe: ImageRecipe) -> str:
    """Return how the Dockerfile will be chosen, before the code is fetched."""
    if recipe.dockerfile:
        return f"{recipe.dockerfile}: the job or the override names it"
    script = entry_script(recipe.entry_point) or "the entry point"
    return f"{_DOCKERFILE} if it is next to {script}; else generated: {_generated_because(recipe)}"


def _generated_because(recipe: ImageRecipe) -> str:
    if recipe.base_image:
        return f"the code is copied onto the base image {recipe.base_image}"
    return f"the job names no Dockerfile, and no {_DOCKERFILE} is next to its entry point"


def entry_script(entry_point: Sequence[str]) -> str:
    """Return the file that an entry point runs: the first part that ends with .py or .sh, else the last part."""
    scripts = [part for part in entry_point if part.endswith((".py", ".sh"))]
    return (scripts or list(entry_point[-1:]) or [""])[0]


def entry_point_in(choice: DockerfileChoice, entry_point: Sequence[str]) -> tuple[str, ...]:
    """Return the entry point in the image. The build context of a `Dockerfile.wandb` is the folder that it is in."""
    script = entry_script(entry_point)
    is_own = choice.path is not None and posixpath.basename(choice.path) == _DOCKERFILE
    if not (is_own and posixpath.dirname(script) and choice.context.endswith(posixpath.dirname(script))):
        return tuple(entry_point)
    return tuple(posixpath.basename(part) if part == script else part for part in entry_point)


def is_entry_point_of(recipe: ImageRecipe, entry_point: Sequence[str]) -> bool:
    """Whether an entry point is the recipe's, with or without the folder of its script."""
    script = entry_script(recipe.entry_point)
    bare = tuple(posixpath.basename(part) if part == script else part for part in recipe.entry_point)
    return tuple(entry_point) in (recipe.entry_point, bare)


def missing_script(choice: DockerfileChoice, recipe: ImageRecipe, files: Collection[str]) -> str | None:
    """Return the file that the entry point runs if the image will certainly not have it, else None.

    `files` are the paths of the code. The code's folder in a generated image has no other files, unless the job has a
    base image.
    """
    if choice.path or recipe.base_image or not recipe.entry_point:
        return None
    program, *words = recipe.entry_point
    if _STARTS_SCRIPTS.fullmatch(program):
        program = next((word for word in words if word != "-u"), "-")
    elif "/" not in program:
        return None
    path = posixpath.normpath(posixpath.join(choice.context, program))
    is_there = any(name == path or name.startswith(f"{path}/") for name in files)
    return None if is_there or program.startswith(("-", "/", "..")) else program


def generate_dockerfile(recipe: ImageRecipe, requirements: Requirements | None, *, with_git: bool = False) -> str:
    """Return a Dockerfile for a job that has none, for the build context of `builder.context`.

    Packages are installed in the image that runs, so that they find the libraries and tools of their installation.
    `with_git` is whether the context has the code's `.git`, from which a project can derive its version.

    SageMaker runs an image as root and needs the exec form of ENTRYPOINT
    (https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-dockerfile.html).
    """
    if recipe.base_image:
        lines = [f"FROM {recipe.base_image}", "USER root", *_COPY_CODE]
    else:
        lines = [*_environment(recipe), *_install(requirements, with_git=with_git, secrets=recipe.secrets)]
    if recipe.working_dir:
        lines += [f"WORKDIR {posixpath.join(CODE_FOLDER, recipe.working_dir)}"]
    lines += ["ENV PYTHONUNBUFFERED=1", f"ENTRYPOINT {json.dumps(list(recipe.entry_point))}"]
    return "\n".join(lines) + "\n"


_COPY_CODE = (f"WORKDIR {CODE_FOLDER}", f"COPY code/ {CODE_FOLDER}/")


def _environment(recipe: ImageRecipe) -> Iterator[str]:
    """Yield the lines that create a virtual environment of the job's Python, with pip, uv, git and a C compiler."""
    is_official = not recipe.accelerator_image and _has_python_image(recipe.python_version)
    yield f"FROM {_image(recipe)}"
    yield "USER root"
    if recipe.accelerator_image:
        yield _TOOLS
    yield f"COPY --from={pinned(UV)} /uv /usr/local/bin/uv"
    if is_official:
        yield f"RUN python -m venv {_ENVIRONMENT}"
    else:
        yield "ENV UV_PYTHON_INSTALL_DIR=/opt/python"
        yield f"RUN uv venv --managed-python --python {recipe.python_version} {_ENVIRONMENT}"
        yield f"RUN {_ENVIRONMENT}/bin/python -m ensurepip --default-pip"
    yield f'ENV VIRTUAL_ENV={_ENVIRONMENT} PATH="{_ENVIRONMENT}/bin:$PATH"'


def _install(requirements: Requirements | None, *, with_git: bool, secrets: Sequence[str]) -> Iterator[str]:
    """Yield the lines that install the requirements and copy the code. `install.py` reads the secrets.

    An installation that does not need the code comes before it, so that its layer can be reused.
    """
    if requirements is None:
        yield from _COPY_CODE
        return
    if requirements.files:
        yield f"COPY requirements/ {REQUIREMENTS_FOLDER}/"
    if requirements.needs_code:
        yield from _COPY_CODE
    else:
        yield f"WORKDIR {REQUIREMENTS_FOLDER}"
    mounts = ["--mount=type=bind,source=install.py,target=/opt/install.py"]
    mounts += [f"--mount=type=secret,id={name}" for name in secrets]
    if requirements.needs_code and with_git:
        mounts.append(f"--mount=type=bind,source=git,target={CODE_FOLDER}/.git")
    frozen = ["--frozen"] if requirements.is_frozen else []
    yield " ".join(["RUN", *mounts, "python", "/opt/install.py", *frozen, shlex.quote(requirements.path)])
    if not requirements.needs_code:
        yield from _COPY_CODE


def _image(recipe: ImageRecipe) -> str:
    """Return the image to install in and run: it has git, a C compiler, and libraries such as OpenMP."""
    if recipe.accelerator_image:
        return recipe.accelerator_image
    if _has_python_image(recipe.python_version):
        return pinned(f"{_OFFICIAL_IMAGES}/python:{recipe.python_version}-trixie")
    return pinned(f"{_OFFICIAL_IMAGES}/buildpack-deps:trixie")


def _has_python_image(version: str) -> bool:
    return tuple(int(part) for part in version.split(".")) >= _OLDEST_PYTHON_IMAGE
