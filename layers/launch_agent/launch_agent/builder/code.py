"""Brings a job's code into a folder, from W&B or from git, with what its job artifact adds."""

import posixpath
import tempfile
from collections.abc import Iterator
from pathlib import Path

from launch_agent.builder import git
from launch_agent.builder.code_folder import CodeFolder, shown
from launch_agent.builder.notebook import script_of
from launch_agent.clients.artifacts import Artifacts
from launch_agent.errors import UnsupportedJobSource
from launch_agent.image.recipe import ArtifactCode, BuildPlan, GitCode
from launch_agent.run_queue.job_artifact import FROZEN_REQUIREMENTS, PATCH

LARGEST_NOTEBOOK = 64 << 20
"""Notebooks carry their outputs, pictures too."""

_NAMED = 5
_ATTRIBUTES = ".gitattributes"


def fetch_code(
    plan: BuildPlan, folder: CodeFolder, artifacts: Artifacts, credentials: git.Credentials
) -> tuple[str, tuple[str, ...]]:
    """Fetch the code into an empty folder; return what was fetched, and what to warn of. Raises LaunchError.

    Afterwards no link leads out of the folder.
    """
    with tempfile.TemporaryDirectory() as name:
        job = CodeFolder(Path(name))
        artifacts.download(plan.recipe.job_artifact_id, job.path, digest=plan.recipe.job_digest)
        own: list[str] = []
        unchanged: list[str] = []
        if isinstance(plan.code, ArtifactCode):
            own = artifacts.download(plan.code.artifact_id, folder.path, digest=plan.code.digest)
            fetched = f"{len(own)} files of artifact {plan.code.artifact_id}"
        else:
            fetched, unchanged = _fetch_from_git(plan.code, folder, job, credentials)
        warnings = [
            *_warning("Links of the code that lead out of it are not in the image", folder.drop_ways_out()),
            *_warning(f"{PATCH} does not say how these files were changed; they are as in the commit", unchanged),
            *_pointers_warning(plan.code, folder),
        ]
        # An artifact's own list stays; one in a repository is of another machine than the job's.
        if FROZEN_REQUIREMENTS in job.files() and FROZEN_REQUIREMENTS not in own:
            folder.write(FROZEN_REQUIREMENTS, job.read(FROZEN_REQUIREMENTS))
    if plan.recipe.notebook:
        not_run = _convert_notebook(folder, plan.recipe.entry_point[-1])
        warnings += _warning("These of the notebook's cells and commands are not Python, and are not run", not_run)
    return fetched, tuple(warnings)


def _fetch_from_git(
    code: GitCode, folder: CodeFolder, job: CodeFolder, credentials: git.Credentials
) -> tuple[str, list[str]]:
    """Fetch the commit and apply the job's changes; return what was fetched, and the files left as in the commit."""
    fetched = f"commit {git.fetch(code, folder.path, credentials)} of {code.remote}"
    if PATCH not in job.files():
        return fetched, []
    return f"{fetched}, with {PATCH}", git.apply(job.read(PATCH), folder.path)


def _warning(words: str, names: list[str]) -> Iterator[str]:
    """Name the first few of what is to be warned of; yield no warning where there is nothing."""
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield f"{words}: {', '.join(map(shown, names[:_NAMED]))}{more}."


def _pointers_warning(code: ArtifactCode | GitCode, folder: CodeFolder) -> Iterator[str]:
    if isinstance(code, GitCode) and not code.large_files and _has_pointers(folder):
        yield (
            "Files that git-lfs keeps elsewhere are pointers in the image. To fetch them, set builder.git_lfs to "
            "true in the queue's configuration."
        )


def _has_pointers(folder: CodeFolder) -> bool:
    return _ATTRIBUTES in folder.files() and "filter=lfs" in folder.read_text(_ATTRIBUTES)


def _convert_notebook(folder: CodeFolder, script: str) -> list[str]:
    """Write a notebook's code as the script of its name; return what of it is not in the script."""
    notebook = f"{posixpath.splitext(script)[0]}.ipynb"
    try:
        content = folder.read(notebook, at_most=LARGEST_NOTEBOOK)
    except UnsupportedJobSource as error:
        raise UnsupportedJobSource(f"the job's notebook cannot be read: {error}") from None
    converted = script_of(content)
    folder.write(script, converted.text.encode())
    return list(converted.not_run)
