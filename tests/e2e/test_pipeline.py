"""From a queued run to its outcome in W&B, through the real template, functions and state machine."""

import json
from concurrent.futures import ThreadPoolExecutor

from local.stack import WANDB_PYTHON
from tests.e2e.conftest import ENTITY, MAX_JOBS, QUEUE, Application, wait_for
from tests.wandb.client import Client

ALGORITHM = "arn:aws:sagemaker:us-east-1:000000000000:algorithm/xgboost"


def queued(app: Application, client: Client, *options: str) -> str:
    """Queue a run with the real `wandb launch`; return its item's id."""
    before = set(app.server.state.items)
    client.run("wandb", "launch", "-q", QUEUE, "-e", ENTITY, "-p", "cli", *options)
    (item_id,) = set(app.server.state.items) - before
    return item_id


def test_a_queued_image_trains_and_its_run_shows_the_metrics(app: Application, client: Client) -> None:
    overrides = {"overrides": {"run_config": {"epochs": 4, "learning_rate": 0.02}}}
    item = app.server.state.items[queued(app, client, "-d", app.images["train"], "-c", json.dumps(overrides))]
    outcome = app.outcome(item)
    assert outcome["verdict"] == "finished"
    run = app.run(item)
    assert run
    assert run.state == "finished"
    execution = app.ended(item)
    assert execution["name"].startswith(f"{run.name}-")
    assert json.loads(execution["input"])["project"] == "cli"
    assert f"/jobs/{outcome['training_job_name']}" in outcome["links"]["training_job"]
    assert len(run.rows) == 4
    assert run.rows[-1]["accuracy"] > 0.8
    assert run.config_values["learning_rate"]["value"] == 0.02
    assert run.config_values["_wandb"]["value"]["launch_trace_id"] == item.id
    assert item.state == "CLAIMED"
    (job,) = app.training_jobs(item)
    bucket, _, key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://").partition("/")
    assert app.deployed.cloud.client("s3").head_object(Bucket=bucket, Key=key)["ContentLength"] > 1000


def test_a_job_that_fails_in_user_code_says_why(app: Application, client: Client) -> None:
    item = app.server.state.items[queued(app, client, "-d", app.images["broken"])]
    outcome = app.outcome(item)
    assert outcome["verdict"] == "failed"
    assert item.state == "FAILED"
    assert item.error
    assert item.error["stage"] == "run"
    assert "AlgorithmError" in item.error["message"]
    log = app.error_log(item)
    assert "FileNotFoundError" in log
    assert f"#/jobs/{app.training_jobs(item)[0]['TrainingJobName']}" in log
    assert "states/home" in log


def test_a_wrong_override_never_reaches_sagemaker(app: Application, client: Client) -> None:
    wrong = {"sagemaker": {"ResourceConfig": {"InstanceCount": 0}, "Environment": {"EPOCHS": 3}}}
    item = app.server.state.items[queued(app, client, "-d", app.images["train"], "-R", json.dumps(wrong))]
    execution = app.ended(item)
    assert (execution["status"], execution["error"]) == ("FAILED", "LaunchFailed")
    assert item.error
    assert item.error["stage"] == "agent"
    assert "ResourceConfig.InstanceCount is missing or zero" in item.error["message"]
    assert "Environment.EPOCHS must be a string, not a number; put quotes around it." in item.error["message"]
    assert app.training_jobs(item) == []


def test_an_image_job_made_by_the_real_client_is_launched(app: Application, client: Client) -> None:
    image = app.image("job", "true")
    client.run("wandb", "job", "create", "image", image, "-e", ENTITY, "-p", "cli", "-n", "image-job")
    offline = json.dumps({"sagemaker": {"Environment": {"WANDB_MODE": "offline"}}})
    item = app.server.state.items[queued(app, client, "-j", f"{ENTITY}/cli/image-job:latest", "-R", offline)]
    assert app.outcome(item)["verdict"] == "finished"
    (job,) = app.training_jobs(item)
    assert job["AlgorithmSpecification"]["TrainingImage"] == image
    assert job["Environment"]["WANDB_DOCKER"] == image


def test_a_job_that_does_not_exist_is_said_so(app: Application) -> None:
    item = app.push(job=f"{ENTITY}/cli/nothing:latest")
    assert "JobArtifactNotFound" in app.ended(item)["cause"]


