"""Jobs made on any machine start on Linux."""

from typing import Any

import pytest

from launch_agent.errors import JobArtifactNotFound
from launch_agent.run_queue.items import parse_run_spec
from launch_agent.run_queue.job_artifact import JobSource, parse_job_artifact


def source(**keys: Any) -> JobSource:
    description = {"source_type": "artifact", "source": {"artifact": "wandb-artifact://_id/QQ==", **keys}}
    return parse_job_artifact("team/p/job:v0", description, artifact_id="job", digest="d").source


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["python.exe", "tools\\train.py"], ["python", "tools/train.py"]),
        (["python3.11.exe", "train.py"], ["python3.11", "train.py"]),
        (["pythonw.exe", "train.py"], ["python", "train.py"]),
        (["py.exe", "a\\b\\train.py", "--lr", "0.1"], ["python", "a/b/train.py", "--lr", "0.1"]),
        (["C:\\Program Files\\Python311\\Python.EXE", ".\\train.py"], ["python", "./train.py"]),
        (["pythonCPython 3.11", "tools\\train.py"], ["python3.11", "tools/train.py"]),
        (["python", "notebooks\\Explore.ipynb"], ["python", "notebooks/Explore.ipynb"]),
        (["bash", "scripts\\run.sh"], ["bash", "scripts/run.sh"]),
        (["torchrun.exe", "--nproc_per_node=2", "src\\train.py"], ["torchrun", "--nproc_per_node=2", "src/train.py"]),
    ],
)
def test_a_command_written_on_windows_is_read_as_linux_reads_it(written: list[str], read: list[str]) -> None:
    assert source(entrypoint=written).entrypoint == read


@pytest.mark.parametrize(
    "command",
    [
        ["python", "-c", "print('a\\nb') # x.py"],
        ["sh", "-c", "grep 'a\\.b' train.py"],
        ["python", "train.py", "--pattern=\\d+"],
        ["python", "-m", "pkg.train"],
        ["./run", "a\\b"],
        [],
    ],
)
def test_backslashes_that_are_no_path_stay(command: list[str]) -> None:
    assert source(entrypoint=command).entrypoint == command


def test_paths_of_a_job_made_on_windows_are_paths_on_linux() -> None:
    job = source(build_context="jobs\\hello", dockerfile="docker\\Dockerfile.gpu")
    assert (job.build_context, job.dockerfile) == ("jobs/hello", "docker/Dockerfile.gpu")


def test_overrides_queued_from_windows_are_read_the_same_way() -> None:
    entry_point, dockerfile = ["python.exe", "tools\\train.py"], "docker\\Dockerfile"
    overrides = {"entry_point": entry_point, "dockerfile": dockerfile, "working_dir": "a\\b"}
    read = parse_run_spec({"entity": "e", "project": "p", "overrides": overrides}).overrides
    assert (read.entry_point, read.dockerfile, read.working_dir) == (
        ["python", "tools/train.py"],
        "docker/Dockerfile",
        "a/b",
    )


def test_numbers_in_a_command_are_strings() -> None:
    overrides = {"entry_point": ["python", "train.py", "--seed", 1, 0.5]}
    read = parse_run_spec({"entity": "e", "project": "p", "overrides": overrides}).overrides
    assert read.entry_point == ["python", "train.py", "--seed", "1", "0.5"]


def test_the_script_of_a_windows_notebook_is_found_by_its_path() -> None:
    assert source(entrypoint=["python.exe", "notebooks\\train.ipynb"], notebook=True).entrypoint == [
        "python",
        "notebooks/train.ipynb",
    ]


@pytest.mark.parametrize(
    ("description", "fault"),
    [
        ({"source_type": "artifact", "source": 5}, "source is 5"),
        ({"source_type": "artifact", "source": {"entrypoint": 5}}, "source.entrypoint is 5"),
        ({"source": {}}, "source_type is missing"),
        (None, "source_type is missing"),
    ],
)
def test_a_job_that_cannot_be_read_is_named_with_its_fault(description: object, fault: str) -> None:
    with pytest.raises(JobArtifactNotFound) as raised:
        parse_job_artifact("team/p/job:v0", description, artifact_id="job", digest="d")
    assert str(raised.value).startswith(f'job "team/p/job:v0" has a wandb-job.json that cannot be read. {fault}')
