"""Brings a job's code into a folder, from W&B or from git, with what its job artifact adds."""

import shutil
import tempfile
from pathlib import Path

from launch_agent.builder import git
from launch_agent.builder.notebook import script_of
from launch_agent.clients.artifacts import Artifacts
from launch_agent.image.recipe import ArtifactCode, BuildPlan
from launch_agent.run_queue.job_artifact import FROZEN_REQUIREMENTS, PATCH

_TEXT = (".txt", ".in", ".toml", ".pip", ".cfg")
_MAX_TEXT = 1 << 20


def fetch_code(plan: BuildPlan, folder: Path, artifacts: Artifacts, credentials: git.Credentials) -> str:
    """Fetch the code into an empty folder; return what was fetched. Raises LaunchError."""
    with tempfile.TemporaryDirectory() as name:
        job = Path(name)
        artifacts.download(plan.job_artifact_id, job)
        if isinstance(plan.code, ArtifactCode):
            _add(job / FROZEN_REQUIREMENTS, folder)
            files = artifacts.download(plan.code.artifact_id, folder)
            fetched = f"{len(files)} files of artifact {plan.code.artifact_id}"
        else:
            fetched = f"commit {git.fetch(plan.code, folder, credentials)} of {plan.code.remote}"
            if (job / PATCH).exists():
                git.apply(job / PATCH, folder)
                fetched += f", with {PATCH}"
            _add(job / FROZEN_REQUIREMENTS, folder)
            shutil.rmtree(folder / ".git")
    if plan.recipe.notebook:
        _convert_notebook(folder / plan.recipe.entry_point[-1])
    return fetched


def _add(file: Path, folder: Path) -> None:
    """Put a file into the folder, in the place of what may be there: a link would lead somewhere else."""
    if file.exists():
        (folder / file.name).unlink(missing_ok=True)
        shutil.copy(file, folder)


def _convert_notebook(script: Path) -> None:
    notebook = script.with_suffix(".ipynb")
    script.write_text(script_of(notebook.read_text() if notebook.is_file() else ""))


def files_in(folder: Path) -> set[str]:
    """Return the paths of all files in a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def texts_in(folder: Path, files: set[str]) -> dict[str, str]:
    """Return the texts of those files that can say what has to be installed."""
    paths = {name: folder / name for name in files if name.endswith(_TEXT)}
    return {name: path.read_text(errors="replace") for name, path in paths.items() if path.stat().st_size <= _MAX_TEXT}
