"""Whether a stack can launch runs with a queue's configuration in W&B."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import build_schema, parse, validate

from launch_agent.clients.graphql import GraphqlClient
from local.wandb import WandbServer
from operate.queues import Queues, RunQueue, default_resource_config, faults_of, run_queues
from tests.documents import ROOT

KEY = "k" * 40
ROLE = "arn:aws:iam::123456789012:role/wandb-launch-TrainingRole-1"
CONFIG = {
    "RoleArn": ROLE,
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
    "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
}


def faults(config: dict[str, Any], resource: str = "sagemaker", bucket: str = "bucket") -> str:
    queue = RunQueue("queue", resource, config)
    found = faults_of(queue, region="us-east-1", account_id="123456789012", roles=frozenset([ROLE]), bucket=bucket)
    return "\n".join(found)


@pytest.fixture
def server() -> Iterator[tuple[WandbServer, str]]:
    server = WandbServer(entity="team", api_key=KEY)
    with server.running() as url:
        yield server, url


def test_the_queues_of_an_entity_are_read_with_their_configurations(server: tuple[WandbServer, str]) -> None:
    running, url = server
    running.create_queue("one", config=CONFIG)
    running.create_queue("two", resource="kubernetes", config={"image": "x"})
    found = Queues(GraphqlClient(url, lambda: KEY), "team").all()
    assert found == {"one": RunQueue("one", "sagemaker", CONFIG), "two": RunQueue("two", "kubernetes", {"image": "x"})}


def test_an_entity_without_queues_has_none(server: tuple[WandbServer, str]) -> None:
    assert Queues(GraphqlClient(server[1], lambda: KEY), "team").all() == {}


@pytest.mark.parametrize(
    "operation", [run_queues("team"), default_resource_config("team", "id")], ids=["queues", "config"]
)
def test_what_is_asked_fits_the_schema(operation: Any) -> None:
    schema = build_schema(Path(ROOT, "local/wandb/schema.graphql").read_text())
    assert validate(schema, parse(operation.document)) == []


def test_the_configuration_that_a_deployment_prints_has_no_fault() -> None:
    assert faults(CONFIG) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"RoleArn": "arn:aws:iam::123456789012:role/other"}, "its RoleArn is arn:aws:iam::123456789012:role/other"),
        ({"RoleArn": "other"}, "which this stack may not pass"),
        ({"OutputDataConfig": {"S3OutputPath": "s3://theirs/output"}}, "may write only to s3://bucket/."),
        ({"OutputDataConfig": {"S3OutputPath": "s3://bucket2/output"}}, "may write only to s3://bucket/."),
        ({"ResourceConfig": {"InstanceType": "ml.m5.large"}}, "InstanceCount"),
        ({"StoppingCondition": None}, "StoppingCondition"),
    ],
)
def test_what_no_run_could_be_launched_with_is_a_fault(change: dict[str, Any], words: str) -> None:
    assert words in faults({**CONFIG, **change})


def test_a_role_may_be_named_without_its_arn() -> None:
    assert faults({**CONFIG, "RoleArn": "wandb-launch-TrainingRole-1"}) == ""


def test_a_role_of_ones_own_writes_where_it_may() -> None:
    assert faults({**CONFIG, "OutputDataConfig": {"S3OutputPath": "s3://theirs/output"}}, bucket="") == ""


def test_a_queue_without_a_configuration_needs_one() -> None:
    assert faults({}) == "it has no configuration yet. Paste the configuration above."


def test_a_queue_of_another_resource_is_a_fault() -> None:
    assert "its resource is kubernetes" in faults({}, resource="kubernetes")


def test_what_a_template_variable_decides_is_not_judged() -> None:
    resources = {"InstanceType": "{{instance}}", "InstanceCount": 1, "VolumeSizeInGB": 30}
    assert faults({**CONFIG, "ResourceConfig": resources, "RoleArn": "{{ role }}"}) == ""
