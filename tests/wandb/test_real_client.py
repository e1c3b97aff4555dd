"""The real wandb client works with the local server, from the command line and in a container."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.wandb import WandbServer
from local.wandb.runs import Run
from tests.wandb.client import API_KEY, Client

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:v1"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[WandbServer, str]]:
    """One server for all clients of this module; each uses its own project."""
    server = WandbServer(entity="team", api_key=API_KEY)
    server.create_queue("sm", config={"RoleArn": "role", "Tags": [1]}, prioritization="V0")
    with server.running() as base_url:
        yield server, base_url


@pytest.fixture
def client(server: tuple[WandbServer, str], tmp_path: Path) -> Client:
    return Client(tmp_path, server[1])


def run_of(server: tuple[WandbServer, str], project: str, run_id: str) -> Run:
    return server[0].state.runs["team", project, run_id]


def test_an_image_is_queued_with_its_overrides(server: tuple[WandbServer, str], client: Client) -> None:
    overrides = {"overrides": {"run_config": {"lr": 0.1}, "args": ["--epochs", "3"]}}
    client.run(
        *("wandb", "launch", "-q", "sm", "-e", "team", "-p", "queued", "-d", IMAGE, "-E", "python train.py"),
        *("-c", json.dumps(overrides), "-R", '{"sagemaker": {"RoleArn": "mine"}}', "-P", "high", "--name", "first"),
    )
    item = next(each for each in server[0].state.items.values() if each.run_spec["project"] == "queued")
    assert item.priority == 1
    assert item.run_spec["docker"] == {"docker_image": IMAGE}
    assert item.run_spec["name"] == "first"
    assert item.run_spec["overrides"] == {
        "run_config": {"lr": 0.1},
        "args": ["--epochs", "3"],
        "entry_point": ["python", "train.py"],
    }
    assert item.run_spec["resource_args"] == {"sagemaker": {"RoleArn": "mine", "Tags": [1]}}


def test_an_image_job_is_made_queued_and_read_back(server: tuple[WandbServer, str], client: Client) -> None:
    client.run("wandb", "job", "create", "image", IMAGE, "-e", "team", "-p", "jobs", "-n", "image-job")
    client.run("wandb", "launch", "-q", "sm", "-e", "team", "-p", "jobs", "-j", "team/jobs/image-job:latest")
    script = """
import json, wandb
artifact = wandb.Api().artifact("team/jobs/image-job:latest")
print(json.dumps([artifact.version, json.load(open(artifact.download() + "/wandb-job.json"))["source"]]))
"""
    assert json.loads(client.run("python", "-c", script)) == ["v0", {"image": IMAGE}]


def test_a_code_job_is_made(server: tuple[WandbServer, str], client: Client) -> None:
    (client.home / "code").mkdir()
    (client.home / "code/train.py").write_text("print('hello')\n")
    (client.home / "code/requirements.txt").write_text("wandb\n")
    client.run(
        *("wandb", "job", "create", "code", "code", "-e", "team", "-p", "codejobs", "-n", "code-job"),
        *("-E", "train.py", "-r", "3.11"),
    )
    collections = server[0].state.projects["team", "codejobs"].collections
    assert {name: each.type_name for name, each in collections.items()} == {"code-job": "job", "code-code-job": "code"}


def test_a_single_file_of_a_job_is_read_as_a_run_of_it_does(server: tuple[WandbServer, str], client: Client) -> None:
    client.run("wandb", "job", "create", "image", IMAGE, "-e", "team", "-p", "single", "-n", "image-job")
    script = """
import wandb
print(open(wandb.Api().artifact("team/single/image-job:latest").get_entry("wandb-job.json").download()).read())
"""
    assert json.loads(client.run("python", "-c", script))["source"] == {"image": IMAGE}


def test_a_launched_run_appears_under_its_id_with_config_metrics_and_job(
    server: tuple[WandbServer, str], client: Client
) -> None:
    client.run("wandb", "job", "create", "image", IMAGE, "-e", "team", "-p", "launched", "-n", "image-job")
    script = """
import wandb
with wandb.init(project="elsewhere", config={"lr": 9, "mine": 1}) as run:
    for step in range(3):
        run.log({"loss": run.config.lr / (step + 1)})
"""
    client.run(
        *("python", "-c", script),
        WANDB_LAUNCH="True",
        WANDB_RUN_ID="launched1",
        WANDB_ENTITY="team",
        WANDB_PROJECT="launched",
        WANDB_CONFIG_0='{"lr": 0.',
        WANDB_CONFIG_1="6}",
        WANDB_ARTIFACTS='{"_wandb_job": "team/launched/image-job:latest"}',
        WANDB_LAUNCH_TRACE_ID="item",
    )
    run = run_of(server, "launched", "launched1")
    assert run.state == "finished"
    assert [row["loss"] for row in run.rows] == pytest.approx([0.6, 0.3, 0.2])
    assert run.config_values["lr"] == {"value": 0.6}
    assert run.config_values["_wandb"]["value"]["launch_trace_id"] == "item"
    assert [artifact.collection.name for artifact in run.used_artifacts] == ["image-job"]


def test_a_script_that_raises_fails_its_run(server: tuple[WandbServer, str], client: Client) -> None:
    script = "import wandb\nwith wandb.init(project='failing', entity='team', id='failing1'):\n    raise ValueError"
    with pytest.raises(AssertionError):
        client.run("python", "-c", script)
    assert run_of(server, "failing", "failing1").state == "failed"


def test_everything_can_be_read_back_with_the_public_api(server: tuple[WandbServer, str], client: Client) -> None:
    (client.home / "notes.txt").write_text("a file\n")
    script = """
