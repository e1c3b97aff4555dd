"""What the page of the local W&B server shows of the embedded AWS."""

import json

from local.launches import Launches
from local.stack import DEMO_KEY
from tests.e2e.conftest import Application, wait_for


def test_the_page_shows_the_execution_and_the_training_job_of_an_item(app: Application) -> None:
    launches = Launches(app.deployed)
    item = app.push(app.images["train"], overrides={"run_config": {"epochs": 2}})
    assert launches.of_item("another item") is None
    assert app.outcome(item)["verdict"] == "finished"
    launched = launches.of_item(item.id)
    assert launched
    ((execution,), (job,)) = launched["executions"], launched["jobs"]
    assert (execution["state"], job["state"]) == ("SUCCEEDED", "Completed")
    shown = launches.execution(execution["name"])
    assert shown
    assert shown["item"] == item.id
    assert shown["jobs"] == [job]
    assert [step["name"] for step in shown["steps"]][:2] == ["Plan run", "Image ready?"]
    assert all(step["started"] <= step["ended"] for step in shown["steps"])
    assert {"Input", "Output"} == {title for title, _ in shown["texts"]}


def test_the_page_shows_the_log_of_a_training_job_but_no_value_of_its_environment(app: Application) -> None:
    launches = Launches(app.deployed)
    image = app.image("speaks", "sh", "-c", "echo a line of the log; exit 3")
    item = app.push(image, sagemaker={"Environment": {"MINE": "a value to hide"}})
    app.outcome(item)
    launched = launches.of_item(item.id)
    assert launched
    job = launches.training_job(launched["jobs"][0]["name"])
    assert job
    assert (job["state"], job["item"]) == ("Failed", item.id)
    assert "a line of the log" in job["log"]["lines"]
    facts = dict(job["facts"])
    assert {"MINE", "WANDB_ENTITY"} <= set(facts["Environment"].split(", "))
    assert "a value to hide" not in json.dumps(job)
    assert DEMO_KEY not in json.dumps([job, launches.execution(launched["executions"][0]["name"])])


def test_what_does_not_exist_is_not_shown(app: Application) -> None:
    launches = Launches(app.deployed)
    assert launches.execution("nothing") is None
    assert launches.training_job("nothing") is None
    assert launches.training_job("not a name") is None
    assert not launches.stop("nothing")


def test_an_item_is_stopped_from_the_page_before_its_run_exists(app: Application) -> None:
    launches = Launches(app.deployed)
    item = app.push(app.image("sleeps", "sh", "-c", "sleep 60"))
    wait_for(lambda: (launched := launches.of_item(item.id)) and launched["jobs"])
    assert launches.stop(item.id)
    outcome = app.closed(item)
    assert outcome["verdict"] == "stopped", outcome
    assert not launches.stop(item.id)
