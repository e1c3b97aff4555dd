"""Whether a stack can launch runs with a queue's configuration in W&B, as far as no request to AWS is needed."""

from typing import Any

import pytest

from launch_agent.clients.service_model import create_training_job_shape
from launch_agent.operations.queue_setup import Instances, instances_of, queue_faults, vpc_of
from launch_agent.operations.setup import Needs, queue_configuration
from launch_agent.plan.agent import Agent
from launch_agent.run_queue.configured_queue import ConfiguredQueue
from launch_agent.run_queue.launch_config import LaunchConfig
from tests.golden.cases import DEPLOYMENT

ROLE = "arn:aws:iam::123456789012:role/wandb-launch-TrainingRole-1"
CONFIG: dict[str, Any] = {
    "RoleArn": ROLE,
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
    "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
}
NEEDS = Needs(
    region="us-east-1", role_arns=(ROLE,), makes_role=True, bucket="bucket", volume_key_arn="", training_in_vpc=False
)
AGENT = Agent(DEPLOYMENT, LaunchConfig(queues=["queue"]), create_training_job_shape())


Variables = dict[str, dict[str, Any]]


def queue(config: dict[str, Any], variables: Variables | None = None) -> ConfiguredQueue:
    return ConfiguredQueue("queue", "sagemaker", config, variables or {})


def faults(config: dict[str, Any], needs: Needs = NEEDS, variables: Variables | None = None) -> str:
    return "\n".join(queue_faults(queue(config, variables), needs, AGENT))


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
        ({"ResourceConfig": ["ml.m5.large"]}, "ResourceConfig"),
        ({"OutputDataConfig": "s3://bucket/output"}, "OutputDataConfig"),
        ({"VpcConfig": [1]}, "VpcConfig"),
        ({"StoppingCondition": None}, "StoppingCondition"),
    ],
)
def test_what_no_run_could_be_launched_with_is_a_fault(change: dict[str, Any], words: str) -> None:
    config = {**CONFIG, **change}
    assert words in faults(config)
    assert vpc_of(queue(config)) == ([], [])


def test_a_role_may_be_named_without_its_arn_and_keys_in_snake_case() -> None:
    assert faults({**CONFIG, "RoleArn": "wandb-launch-TrainingRole-1"}) == ""
    spelt = {key: value for key, value in CONFIG.items() if key != "RoleArn"}
    assert faults({**spelt, "role_arn": ROLE}) == ""
    assert "its RoleArn is x" in faults({**spelt, "role_arn": "x"})


def test_a_role_of_ones_own_writes_where_it_may_and_uses_a_vpc_if_it_may() -> None:
    own = NEEDS.model_copy(update={"makes_role": False})
    vpc = {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert faults({**CONFIG, "OutputDataConfig": {"S3OutputPath": "s3://theirs/output"}, "VpcConfig": vpc}, own) == ""


@pytest.mark.parametrize("named", ["arn:aws:kms:us-east-1:123456789012:key/1-2", "1-2"])
def test_the_key_of_the_stack_may_be_named_by_its_arn_or_its_id(named: str) -> None:
    resources = {**CONFIG["ResourceConfig"], "VolumeKmsKeyId": named}
    keyed = NEEDS.model_copy(update={"volume_key_arn": "arn:aws:kms:us-east-1:123456789012:key/1-2"})
    assert faults({**CONFIG, "ResourceConfig": resources}, keyed) == ""
    assert "which the stack may not use" in faults({**CONFIG, "ResourceConfig": resources})


def test_an_alias_of_a_key_is_not_judged() -> None:
    assert faults({**CONFIG, "ResourceConfig": {**CONFIG["ResourceConfig"], "VolumeKmsKeyId": "alias/any"}}) == ""


def test_what_a_template_variable_decides_is_judged_by_its_default_if_it_has_one() -> None:
    resources = {**CONFIG["ResourceConfig"], "InstanceType": "{{instance}}", "InstanceCount": "{{ count }}"}
    config = {**CONFIG, "ResourceConfig": resources}
    assert faults({**config, "RoleArn": "{{ role }}"}) == ""
    found: Variables = {
        "instance": {"type": "string", "default": "ml.p9"},
        "count": {"type": "integer", "default": 2},
    }
    assert "ml.p9" in faults(config, variables=found)
    right = {**found, "instance": {"type": "string", "default": "ml.p9.large"}}
    assert faults(config, variables=right) == ""
    assert instances_of(queue(config, right)) == [Instances("ml.p9.large for training job usage", 2)]
    assert instances_of(queue(config)) == []


def test_a_new_queue_lets_its_users_choose_instance_type_and_run_time() -> None:
    config, variables = queue_configuration(CONFIG)
    schemas = {name: variable["schema"] for name, variable in variables.items()}
    created = queue(config, schemas)
    assert created.default_config == CONFIG
    assert set(schemas) == {"instance_type", "max_runtime_seconds"}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, [Instances("ml.m5.large for training job usage", 1)]),
        ({"EnableManagedSpotTraining": True}, [Instances("ml.m5.large for spot training job usage", 1)]),
        (
            {"ResourceConfig": {"InstanceGroups": [{"InstanceType": "ml.a.b", "InstanceCount": 2}, 5]}},
            [Instances("ml.a.b for training job usage", 2)],
        ),
        ({"ResourceConfig": {"InstanceType": "ml.a.b", "TrainingPlanArn": "arn"}}, []),
        (
            {"ResourceConfig": {"InstanceType": "ml.a.b", "InstanceCount": "x"}},
            [Instances("ml.a.b for training job usage", 1)],
        ),
        ({"ResourceConfig": None}, []),
    ],
)
def test_a_run_counts_against_the_quotas_of_its_instances(change: dict[str, Any], found: list[Instances]) -> None:
    assert instances_of(queue({**CONFIG, **change})) == found
