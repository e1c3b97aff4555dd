"""Which Dockerfile builds a job's image, and the text of the one that is generated where the job has none."""

import json
import posixpath
import re
import shlex
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence

from pydantic import ValidationError

from launch_agent.errors import UnsupportedJobSource
from launch_agent.image.pins import UV, pinned
from launch_agent.image.recipe import ImageRecipe
from launch_agent.model import Model, Wire
from launch_agent.run_queue.job_artifact import FROZEN_REQUIREMENTS

NOT_INSTALLED = "launch-agent: not installed:"
"""What a build prints before each package of a frozen list that cannot be installed."""

_DOCKERFILE = "Dockerfile.wandb"
_CODE_FOLDER = "/opt/program"
_DEPENDENCIES = "/opt/dependencies"
"""The virtual environment and, where the base image lacks the job's Python, that Python: all that is copied on."""
_REQUIREMENTS = "/tmp/requirements"  # noqa: S108 - a folder of the image that is built
_OFFICIAL_IMAGES = "public.ecr.aws/docker/library"
"""Docker's official images at Amazon: pulls from CodeBuild are not counted against Docker Hub's limits there."""
_OLDEST_PYTHON_IMAGE = (3, 9)
"""The oldest Python with an official image on a maintained Debian; uv brings older ones along."""

_NAMES_WANDB = re.compile(r"^\s*wandb\s*(\[[^\]]*\])?\s*([<>=!~;@#].*)?$", re.IGNORECASE | re.MULTILINE)
_INCLUDES = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[\s=]+(\S+)", re.MULTILINE)
_LOCAL_PROJECT = re.compile(r"^\s*(-e\s|--editable[\s=]|\.|file:|\S+\s*@\s*file:)", re.MULTILINE)


class DockerfileChoice(Model):
    """The chosen Dockerfile: a file of the code, or to be generated when `path` is None."""

    path: str | None
    context: str
    """The folder of the code that is the build context, `.` for all of it."""
    why: str


class Requirements(Model):
    """What the image's packages are installed from."""

    name: str
    files: tuple[str, ...]
    """It and the files it includes; empty where it names a project in the code, so that all of the code is needed."""
    is_frozen: bool = False
    """Whether it is a list of what was installed elsewhere, some of which may be had from no package index."""


def choose_dockerfile(recipe: ImageRecipe, files: Collection[str]) -> DockerfileChoice:
    """Choose for a recipe among the paths of its code: the one it names, else `Dockerfile.wandb`, else generated.

    Raises UnsupportedJobSource when the recipe names one that is not there.
    """
    context = recipe.build_context or "."
    if recipe.dockerfile:
        path = posixpath.normpath(posixpath.join(context, recipe.dockerfile))
        if path not in files:
            raise UnsupportedJobSource(
                f"the Dockerfile {path} is not in the job's code. Add it, or name another in overrides.dockerfile."
            )
        return DockerfileChoice(path=path, context=context, why=f"{path}: the job or the override names it")
    script = entry_script(recipe.entry_point)
    folder = posixpath.normpath(posixpath.join(context, posixpath.dirname(script)))
    path = posixpath.normpath(posixpath.join(folder, _DOCKERFILE))
    if path in files:
        return DockerfileChoice(path=path, context=folder, why=f"{path}: it is beside the entry point {script}")
    return DockerfileChoice(path=None, context=".", why=f"generated: {_generated_because(recipe)}")


def expected_choice(recipe: ImageRecipe) -> str:
    """Say how the Dockerfile will be chosen, for who cannot see the code yet."""
    if recipe.dockerfile:
        return f"{recipe.dockerfile}: the job or the override names it"
    beside = entry_script(recipe.entry_point) or "the entry point"
    return f"{_DOCKERFILE} if there is one beside {beside}; else generated: {_generated_because(recipe)}"


def _generated_because(recipe: ImageRecipe) -> str:
    if recipe.base_image:
        return f"the code is laid on the base image {recipe.base_image}"
    return f"the job names no Dockerfile, and there is no {_DOCKERFILE} beside its entry point"


def entry_script(entry_point: Sequence[str]) -> str:
    """Return the file that an entry point runs: its first part ending in .py or .sh, else its last part."""
    scripts = [part for part in entry_point if part.endswith((".py", ".sh"))]
    return (scripts or list(entry_point[-1:]) or [""])[0]


def entry_point_in(choice: DockerfileChoice, entry_point: Sequence[str]) -> tuple[str, ...]:
    """Return the entry point as it is in the image: `Dockerfile.wandb` has its own folder as the build context."""
    script = entry_script(entry_point)
    beside = choice.path is not None and posixpath.basename(choice.path) == _DOCKERFILE
    if not (beside and posixpath.dirname(script) and choice.context.endswith(posixpath.dirname(script))):
        return tuple(entry_point)
    return tuple(posixpath.basename(part) if part == script else part for part in entry_point)


def is_entry_point_of(recipe: ImageRecipe, entry_point: Sequence[str]) -> bool:
    """Say whether an image of a recipe may be started so: as the recipe says, or with its script's bare name."""
    script = entry_script(recipe.entry_point)
    bare = tuple(posixpath.basename(part) if part == script else part for part in recipe.entry_point)
    return tuple(entry_point) in (recipe.entry_point, bare)


class _Project(Wire):
    dependencies: tuple[str, ...] = ()


class _Pyproject(Wire):
    project: _Project = _Project()


