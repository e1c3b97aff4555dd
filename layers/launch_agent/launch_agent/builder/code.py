"""Fetches a job's code into a folder, from W&B or from git, with the files that its job artifact adds."""

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
"""In bytes: notebooks contain their outputs, including pictures."""

_NAMED = 5
_ATTRIBUTES = ".gitattributes"


def fetch_code(
    plan: BuildPlan, folder: CodeFolder, artifacts: Artifacts, credentials: git.Credentials
) -> tuple[str, tuple[str, ...]]:
    """Fetch the code into an empty folder; return what was fetched, in words, and the warnings. Raises LaunchError.

    Links that lead out of the folder are removed.
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
            *_warning("These links of the code lead out of it and are not in the image", folder.drop_ways_out()),
            *_warning(f"{PATCH} does not contain the changes of these files; they are as in the commit", unchanged),
            *_pointers_warning(plan.code, folder),
        ]
        # An artifact's own list is kept. A list in a repository is from another machine than the job's.
        if FROZEN_REQUIREMENTS in job.files() and FROZEN_REQUIREMENTS not in own:
            folder.write(FROZEN_REQUIREMENTS, job.read(FROZEN_REQUIREMENTS))
    if plan.recipe.notebook:
        not_run = _convert_notebook(folder, plan.recipe.entry_point[-1])
        warnings += _warning("These cells and commands of the notebook are not Python and do not run", not_run)
    return fetched, tuple(warnings)


def _fetch_from_git(
    code: GitCode, folder: CodeFolder, job: CodeFolder, credentials: git.Credentials
) -> tuple[str, list[str]]:
    """Fetch the commit and apply the job's changes.

    Return what was fetched, in words, and the changed files that are as in the commit.
    """
    fetched = f"commit {git.fetch(code, folder.path, credentials)} of {code.remote}"
    if PATCH not in job.files():
        return fetched, []
    return f"{fetched}, with {PATCH}", git.apply(job.read(PATCH), folder.path)


def _warning(words: str, names: list[str]) -> Iterator[str]:
    """Yield a warning with the first few names, if there are any."""
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield f"{words}: {', '.join(map(shown, names[:_NAMED]))}{more}."


def _pointers_warning(code: ArtifactCode | GitCode, folder: CodeFolder) -> Iterator[str]:
    if isinstance(code, GitCode) and not code.large_files and _has_pointers(folder):
        yield (
            "The image has git-lfs pointers instead of the files in git-lfs. To fetch the files, set builder.git_lfs "
            "to true in the queue's configuration."
        )


def _has_pointers(folder: CodeFolder) -> bool:
    return _ATTRIBUTES in folder.files() and "filter=lfs" in folder.read_text(_ATTRIBUTES)


def _convert_notebook(folder: CodeFolder, script: str) -> list[str]:
    """Write a notebook's code as a script of the same name; return the cells and commands that are not in it."""
    notebook = f"{posixpath.splitext(script)[0]}.ipynb"
    try:
        content = folder.read(notebook, at_most=LARGEST_NOTEBOOK)
    except UnsupportedJobSource as error:
        raise UnsupportedJobSource(f"the job's notebook cannot be read: {error}") from None
    converted = script_of(content)
    folder.write(script, converted.text.encode())
    return list(converted.not_run)
