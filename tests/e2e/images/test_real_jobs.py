"""Typical users' jobs, each built into a real image and run: what they install, and that it works."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from local.aws.base_images import ACCELERATOR, ACCELERATOR_TAG
from local.demo.git_server import make_repository
from local.wandb.queues import RunQueueItem
from tests.e2e.conftest import ENTITY, Application
from tests.wandb.client import Client

pytestmark = pytest.mark.images

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
OFFLINE = {"Environment": {"WANDB_MODE": "offline"}}
ON_ACCELERATOR = {**OFFLINE, "builder": {"accelerator": {"base_image": f"{ACCELERATOR}:{ACCELERATOR_TAG}"}}}
SCM = """
[build-system]
requires = ["setuptools>=64", "setuptools-scm>=8"]
build-backend = "setuptools.build_meta"
[project]
name = "mylib"
dynamic = ["version"]
[tool.setuptools]
packages = ["mylib"]
[tool.setuptools_scm]
"""
LIBRARY = '[project]\nname = "lib"\nversion = "4.5"\n[tool.setuptools]\npy-modules = ["lib"]\n'
NOTEBOOK = [
    "# What I did",
    "!pip install -q \\\n    no-such-package-anywhere\nx = 1",
    "%%capture\n%%time\nx = x + 1",
    "%matplotlib inline\n%time x = x * 10\nprint('percent %d'\n    % x)",
    "%%bash\nexit 1",
]
CODE = {
    "libraries": {
        "requirements.txt": "lightgbm\n",
        "train.py": "import lightgbm, subprocess, sys\n"
        "if sys.version_info < (3, 12): import pkg_resources\n"
        "subprocess.run([sys.executable, '-m', 'pip', '--version'], check=True)\n"
        "subprocess.run(['git', '--version'], check=True)\n"
        "print('trained with lightgbm', lightgbm.__version__)\n",
    },
    "notebook": {
        "train.ipynb": json.dumps(
            {
                "nbformat": 4,
                "cells": [
                    {"cell_type": "code" if number else "markdown", "source": source}
                    for number, source in enumerate(NOTEBOOK)
                ],
            }
        ),
    },
    "accelerated": {
        "requirements.txt": "-e git+{git}/lib.git#egg=lib\n",
        "train.py": "import lib, subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'pip', '--version'], check=True)\n"
        "print('trained with lib', lib.VERSION)\n",
    },
}
FROZEN = {"notebook": "six==1.16.0\nno-such-package-anywhere==1.2.3\n"}
SAID = {
    "libraries": ["trained with lightgbm", "pip ", "git version"],
    "notebook": ["percent 20"],
    "accelerated": ["trained with lib 4.5", "pip "],
    "versioned": ["trained with mylib 1.2.3 ", "'.dockerignore'"],
}
LOG_JOBS = """
import json, sys, wandb
from wandb.sdk.artifacts._internal_artifact import InternalArtifact
run = wandb.init(project="cli", entity=sys.argv[1], settings=wandb.Settings(disable_job_creation=True, silent=True))
for name, (source, files, frozen) in json.load(open(sys.argv[2])).items():
    if "git" not in source:
        code = wandb.Artifact(f"code-{name}", "code")
        for path, text in files.items():
            with code.new_file(path) as file:
                file.write(text)
        run.log_artifact(code).wait()
        source["artifact"] = f"wandb-artifact://_id/{code.id}"
    job = InternalArtifact(name, "job")
    kind = "repo" if "git" in source else "artifact"
    with job.new_file("wandb-job.json") as file:
        json.dump({"_version": "v0", "source_type": kind, "source": source, "runtime": sys.argv[3]}, file)
    with job.new_file("requirements.frozen.txt") as file:
        file.write(frozen)
    run.log_artifact(job).wait()
run.finish()
"""


def test_jobs_as_people_have_them_are_built_and_run(app: Application, client: Client) -> None:
    """All are queued together, because most of the time goes into downloads."""
    items = queue_all(app, client)
    logs = {name: trained(app, item) for name, item in items.items()}
    missing = {name: [words for words in SAID[name] if words not in log] for name, log in logs.items()}
    assert missing == {name: [] for name in SAID}
    assert "'.git'" not in logs["versioned"]
    warnings = "\n".join(each["message"] for each in items["notebook"].warnings if each["stage"] == "build")
    assert "do not run: !pip install -q no-such-package-anywhere, %%bash." in warnings
    assert "could not be installed: no-such-package-anywhere==1.2.3." in warnings


def queue_all(app: Application, client: Client) -> dict[str, RunQueueItem]:
    """Create the jobs with the real client, and queue a run of each."""
    make_repository({"pyproject.toml": LIBRARY, "lib.py": "VERSION = '4.5'\n"}, app.repositories / "lib.git")
    jobs: dict[str, tuple[dict[str, Any], Mapping[str, str], str]] = {
        name: ({"entrypoint": ["python", "train.py"]}, filled(files, app), FROZEN.get(name, ""))
        for name, files in CODE.items()
    }
    jobs["notebook"][0].update(entrypoint=["python", "train.ipynb"], notebook=True)
    jobs["versioned"] = (versioned_job(app), {}, "")
    (client.home / "jobs.json").write_text(json.dumps(jobs))
    client.run("python", "-c", LOG_JOBS, ENTITY, str(client.home / "jobs.json"), PYTHON)
    return {
        name: app.push(
            job=f"{ENTITY}/cli/{name}:latest", sagemaker=ON_ACCELERATOR if name == "accelerated" else OFFLINE
        )
        for name in jobs
    }


def filled(files: Mapping[str, str], app: Application) -> dict[str, str]:
    return {path: text.replace("{git}", app.git.url) for path, text in files.items()}


def versioned_job(app: Application) -> dict[str, Any]:
    """Create a repository whose project takes its version from a tag, and whose .dockerignore excludes most files."""
    files = {
        ".dockerignore": "*\n!src\n",
        "requirements.txt": "-e .\n",
        "pyproject.toml": SCM,
        "mylib/__init__.py": "",
        "src/train.py": "import importlib.metadata, os\n"
        "print('trained with mylib', importlib.metadata.version('mylib'), sorted(os.listdir('.')))\n",
    }
    commit = make_repository(files, app.repositories / "versioned.git")
    subprocess.run(["git", "-C", str(app.repositories / "versioned.git"), "tag", "v1.2.3"], check=True)
    git = {"remote": f"{app.git.url}/versioned.git", "commit": commit}
    return {"entrypoint": ["python", "src/train.py"], "git": git}


def trained(app: Application, item: RunQueueItem) -> str:
    """Wait for a run to finish; return its output."""
    assert app.outcome(item, within=300)["verdict"] == "finished", app.error_log(item)
    return app.training_log(item)