def test_an_algorithm_of_sagemakers_gets_a_run_of_its_own(app: Application) -> None:
    item = app.push(
        app.images["train"],
        sagemaker={
            "AlgorithmSpecification": {"AlgorithmName": ALGORITHM, "TrainingInputMode": "File"},
            "HyperParameters": {"num_round": "10"},
        },
        overrides={"run_config": {"mine": 1}},
    )
    assert app.outcome(item)["verdict"] == "finished"
    run = app.run(item)
    assert run
    assert (run.state, run.summary["train:simulated"]) == ("finished", 1.0)
    own = {"_wandb": {"value": {"launch_trace_id": item.id}}}
    written = {key: value for key, value in run.config_values.items() if not key.startswith("sagemaker/")}
    assert written == {"num_round": {"value": "10"}, "mine": {"value": 1}} | own
    assert item.state == "CLAIMED"
    assert item.warnings[0]["message"].startswith("The queue names a SageMaker algorithm")


def test_a_job_that_completes_without_wandb_fails_its_item(app: Application) -> None:
    item = app.push(app.image("silent", "true"))
    assert app.outcome(item)["verdict"] == "failed"
    assert item.error
    assert "wandb.init()" in item.error["message"]


def test_a_job_that_fails_after_its_run_began_warns_with_its_log(app: Application) -> None:
    script = "import wandb; wandb.init(); print('the last words'); raise SystemExit(3)"
    item = app.push(app.image("late", str(WANDB_PYTHON), "-c", script))
    assert app.outcome(item)["verdict"] == "failed"
    assert item.state == "CLAIMED"
    (warning,) = item.warnings
    assert "exit code: 3" in warning["message"]
    assert "the last words" in app.error_log(item, "warning")


def test_a_missing_image_is_the_configurations_fault_and_known_at_once(app: Application) -> None:
    item = app.push("000000000000.dkr.ecr.us-east-1.amazonaws.com/nothing:v1")
    assert app.outcome(item)["verdict"] == "failed"
    assert item.error
    assert "Cannot pull algorithm container" in item.error["message"]


def test_a_missing_output_bucket_is_known_before_anything_runs(app: Application) -> None:
    item = app.push(app.images["train"], sagemaker={"OutputDataConfig": {"S3OutputPath": "s3://no-such-bucket/x"}})
    assert "InvalidRunSpec" in app.ended(item)["cause"]
    assert item.error
    assert "there is no bucket no-such-bucket" in item.error["message"]
    assert app.training_jobs(item) == []
    assert app.deployed.cloud.get("denials") == []


def test_a_role_the_stack_may_not_pass_is_refused_in_awss_words(app: Application) -> None:
    before = len(app.deployed.cloud.get("denials"))
    item = app.push(app.images["train"], sagemaker={"RoleArn": "arn:aws:iam::000000000000:role/Administrator"})
    assert "TrainingJobRejected" in app.ended(item)["cause"]
    assert item.error
    assert "iam:PassRole" in item.error["message"]
    denials = app.deployed.cloud.get("denials")
    assert len(denials) == before + 1
    app.deployed.cloud.forget_denials()


def test_a_stopped_training_job_is_not_a_finished_run(app: Application) -> None:
    item = app.push(app.image("sleep", "sh", "-c", "sleep 600"))
    job = wait_for(lambda: next(iter(app.training_jobs(item)), None))
    app.deployed.cloud.client("sagemaker").stop_training_job(TrainingJobName=job["TrainingJobName"])
    assert app.outcome(item)["verdict"] == "stopped"
    assert item.state == "FAILED"


def test_a_job_that_reaches_its_limit_is_stopped_and_says_which(app: Application) -> None:
    item = app.push(
        app.image("sleep", "sh", "-c", "sleep 600"), sagemaker={"StoppingCondition": {"MaxRuntimeInSeconds": 1}}
    )
    outcome = app.outcome(item)
    assert outcome["verdict"] == "stopped"
    assert "MaxRuntimeInSeconds" in outcome["reason"]


def test_a_used_up_quota_is_waited_for(app: Application) -> None:
    app.deployed.cloud.put_faults([{"match": "quota1", "code": "ResourceLimitExceeded", "times": 2}])
    item = app.quick(run_id="quota1")
    assert app.outcome(item)["verdict"] == "finished"
    assert len(app.training_jobs(item)) == 1
    app.deployed.cloud.put_faults([])


def test_a_run_id_used_before_gives_the_training_job_another_name(app: Application) -> None:
    first, second = app.quick(run_id="again_1"), app.quick(run_id="again_1")
    assert [app.outcome(item)["verdict"] for item in (first, second)] == ["finished", "finished"]
    names = sorted(job["TrainingJobName"] for item in (first, second) for job in app.training_jobs(item))
    assert names[0] == "again-1"
    assert names[1].startswith("again-1-")


