"""The real handlers' decisions before anything is submitted: what runs in secure_mode, and who gets a key."""

from typing import Any

import pytest

from tests.simulation.faults import Fault, FaultsAt, NoFaults, Site
from tests.simulation.training import Script
from tests.simulation.world import API_KEY, DAY, IMAGE, KEY_OF_RUN, MINUTE, World, queue_config, world

EVIL = IMAGE.replace("train:v1", "evil:v1")


def push(made: World, block: dict[str, Any], **spec: Any) -> Any:
    """Queue a run with its own keys in `resource_args.sagemaker`."""
    return made.push(resource="sagemaker", resource_args={"sagemaker": block}, **spec)


@pytest.mark.parametrize("own", [{}, {"AlgorithmSpecification": {"TrainingInputMode": "File", "TrainingImage": IMAGE}}])
def test_in_secure_mode_the_queues_own_image_runs_and_one_that_is_pushed_does_not(own: dict[str, Any]) -> None:
    with world(31, NoFaults(), secure_mode=True) as made:
        config = made.server.state.resource_configs[made.queue.default_resource_config_id or ""]
        config.config["resource_args"]["sagemaker"].update(own)
        honest = made.push()
        hostile = push(made, {"AlgorithmSpecification": {"TrainingImage": EVIL}})
        assert made.run_until_idle(within=DAY)
        assert [job.shown["TrainingJobStatus"] for job in made.jobs(honest)] == ["Completed"]
        assert made.jobs(hostile) == []
        assert hostile.error
        assert (
            "AlgorithmSpecification.TrainingImage is not allowed: it differs from the queue's configuration"
            in hostile.error["message"]
        )


def test_in_secure_mode_a_queue_that_cannot_be_read_is_trusted_with_nothing() -> None:
    with world(32, NoFaults(), secure_mode=True) as made:
        config = made.server.state.resource_configs[made.queue.default_resource_config_id or ""]
        own = {"AlgorithmSpecification": {"TrainingInputMode": "File", "TrainingImage": IMAGE}}
        config.config["resource_args"]["sagemaker"].update(own)
        item = made.push()
        made.queue.default_resource_config_id = None
        assert made.run_until_idle(within=DAY)
        assert made.jobs(item) == []
        assert item.error


def test_what_a_plan_depends_on_is_read_while_wandb_takes_the_acknowledgement() -> None:
    """What is written waits for W&B's answer."""
    faults = NoFaults()
    with world(33, faults) as made:
        made.push()
        assert made.run_until_idle()
    calls = [site.operation for site in faults.seen if site.function == "plan_run"]  # in the order of the first of each
    assert calls.index("AckItem") < calls.index("BatchGetImage") < calls.index("UpdateItem")


@pytest.mark.parametrize(
    ("block", "spec", "key"),
    [
        ({}, {"_wandb_api_key": None}, API_KEY),
        ({}, {}, KEY_OF_RUN),
        ({"Environment": {"WANDB_API_KEY": "key-of-the-queue"}}, {}, "key-of-the-queue"),
        ({"launch_agent": {"calls_wandb_init": False}}, {}, None),
        ({"launch_agent": {"calls_wandb_init": False}, "Environment": {"WANDB_API_KEY": "own"}}, {}, "own"),
    ],
    ids=["agent", "run", "queue", "none", "queue without wandb.init"],
)
def test_a_container_gets_the_key_it_needs(block: dict[str, Any], spec: dict[str, Any], key: str | None) -> None:
    given: list[str | None] = []

    def script(request: dict[str, Any]) -> Script:
        files = [channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in request.get("InputDataConfig", [])]
        texts = [made.objects[f"/{uri.removeprefix('s3://credentials/')}netrc"].decode() for uri in files]
        given.append(key_in(texts[0]) if texts else None)
        assert request["Environment"].get("NETRC") == ("/opt/ml/input/data/launch_agent/netrc" if texts else None)
        return Script(calls_init="launch_agent" not in block)

    def key_in(netrc: str) -> str:
        assert netrc.startswith("machine wandb login user password ")
        return netrc.split()[-1]

    with world(33, NoFaults(), script=script) as made:
        push(made, block, **spec)
        made.clock.run(30 * MINUTE)
        assert made.check().everything == []
    assert given == [key]


def test_the_last_variable_that_fits_is_counted_with_the_key() -> None:
    with world(34, NoFaults()) as made:
        as_it_is = {"launch_agent": {"start_through_sh": False}}
        items = [
            push(made, {**as_it_is, "Environment": {f"V{n}": "x" for n in range(count)}})
            for count in (84, 85, 86, 87, 88)
        ]
        assert made.run_until_idle(within=DAY)
        refused = [bool(item.error) for item in items]
        assert refused == sorted(refused)
        assert {True, False} == set(refused)
        assert all("variables, and SageMaker allows 100" in item.error["message"] for item in items if item.error)
        assert not [item for item in items if item.error and made.jobs(item)]


def test_one_item_of_a_queue_says_that_its_containers_get_the_launch_agents_key() -> None:
    with world(35, NoFaults()) as made:
        items = [made.push(_wandb_api_key=None) for _ in range(3)]
        assert made.run_until_idle(within=DAY)
        (said,) = [warning["message"] for item in items for warning in item.warnings]
        assert "Deploy the stack with the parameter RunApiKeySecretArn" in said


def test_a_run_is_refused_for_its_price_in_the_price_list() -> None:
    with world(36, NoFaults(), config={"policy": {"max_usd_per_hour": 0.5}}) as made:
        cheap = made.push()
        dear = push(made, {"ResourceConfig": {**queue_config()["ResourceConfig"], "InstanceCount": 2}})
        assert made.run_until_idle(within=DAY)
        assert [job.shown["TrainingJobStatus"] for job in made.jobs(cheap)] == ["Completed"]
        assert made.jobs(dear) == []
        assert dear.error
        assert "The instances cost 0.56 US dollars an hour, which is not allowed" in dear.error["message"]


def test_a_price_that_cannot_be_read_is_refused_by_a_rule_that_needs_it_and_by_no_other() -> None:
    for config, verdict in (({"max_usd_per_run": 1_000}, "not launched"), ({"max_instances": 1}, "finished")):
        faults = FaultsAt(Site("plan_run", "pricing", "GetProducts"), Fault.REFUSED, times=100)
        with world(37, faults, config={"policy": config}) as made:
            item = made.push()
            assert made.run_until_idle(within=DAY)
            outcome = made.outcome(item) or {}
            assert outcome["verdict"] == verdict
            assert ("The price of ml.m4.xlarge is not known" in outcome["reason"]) is (verdict == "not launched")
