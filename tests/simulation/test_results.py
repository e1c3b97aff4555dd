"""What runs in W&B show of their training jobs, and what happens if that is refused."""

import json
from typing import Any

import pytest

from local.wandb.runs import Run
from tests.simulation.faults import Fault, FaultsAt, NoFaults, Site
from tests.simulation.test_endings import ALGORITHM, ended, instead
from tests.simulation.training import Script
from tests.simulation.world import ENTITY as TEAM
from tests.simulation.world import HOUR, MINUTE, PROJECT, World, price_of, world

JOB_URL = "https://us-east-1.console.aws.amazon.com/sagemaker/home?region=us-east-1#/jobs/{}"


def run_of(made: World, item: Any) -> Run:
    return made.run(TEAM, PROJECT, item.associated_run_id)


def config_of(made: World, item: Any) -> dict[str, Any]:
    """Return the config that a container's wandb.init reads from its environment."""
    environment = made.jobs(item)[-1].request["Environment"]
    pieces = (environment[name] for name in sorted(environment) if name.startswith("WANDB_CONFIG_"))
    config: dict[str, Any] = json.loads("".join(pieces))
    return config


def until_training(made: World, item: Any) -> None:
    while not (made.jobs(item) and made.jobs(item)[0].shown["SecondaryStatus"] == "Training"):
        made.clock.run(10)


@pytest.mark.parametrize(
    ("script", "verdict", "summary"),
    [
        (Script(), "finished", {"status": "Completed", "billable_seconds": 130}),
        (
            Script(failure="AlgorithmError: , exit code: 1"),
            "failed",
            {"status": "Failed", "failure_reason": "AlgorithmError: , exit code: 1", "billable_seconds": 120},
        ),
        (Script(interruptions=1), "finished", {"status": "Completed"}),
    ],
    ids=["finished", "failed", "interrupted"],
)
def test_a_run_has_the_results_of_its_training_job(script: Script, verdict: str, summary: dict[str, Any]) -> None:
    with world(3, NoFaults(), script=lambda _: script) as made:
        item = made.push(overrides={"run_config": {"lr": 0.1}})
        assert ended(made, item)["verdict"] == verdict
        run, (job,) = run_of(made, item), made.jobs(item)
        shown = {"job_name": job.name, "job_url": JOB_URL.format(job.name), "instance_type": "ml.m4.xlarge", **summary}
        assert {f"sagemaker/{key}": value for key, value in shown.items()}.items() <= run.summary.items()
        assert run.summary["loss"] == 0.25
        config = config_of(made, item)
        assert config["lr"] == 0.1
        assert config["sagemaker/job_url"] == JOB_URL.format(job.name)
        execution = made.execution(item)
        assert execution
        assert config["sagemaker/execution_url"] == run.summary["sagemaker/execution_url"]
        assert config["sagemaker/execution_url"].endswith(execution.arn)


def test_a_stopped_run_has_the_results_of_its_training_job() -> None:
    with world(3, NoFaults(), script=lambda _: Script(training=3 * HOUR)) as made:
        item = made.push()
        until_training(made, item)
        made.stop_in_wandb(item)
        assert ended(made, item)["verdict"] == "stopped"
        assert run_of(made, item).summary["sagemaker/status"] == "Stopped"


def test_a_run_that_is_stopped_in_the_console_has_the_results_once_its_training_job_has_ended() -> None:
    with world(3, NoFaults(), script=lambda _: Script(training=3 * HOUR)) as made:
        item = made.push()
        until_training(made, item)
        made.stop_in_console(item)
        assert ended(made, item)["verdict"] == "stopped"
        made.clock.run(10 * MINUTE)
        assert item.warnings[-1]["message"] == "The execution was stopped in Step Functions."
        summary = run_of(made, item).summary
        assert summary["sagemaker/status"] == "Stopped"
        assert summary["sagemaker/billable_seconds"] > 0
        assert summary["sagemaker/estimated_cost_usd"] > 0


def test_the_run_of_an_algorithm_is_in_w_and_b_as_long_as_it_trains() -> None:
    with world(3, NoFaults(), script=lambda _: Script(calls_init=False)) as made:
        item = made.push(name="boosted", resource_args={"sagemaker": ALGORITHM})
        until_training(made, item)
        run, (job,) = run_of(made, item), made.jobs(item)
        assert (run.state, run.display_name) == ("pending", "boosted")
        assert run.config_values["sagemaker/job_url"]["value"] == JOB_URL.format(job.name)
        assert "WANDB_CONFIG_0" not in job.request["Environment"]
        run.display_name, run.config_values["note"], run.summary["seen"] = "mine", {"value": "by a user"}, 1
        assert ended(made, item)["verdict"] == "finished"
        assert (run.state, run.display_name, run.config_values["note"]) == ("finished", "mine", {"value": "by a user"})
        assert run.summary["seen"] == 1
        assert run.summary["sagemaker/status"] == "Completed"


def test_the_run_of_an_algorithm_that_is_stopped_ends() -> None:
    with world(3, NoFaults(), script=lambda _: Script(training=3 * HOUR, calls_init=False)) as made:
        item = made.push(resource_args={"sagemaker": ALGORITHM})
        until_training(made, item)
        made.stop_in_wandb(item)
        assert ended(made, item)["verdict"] == "stopped"
        assert run_of(made, item).state == "killed"