def test_lost_and_doubled_status_events_of_the_middle_change_nothing(app: Application) -> None:
    app.deployed.cloud.put_faults([{"match": "doubled1", "events": "duplicate"}])
    item = app.quick(run_id="doubled1")
    assert app.outcome(item)["verdict"] == "finished"
    app.deployed.cloud.put_faults([])


def test_a_closed_run_keeps_its_outcome_and_no_more(app: Application) -> None:
    item = app.quick()
    app.outcome(item)
    record = app.record(item)
    assert record
    assert record["state"] == "closed"
    assert record["outcome"]["verdict"] == {"S": "finished"}
    assert not {"spec", "plan", "task_token"} & set(record)
    assert record["training_status"] == "Completed"


def test_never_more_runs_are_open_than_allowed_and_all_end(app: Application) -> None:
    items = [app.quick() for _ in range(10)]
    samples = []

    def look() -> bool:
        dynamodb = app.deployed.cloud.client("dynamodb")
        found = dynamodb.scan(TableName=app.deployed.outputs["RunsTable"], ConsistentRead=True)["Items"]
        open_runs = sum(each.get("state", {}).get("S") == "open" for each in found)
        samples.append((open_runs, app.slots()))
        return all((execution := app.execution(item)) and execution["status"] != "RUNNING" for item in items)

    wait_for(look, within=120)
    assert max(count for count, _ in samples) == MAX_JOBS
    assert max(slots for _, slots in samples) == MAX_JOBS
    assert [app.outcome(item)["verdict"] for item in items] == ["finished"] * 10
    assert all(len(app.training_jobs(item)) == 1 for item in items)


def test_pollers_at_the_same_time_launch_every_item_once(app: Application) -> None:
    items = [app.quick() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: app.poll(), range(8)))
    assert [app.outcome(item)["verdict"] for item in items] == ["finished"] * 4
    assert all(len(app.training_jobs(item)) == 1 for item in items)


def test_an_operator_stops_polling_in_wandb_and_resumes_it(app: Application) -> None:
    agent = wait_for(lambda: next(reversed(app.server.state.agents.values()), None))
    agent.stop_polling = True
    wait_for(lambda: agent.agent_status == "KILLED")
    item = app.quick()
    app.poll()
    assert item.state == "PENDING"
    agent.stop_polling = False
    assert app.outcome(item)["verdict"] == "finished"
    wait_for(lambda: agent.agent_status in ("POLLING", "RUNNING"))


def test_the_launch_agent_is_registered_once(app: Application) -> None:
    app.poll()
    app.poll()
    assert len(app.server.state.agents) == 1
    (agent,) = app.server.state.agents.values()
    assert ("team", "model-registry", agent.name) in app.server.state.runs
    assert json.loads(agent.config or "{}")["queues"] == [QUEUE]


def test_polls_at_the_same_time_register_one_agent(app: Application) -> None:
    for _ in range(3):
        with ThreadPoolExecutor(6) as pool:
            list(
                pool.map(lambda _: app.poll(), range(6))
            )  # six warm environments; otherwise the first ends before the next starts
            app.server.state.agents.clear()
            answers = list(pool.map(lambda _: app.poll(), range(6)))
        assert all("status" in answer for answer in answers), answers
        wait_for(lambda: app.poll()["status"] != "REGISTERING")
        assert len(app.server.state.agents) == 1


def test_an_agent_that_wandb_no_longer_knows_is_registered_again(app: Application) -> None:
    app.poll()
    (known,) = app.server.state.agents
    del app.server.state.agents[known]
    wait_for(lambda: app.server.state.agents and known not in app.server.state.agents)
    item = app.quick()
    assert app.outcome(item)["verdict"] == "finished"


def test_an_execution_shows_where_to_look(app: Application) -> None:
    item = app.quick(run_id="shown1")
    execution = app.ended(item)
    states = app.deployed.cloud.client("stepfunctions")
    history = states.get_execution_history(executionArn=execution["executionArn"], maxResults=1000)["events"]
    exits = [event["stateExitedEventDetails"] for event in history if "stateExitedEventDetails" in event]
    plan = next(json.loads(each["output"]) for each in exits if each["name"] == "Plan run")
    assert plan["run_url"].endswith("/team/p/runs/shown1")
    assert plan["training_job_name"] == "shown1"
    assert json.loads(execution["input"]) == {
        "run_queue_item_id": item.id,
        "run_id": "shown1",
        "run_queue": QUEUE,
        "entity": "team",
        "project": "p",
        "run_url": plan["run_url"],
    }
