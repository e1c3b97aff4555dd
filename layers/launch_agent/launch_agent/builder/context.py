"""Prepares the Dockerfile and its build context.

For a generated Dockerfile, the code is one of several folders in the context. So a .dockerignore in the code has no
effect (BuildKit reads the one at the root of the context:
https://docs.docker.com/build/concepts/context/#dockerignore-files), and an installation can use `.git` although it is
not in the image.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from launch_agent.builder import install
from launch_agent.builder.code_folder import CodeFolder
from launch_agent.builder.requirements import find_requirements, wandb_warning
from launch_agent.image.dockerfile import (
    DockerfileChoice,
    Requirements,
    choose_dockerfile,
    generate_dockerfile,
    missing_script,
)
from launch_agent.image.recipe import ImageRecipe

GIT = ".git"


class BuildContext(NamedTuple):
    """The input of a build, and the warnings."""

    choice: DockerfileChoice
    dockerfile: Path
    text: str
    """The contents of the Dockerfile."""
    folder: Path
    warnings: tuple[str, ...]


def lay_out(recipe: ImageRecipe, source: CodeFolder, folder: Path, fetch_history: Callable[[], None]) -> BuildContext:
    """Choose the Dockerfile, or generate one and create its context in `folder`, which does not exist yet. Return both.

    For a generated Dockerfile, the code is moved into the context. `fetch_history` completes the code's `.git`, for a
    project that derives its version from its tags. Raises LaunchError.
    """
    files = _Files(source, ".")
    choice = choose_dockerfile(recipe, files.names)
    root = source.folder(choice.context)
    if choice.path:
        return BuildContext(choice, source.file(choice.path), source.read_text(choice.path), root, ())
    requirements = None if recipe.base_image else find_requirements(_Files(source, choice.context))
    script = missing_script(choice, recipe, files.names)
    warnings = [*([] if recipe.base_image else wandb_warning(requirements)), *_script_warning(script)]
    with_git = bool(requirements and requirements.needs_code and root == source.path and (root / GIT).is_dir())
    if with_git:
        fetch_history()
    _lay_out(root, folder, requirements, with_git=with_git)
    text = generate_dockerfile(recipe, requirements, with_git=with_git)
    dockerfile = folder.with_name("Dockerfile")
    dockerfile.write_text(text)
    return BuildContext(choice, dockerfile, text, folder, tuple(warnings))


def _lay_out(root: Path, folder: Path, requirements: Requirements | None, *, with_git: bool) -> None:
    folder.mkdir()
    if with_git:
        (root / GIT).rename(folder / "git")
    else:
        shutil.rmtree(root / GIT, ignore_errors=True)
    root.rename(folder / "code")
    shutil.copy(Path(install.__file__), folder / "install.py")
    listed = folder / "requirements"
    for path, content in (requirements.files if requirements else {}).items():
        (listed / path).parent.mkdir(parents=True, exist_ok=True)
        (listed / path).write_bytes(content)


def _script_warning(script: str | None) -> Iterator[str]:
    if script:
        yield (
            f"The entry point runs {script}, which is not in the job's code. A run that does not override the entry "
            "point fails at once."
        )


class _Files(Mapping[str, bytes]):
    """The files in a folder of the code, by their paths in that folder. Each is read on access."""

    def __init__(self, source: CodeFolder, folder: str) -> None:
        prefix = "" if folder == "." else f"{folder}/"
        self._source, self._prefix = source, prefix
        self.names = {name.removeprefix(prefix) for name in source.files() if name.startswith(prefix)}

    def __getitem__(self, name: str) -> bytes:
        if name not in self:
            raise KeyError(name)
        return self._source.read(self._prefix + name)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