import wandb
with wandb.init(project="read", entity="team", id="read1", config={"a": 1}, tags=["t"]) as run:
    run.log({"x": 1})
    run.log({"x": 2})
    run.save("notes.txt")
    run.summary["best"] = 2
"""
    client.run("python", "-c", script)
    item_id = server[0].push("sm", {"entity": "team", "project": "read", "docker": {"docker_image": IMAGE}})
    script = f"""
import json, wandb
api = wandb.Api()
run = api.run("team/read/read1")
files = {{file.name: file.download(replace=True).read() for file in run.files() if file.name == "notes.txt"}}
queue = api.run_queue("team", "sm")
queued = api.queued_run("team", "read", "sm", "{item_id}", project_queue="model-registry")
print(json.dumps({{
    "state": run.state, "config": dict(run.config), "best": run.summary["best"], "tags": run.tags, "files": files,
    "history": [row["x"] for row in run.history(pandas=False)],
    "runs": [each.id for each in api.runs("team/read")],
    "item": queued.state, "items": [each.id for each in queue.items],
}}))
"""
    read = json.loads(client.run("python", "-c", script).splitlines()[-1])
    assert item_id in read.pop("items")
    assert read == {
        "state": "finished",
        "config": {"a": 1},
        "best": 2,
        "tags": ["t"],
        "files": {"notes.txt": "a file\n"},
        "history": [1, 2],
        "runs": ["read1"],
        "item": "pending",
    }


def test_a_queues_configuration_is_changed_with_the_public_api(server: tuple[WandbServer, str], client: Client) -> None:
    server[0].create_queue("changing", config={"RoleArn": "old"})
    script = """
import wandb
config = {"RoleArn": "new"}
wandb.Api().upsert_run_queue("changing", config, "sagemaker", entity="team")
"""
    client.run("python", "-c", script)
    item = server[0].push("changing", {"entity": "team", "project": "p"})
    assert server[0].state.items[item].run_spec["resource_args"] == {"sagemaker": {"RoleArn": "new"}}


def test_the_lineage_of_artifacts_is_read_back(server: tuple[WandbServer, str], client: Client) -> None:
    script = """
import json, wandb
from pathlib import Path
Path("data.txt").write_text("data")
def logged(run, name):
    artifact = wandb.Artifact(name, type="dataset")
    artifact.add_file("data.txt")
    run.log_artifact(artifact).wait()
with wandb.init(project="lineage", entity="team", id="maker") as run:
    logged(run, "raw")
with wandb.init(project="lineage", entity="team", id="user") as run:
    run.use_artifact("raw:latest")
    run.use_artifact("raw:latest")
    logged(run, "clean")
api = wandb.Api()
user, raw = api.run("team/lineage/user"), api.artifact("team/lineage/raw:latest")
print(json.dumps({
    "used": [each.name for each in user.used_artifacts()], "logged": [each.name for each in user.logged_artifacts()],
    "used_by": [each.id for each in raw.used_by()], "logged_by": raw.logged_by().id,
    "files": [each.name for each in raw.files()], "read": Path(raw.get_entry("data.txt").download()).read_text(),
}))
"""
    assert json.loads(client.run("python", "-c", script).splitlines()[-1]) == {
        "used": ["raw:v0"],
        "logged": ["clean:v0"],
        "used_by": ["user"],
        "logged_by": "maker",
        "files": ["data.txt"],
        "read": "data",
    }


def test_a_queued_run_and_a_queue_are_deleted(server: tuple[WandbServer, str], client: Client) -> None:
    script = f"""
import json, wandb
from wandb.sdk.launch import launch_add
api = wandb.Api()
api.create_run_queue("short-lived", "sagemaker", config={{"resource_args": {{"sagemaker": {{}}}}}}, entity="team")
queued = launch_add(docker_image="{IMAGE}", entity="team", project="deleting", queue_name="short-lived")
before = [each.id for each in api.run_queue("team", "short-lived").items]
queued.delete()
after = [each.id for each in api.run_queue("team", "short-lived").items]
api.run_queue("team", "short-lived").delete()
print(json.dumps([before == [queued.id], after]))
"""
    assert json.loads(client.run("python", "-c", script).splitlines()[-1]) == [True, []]
    assert "short-lived" not in server[0].state.project("team", "model-registry").queues


def test_a_runs_whole_history_is_scanned(server: tuple[WandbServer, str], client: Client) -> None:
    script = """
import json, wandb
with wandb.init(project="scan", entity="team", id="scan1") as run:
    for step in range(5):
        run.log({"x": step})
print(json.dumps([row["x"] for row in wandb.Api().run("team/scan/scan1").scan_history()]))
"""
    assert json.loads(client.run("python", "-c", script).splitlines()[-1]) == [0, 1, 2, 3, 4]


def test_a_run_is_changed_with_the_public_api(server: tuple[WandbServer, str], client: Client) -> None:
    script = """
import wandb
with wandb.init(project="changed", entity="team", id="changed1", config={"a": 1}):
    pass
run = wandb.Api().run("team/changed/changed1")
run.name, run.notes, run.tags, run.config["b"] = "a new name", "why", ["t"], 2
run.update()
"""
    client.run("python", "-c", script)
    run = run_of(server, "changed", "changed1")
    assert (run.display_name, run.notes, run.tags, run.state) == ("a new name", "why", ["t"], "finished")
    assert {key: entry["value"] for key, entry in run.config_values.items() if key != "_wandb"} == {"a": 1, "b": 2}