def find_requirements(files: Mapping[str, str]) -> Requirements | None:
    """Find what to install from: `requirements.txt`, else the dependencies in `pyproject.toml`, else the frozen list.

    `files` has the texts of the code's text files by path.
    """
    if "requirements.txt" in files:
        return Requirements(name="requirements.txt", files=tuple(_with_included("requirements.txt", files)))
    if "pyproject.toml" in files and _dependencies(files["pyproject.toml"]):
        return Requirements(name="pyproject.toml", files=("pyproject.toml",))
    if files.get(FROZEN_REQUIREMENTS, "").strip():
        return Requirements(name=FROZEN_REQUIREMENTS, files=(FROZEN_REQUIREMENTS,), is_frozen=True)
    return None


def _with_included(name: str, files: Mapping[str, str]) -> list[str]:
    """List a requirements file and those it includes; nothing where one of them installs a project of the code."""
    found, left = [], [name]
    while left:
        each = left.pop()
        text = files.get(each)
        if text is None or each in found:
            continue
        if _LOCAL_PROJECT.search(text):
            return []
        found.append(each)
        left += [posixpath.normpath(posixpath.join(posixpath.dirname(each), path)) for path in _INCLUDES.findall(text)]
    return found


def _dependencies(pyproject: str) -> tuple[str, ...]:
    """Return the dependencies that a pyproject.toml states; one that cannot be read states none."""
    try:
        return _Pyproject.model_validate(tomllib.loads(pyproject)).project.dependencies
    except (tomllib.TOMLDecodeError, ValidationError):
        return ()


def wandb_warning(requirements: Requirements | None, files: Mapping[str, str]) -> Iterator[str]:
    """Warn where the requirements do not ask for the wandb package, without which a run never appears in W&B."""
    if requirements is None:
        yield "No requirements.txt, pyproject.toml with dependencies or frozen requirements: nothing was installed."
        return
    texts = [files[name] for name in requirements.files or (requirements.name,)]
    if requirements.name == "pyproject.toml":
        texts = ["\n".join(_dependencies(texts[0]))]
    if requirements.files and not any(_NAMES_WANDB.search(text) for text in texts):
        yield f"wandb is not among the requirements in {requirements.name}: without it, the run does not appear in W&B."


def generate_dockerfile(recipe: ImageRecipe, requirements: Requirements | None) -> str:
    """Write the Dockerfile of a job that has none.

    SageMaker runs an image as root and reads its entry point in the exec form
    (https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-dockerfile.html).
    """
    entry_point = f"ENTRYPOINT {json.dumps(list(recipe.entry_point))}"
    if recipe.base_image:
        folder = posixpath.join(_CODE_FOLDER, recipe.working_dir or "")
        lines = [f"FROM {recipe.base_image}", *_code(), *([f"WORKDIR {folder}"] if recipe.working_dir else [])]
    elif requirements or recipe.accelerator_image or not _has_python_image(recipe.python_version):
        lines = [
            *_install(recipe, requirements),
            "",
            f"FROM {_image(recipe, slim=True)}",
            f"COPY --from=dependencies {_DEPENDENCIES} {_DEPENDENCIES}",
            f'ENV PATH="{_DEPENDENCIES}/venv/bin:$PATH"',
            *_code(),
        ]
    else:
        lines = [f"FROM {_image(recipe, slim=True)}", *_code()]
    return "\n".join([*lines, entry_point]) + "\n"


def _code() -> list[str]:
    return ["USER root", "ENV PYTHONUNBUFFERED=1", f"WORKDIR {_CODE_FOLDER}", f"COPY . {_CODE_FOLDER}/"]


def _install(recipe: ImageRecipe, requirements: Requirements | None) -> Iterator[str]:
    """Write the stage that makes the virtual environment. It copies only what it needs: other code may change."""
    yield f"FROM {pinned(UV)} AS uv"
    yield ""
    yield f"FROM {_image(recipe, slim=False)} AS dependencies"
    yield "COPY --from=uv /uv /usr/local/bin/uv"
    yield f"ENV UV_LINK_MODE=copy UV_PYTHON_INSTALL_DIR={_DEPENDENCIES}/python VIRTUAL_ENV={_DEPENDENCIES}/venv"
    yield f"RUN uv venv --python {recipe.python_version} {_DEPENDENCIES}/venv"
    if requirements is None:
        return
    # A project in the code may be installed as a link to where it lies, which is the same in the image.
    folder = _REQUIREMENTS if requirements.files else _CODE_FOLDER
    yield f"WORKDIR {folder}"
    for path in requirements.files or (".",):
        yield f"COPY {json.dumps([path, posixpath.join(folder, posixpath.dirname(path), '')])}"
    install = f"uv pip install --requirement {shlex.quote(requirements.name)}"
    if not requirements.is_frozen:
        yield f"RUN {install}"
        return
    # As much of the list as can be had, for what was installed on another machine may be on no index.
    yield f"RUN {install} || grep -Ev '^ *(#|$)' {requirements.name} | while read -r package; do \\"
    yield f'      uv pip install --no-deps "$package" || echo "{NOT_INSTALLED} $package"; done'


def _image(recipe: ImageRecipe, *, slim: bool) -> str:
    """Return the image of a stage; packages are installed on the full one, since some have to be compiled."""
    if recipe.accelerator_image:
        return recipe.accelerator_image
    kind = "slim-trixie" if slim else "trixie"
    if _has_python_image(recipe.python_version):
        return pinned(f"{_OFFICIAL_IMAGES}/python:{recipe.python_version}-{kind}")
    return pinned(f"{_OFFICIAL_IMAGES}/{'debian:trixie-slim' if slim else 'buildpack-deps:trixie'}")


def _has_python_image(version: str) -> bool:
    return tuple(int(part) for part in version.split(".")) >= _OLDEST_PYTHON_IMAGE