def test_the_run_of_an_algorithm_whose_job_sagemaker_refuses_ends() -> None:
    with world(3, NoFaults(), script=lambda _: Script(calls_init=False)) as made:
        made.training.refuses = "ValidationException"
        item = made.push(resource_args={"sagemaker": ALGORITHM})
        assert ended(made, item)["verdict"] == "not launched"
        assert run_of(made, item).state == "failed"


def test_a_run_that_is_not_the_items_gets_no_results() -> None:
    with world(3, NoFaults(), script=lambda _: Script(calls_init=False)) as made:
        item = made.push()
        until_training(made, item)
        run = made.run(TEAM, PROJECT, item.associated_run_id or "", state="finished")
        run.config_values["_wandb"] = {"value": {"launch_trace_id": "another item"}}
        assert ended(made, item)["verdict"] == "finished"
        assert run.summary == {}


def test_a_price_is_asked_for_once_and_kept_with_its_day() -> None:
    faults = NoFaults()
    with world(3, faults) as made:
        items = [made.push() for _ in range(3)]
        for item in items:
            assert ended(made, item)["verdict"] == "finished"
            summary = run_of(made, item).summary
            assert summary["sagemaker/estimated_cost_usd"] == round(
                0.28 * summary["sagemaker/billable_seconds"] / 3600, 6
            )
            assert summary["sagemaker/price_day"] == "2027-01-16"
        assert faults.seen[Site("report_outcome", "pricing", "GetProducts")] == 1
        (stack,) = made.stacks.values()
        (price,) = (item for key, item in stack.table.items.items() if key.startswith("price#"))
        price["day"] = {"S": "2027-01-08"}
        item = made.push()
        assert ended(made, item)["verdict"] == "finished"
        assert faults.seen[Site("report_outcome", "pricing", "GetProducts")] == 2
        assert run_of(made, item).summary["sagemaker/price_day"] == "2027-01-16"


@pytest.mark.parametrize(
    "products",
    [
        [],
        [price_of("ml.m5.large", "0.1")],
        [price_of("ml.m4.xlarge", "0.0")],
        [price_of("ml.m4.xlarge", "0.1"), price_of("ml.m4.xlarge", "0.2")],
        [{}],
    ],
    ids=["none", "another type", "free", "two", "empty"],
)
def test_a_type_without_one_price_has_no_cost(products: list[dict[str, Any]]) -> None:
    with world(3, NoFaults()) as made:
        made.price_list = [json.dumps(each) for each in products]
        item = made.push()
        assert ended(made, item)["verdict"] == "finished"
        assert not [key for key in run_of(made, item).summary if "cost" in key or "price" in key]


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.THROTTLED, Fault.BROKEN, Fault.NO_ANSWER])
def test_a_run_does_not_wait_for_a_price_that_cannot_be_had(fault: Fault) -> None:
    faults = FaultsAt(Site("report_outcome", "pricing", "GetProducts"), fault, times=100)
    with world(3, faults) as made:
        item = made.push()
        assert ended(made, item)["verdict"] == "finished"
        assert made.stacks["launch"].functions.failed["report_outcome"] == 0
        assert run_of(made, item).summary["sagemaker/status"] == "Completed"
        assert "sagemaker/estimated_cost_usd" not in run_of(made, item).summary


@pytest.mark.parametrize("kind", ["image", "algorithm"])
def test_a_finished_run_has_its_model_as_an_output(kind: str) -> None:
    is_algorithm = kind == "algorithm"
    with world(3, NoFaults(), script=lambda _: Script(calls_init=not is_algorithm)) as made:
        item = made.push(resource_args={"sagemaker": ALGORITHM} if is_algorithm else {})
        assert ended(made, item)["verdict"] == "finished"
        (job,), run = made.jobs(item), run_of(made, item)
        (model,) = (each for each in made.server.state.artifacts.values() if each.created_by is run)
        assert model.contents["model.tar.gz"]["ref"] == f"s3://models/{job.name}/output/model.tar.gz"


@pytest.mark.parametrize(
    ("script", "config"),
    [(Script(failure="AlgorithmError: no"), {}), (Script(), {"log_model_artifact": False})],
    ids=["failed", "switched off"],
)
def test_a_run_without_a_model_or_whose_agent_logs_none_has_no_artifact(script: Script, config: dict[str, Any]) -> None:
    with world(3, NoFaults(), script=lambda _: script, config=config) as made:
        before = dict(made.server.state.artifacts)
        assert ended(made, made.push())["verdict"] in ("finished", "failed")
        assert made.server.state.artifacts == before


@pytest.mark.parametrize(
    "refused", ["RunContents", "UpsertRun", "CreateArtifact", "CreateArtifactManifest", "CommitArtifact"]
)
def test_a_run_whose_results_w_and_b_refuses_ends_as_any_other(refused: str) -> None:
    def forbidden(*asked: Any) -> Any:
        mine = len(asked) == 4 and f"{refused}(".encode() in asked[3] and b"sweep-controller" not in asked[3]
        return (403, b'{"errors": [{"message": "permission denied"}]}') if mine else None

    with world(10, NoFaults()) as made:
        instead(made, forbidden)
        item = made.push()
        assert made.run_until_idle(within=HOUR)
        outcome = made.outcome(item) or {}
        assert (outcome["verdict"], outcome["reason"]) == ("finished", "The training job completed.")
        assert item.warnings == []
