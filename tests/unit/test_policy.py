"""`policy`: each rule of launch-config.yaml allows what it names and refuses the rest, wherever that comes from."""

import json
from typing import Any

import pytest
import yaml

from launch_agent.clients.service_model import create_training_job_shape
from launch_agent.errors import InvalidLaunchConfig, InvalidRunSpec
from launch_agent.image.recipe import ArtifactCode
from launch_agent.plan.asked import BY_TYPE
from launch_agent.plan.launch_plan import LaunchPlan, plan_launch
from launch_agent.plan.policy import KNOWN_KEYS
from launch_agent.plan.queue_block import camel_case
from launch_agent.plan.source import Job
from launch_agent.run_queue.items import parse_run_spec
from launch_agent.run_queue.job_artifact import parse_job_artifact
from launch_agent.run_queue.launch_config import parse_launch_config
from launch_agent.run_queue.policy import matches
from tests.golden.cases import item_of, load
from tests.make import agent

ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
QUEUE: dict[str, Any] = load("stopping-condition-empty", "run_spec.json")["resource_args"]["sagemaker"]
RESOURCES = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10}
GROUPS = [{"InstanceType": "ml.m5.large", "InstanceCount": 2, "InstanceGroupName": name} for name in ("a", "b")]
VPC = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}
PRICES = {"ml.m4.xlarge": 0.28, "ml.m5.xlarge": 0.23, "ml.m5.large": 0.115, "ml.p4d.24xlarge": 37.688}
OFFLINE = {"Environment": {"WANDB_MODE": "offline"}}
CODE_JOB = {"artifact": "wandb-artifact://_id/a", "entrypoint": ["python", "train.py"]}
GIT_JOB = {
    "git": {"remote": "https://github.com/team/train", "commit": "a" * 40},
    "entrypoint": ["python", "train.py"],
}


def fs(path: str) -> list[dict[str, Any]]:
    """Input data in a file system."""
    where = {"FileSystemId": "fs-12345678", "FileSystemAccessMode": "ro", "FileSystemType": "EFS"}
    return [{"ChannelName": "train", "DataSource": {"FileSystemDataSource": {**where, "DirectoryPath": path}}}]


def s3(uri: str, kind: str = "S3Prefix") -> list[dict[str, Any]]:
    """Input data in S3."""
    return [{"ChannelName": "train", "DataSource": {"S3DataSource": {"S3DataType": kind, "S3Uri": uri}}}]


def preferring(*types: str) -> dict[str, Any]:
    """Resources of one of these types."""
    return {"InstancePreferences": [{"InstanceType": kind} for kind in types], "InstanceCount": 1, "VolumeSizeInGB": 1}


def choosing(count: int) -> dict[str, Any]:
    """Resources of one type, with the number in the choice."""
    return {"InstancePreferences": [{"InstanceType": "ml.m5.large", "InstanceCount": count}], "VolumeSizeInGB": 1}


def rule_of_images(image: str) -> list[dict[str, Any]]:
    """A debugger rule with an image."""
    return [{"RuleConfigurationName": "a", "RuleEvaluatorImage": image}]


def plan(
    policy: dict[str, Any], *, block: dict[str, Any] | None = None, code: dict[str, Any] | None = None, **spec: Any
) -> LaunchPlan:
    """Plan a run in the queue `sm` under a policy. `code` is the source of its job; without it, it is of an image."""
    config = yaml.safe_dump({"queues": ["sm", "other"], "policy": policy, "builder": {"type": "docker"}})
    source = {"job": "team/jobs/train:v1"} if code else {"docker": {"docker_image": f"{ECR}/approved/train:1"}}
    own = block or {}
    args = {**{key: value for key, value in QUEUE.items() if key not in map(camel_case, own)}, **own}
    raw = {"entity": "team", "project": "train", "resource_args": {"sagemaker": args}}
    kind = "repo" if code and "git" in code else "artifact"
    artifact = parse_job_artifact(kind, {"source_type": kind, "source": code or {}}, artifact_id="j", digest="d")
    job = Job(artifact, ArtifactCode(artifact_id="a", digest="d") if kind == "artifact" else None)
    given = {**raw, **source, **spec}
    priced = agent(config)._replace(prices_of=lambda types: {kind: PRICES[kind] for kind in types & PRICES.keys()})
    return plan_launch(parse_run_spec(given), job if code else None, item_of(given), priced)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = {
    "roles": (
        {"roles": ["arn:aws:iam::*:role/train-*"]},
        {"block": {"RoleArn": "arn:aws:iam::123456789012:role/train-a"}},
        {"block": {"RoleArn": "arn:aws:iam::123456789012:role/admin"}},
        r'RoleArn is "arn:aws:iam::123456789012:role/admin", which is not allowed: policy.roles allows arn:aws:iam::\*',
    ),
    "roles, by a role's name": (
        {"roles": ["*:role/train-*"]},
        {"block": {"role_arn": "train-a"}},
        {"block": {"role_arn": "admin"}},
        "policy.roles",
    ),
    "images": (
        {"images": [f"{ECR}/approved/*"]},
        {},
        {"docker": {"docker_image": f"{ECR}/evil:1"}},
        f'AlgorithmSpecification.TrainingImage is "{ECR}/evil:1", which is not allowed: policy.images allows',
    ),
    "images, in the queue's own spelling": (
        {"images": [f"{ECR}/approved/*"]},
        {"block": {"algorithm_specification": {"TrainingImage": f"{ECR}/approved/b:1"}}},
        {"block": {"algorithm_specification": {"TrainingImage": f"{ECR}/evil:1"}}},
        "policy.images",
    ),
    "images, through a macro": (
        {"images": [f"{ECR}/approved/*"]},
        {"block": {"AlgorithmSpecification": {"TrainingImage": "${image_uri}"}}},
        {"block": {"AlgorithmSpecification": {"TrainingImage": "${run_name}"}}, "name": f"{ECR}/evil:1"},
        "policy.images",
    ),
    "images, of the debugger": (
        {"images": [f"{ECR}/approved/*"]},
        {"block": {"DebugRuleConfigurations": rule_of_images(f"{ECR}/approved/rules:1")}},
        {"block": {"DebugRuleConfigurations": rule_of_images(f"{ECR}/evil:1")}},
        r"DebugRuleConfigurations\[0\].RuleEvaluatorImage",
    ),
    "images, of the profiler": (
        {"images": [f"{ECR}/approved/*"]},
        {"block": {"ProfilerRuleConfigurations": rule_of_images(f"{ECR}/approved/rules:1")}},
        {"block": {"profiler_rule_configurations": rule_of_images(f"{ECR}/evil:1")}},
        r"ProfilerRuleConfigurations\[0\].RuleEvaluatorImage",
    ),
    "images, built from code": ({"images": []}, {"code": CODE_JOB}, {}, "policy.images allows none"),
    "algorithms": (
        {"algorithms": ["approved-*"]},
        {"block": {"AlgorithmSpecification": {"AlgorithmName": "approved-1"}}},
        {"block": {"AlgorithmSpecification": {"AlgorithmName": "evil"}}},
        "AlgorithmSpecification.AlgorithmName .* policy.algorithms",
    ),
    "base images, of the job": (
        {"base_images": ["approved/*"]},
        {"code": {**CODE_JOB, "base_image": "approved/base:1"}},
        {"code": {**CODE_JOB, "base_image": "evil:1"}},
        'The base image, of the job or of builder.base_image, is "evil:1", which is not allowed',
    ),
    "base images, of the queue": (
        {"base_images": ["approved/*"]},
        {"code": CODE_JOB, "block": {"builder": {"accelerator": {"base_image": "approved/cuda"}}}},
        {"code": CODE_JOB, "block": {"builder": {"cuda": {"base_image": "nvidia/cuda"}}}},
        "builder.accelerator.base_image .* policy.base_images",
    ),
    "platforms": (
        {"platforms": ["linux/amd64"]},
        {"code": CODE_JOB},
        {"code": CODE_JOB, "block": {"builder": {"platform": "linux/arm64"}}},
        "policy.platforms",
    ),
    "instance types": (
        {"instance_types": ["ml.m5.*", "ml.g5.xlarge"]},
        {"block": {"ResourceConfig": RESOURCES}},
        {"block": {"ResourceConfig": {**RESOURCES, "InstanceType": "ml.p4d.24xlarge"}}},
        r'ResourceConfig.InstanceType is "ml.p4d.24xlarge", which is not allowed: policy.instance_types allows '
        r"ml.m5.\*, ml.g5.xlarge\.",
    ),
    "instance types, in groups": (
        {"instance_types": ["ml.m5.large"]},
        {"block": {"resource_config": {"InstanceGroups": GROUPS, "VolumeSizeInGB": 1}}},
        {
            "block": {
                "ResourceConfig": {
                    "InstanceGroups": [GROUPS[0], {**GROUPS[1], "InstanceType": "ml.p4d.24xlarge"}],
                    "VolumeSizeInGB": 1,
                }
            }
        },
        r"ResourceConfig.InstanceGroups\[1\].InstanceType",
    ),
    "instance types, of debugger rules": (
        {"instance_types": ["ml.m5.*"]},
        {"block": {"DebugRuleConfigurations": [{**rule_of_images(ECR)[0], "InstanceType": "ml.m5.large"}]}},
        {"block": {"DebugRuleConfigurations": [{**rule_of_images(ECR)[0], "InstanceType": "ml.p3.2xlarge"}]}},
        r"DebugRuleConfigurations\[0\].InstanceType",
    ),
    "instance types, of profiler rules": (
        {"instance_types": ["ml.m5.*"]},
        {"block": {"ProfilerRuleConfigurations": [{**rule_of_images(ECR)[0], "InstanceType": "ml.m5.large"}]}},
        {"block": {"ProfilerRuleConfigurations": [{**rule_of_images(ECR)[0], "InstanceType": "ml.p3.2xlarge"}]}},
        r"ProfilerRuleConfigurations\[0\].InstanceType",
    ),
    "instance types, of which one is preferred": (
        {"instance_types": ["ml.m5.*"]},
        {"block": {"ResourceConfig": preferring("ml.m5.large", "ml.m5.xlarge")}},
        {"block": {"ResourceConfig": preferring("ml.m5.large", "ml.p4d.24xlarge")}},
        r"ResourceConfig.InstancePreferences\[1\].InstanceType",
    ),
    "instances": (
        {"max_instances": 4},
        {"block": {"ResourceConfig": {**RESOURCES, "InstanceCount": 4}}},
        {"block": {"ResourceConfig": {**RESOURCES, "InstanceCount": 5}}},
        "ResourceConfig.InstanceCount is 5, which is not allowed: policy.max_instances allows 4",
    ),
    "instances, in groups": (
        {"max_instances": 4},
        {"block": {"ResourceConfig": {"InstanceGroups": GROUPS, "VolumeSizeInGB": 1}}},
        {"block": {"ResourceConfig": {"InstanceGroups": [*GROUPS, {**GROUPS[0], "InstanceGroupName": "c"}]}}},
        "The sum of ResourceConfig.InstanceGroups is 6",
    ),
    "instances, of a choice": (
        {"max_instances": 4},
        {"block": {"ResourceConfig": choosing(4)}},
        {"block": {"ResourceConfig": choosing(5)}},
        r"ResourceConfig.InstancePreferences\[0\] is 5",
    ),
    "runtime": (
        {"max_runtime_seconds": 3_600},
        {"block": {"StoppingCondition": {"MaxRuntimeInSeconds": 3_600}}},
        {"block": {"StoppingCondition": {"MaxRuntimeInSeconds": 3_601}}},
        "StoppingCondition.MaxRuntimeInSeconds is 3601",
    ),
    "runtime, which SageMaker would set": (
        {"max_runtime_seconds": 86_399},
        {"block": {"StoppingCondition": {"MaxRuntimeInSeconds": 1}}},
        {"block": {"StoppingCondition": {}}},
        "StoppingCondition.MaxRuntimeInSeconds is 86400",
    ),
    "wait": (
        {"max_wait_seconds": 100},
        {"block": {"StoppingCondition": {"MaxRuntimeInSeconds": 100}}},
        {
            "block": {
                "EnableManagedSpotTraining": True,
                "StoppingCondition": {"MaxRuntimeInSeconds": 100, "MaxWaitTimeInSeconds": 101},
            }
        },
        "StoppingCondition.MaxWaitTimeInSeconds is 101",
    ),
    "warm pools": (
        {"max_keep_alive_seconds": 0},
        {},
        {"block": {"ResourceConfig": {**RESOURCES, "KeepAlivePeriodInSeconds": 60}}},
        "policy.max_keep_alive_seconds allows 0",
    ),
    "volume": (
        {"max_volume_gb": 100},
        {"block": {"ResourceConfig": RESOURCES}},
        {"block": {"ResourceConfig": {**RESOURCES, "VolumeSizeInGB": 101}}},
        "ResourceConfig.VolumeSizeInGB is 101",
    ),
    "volume, of debugger rules": (
        {"max_volume_gb": 100},
        {},
        {"block": {"DebugRuleConfigurations": [{**rule_of_images(ECR)[0], "VolumeSizeInGB": 101}]}},
        r"DebugRuleConfigurations\[0\].VolumeSizeInGB",
    ),
    "volume, of profiler rules": (
        {"max_volume_gb": 100},
        {},
        {"block": {"ProfilerRuleConfigurations": [{**rule_of_images(ECR)[0], "VolumeSizeInGB": 101}]}},
        r"ProfilerRuleConfigurations\[0\].VolumeSizeInGB",
    ),
    "price of an hour": (
        {"max_usd_per_hour": 0.46},
        {"block": {"ResourceConfig": {**RESOURCES, "InstanceCount": 4}}},
        {"block": {"resource_config": {**RESOURCES, "InstanceCount": 5}}},
        "The instances cost 0.575 US dollars an hour, which is not allowed: policy.max_usd_per_hour allows 0.46 US",
    ),
    "price of an hour, in groups": (
        {"max_usd_per_hour": 0.5},
        {"block": {"ResourceConfig": {"InstanceGroups": GROUPS, "VolumeSizeInGB": 1}}},
        {"block": {"ResourceConfig": {"InstanceGroups": [*GROUPS, {**GROUPS[0], "InstanceGroupName": "c"}]}}},
        "cost 0.69 US dollars",
    ),
    "price of an hour, of the dearest choice": (
        {"max_usd_per_hour": 1},
        {"block": {"ResourceConfig": preferring("ml.m5.large", "ml.m4.xlarge")}},
        {"block": {"ResourceConfig": preferring("ml.m5.large", "ml.p4d.24xlarge")}},
        "cost 37.688 US dollars",
    ),
    "price of an hour, of several of a choice": (
        {"max_usd_per_hour": 0.3},
        {"block": {"ResourceConfig": {**preferring("ml.m5.large"), "InstanceCount": 2}}},
        {"block": {"ResourceConfig": {**preferring("ml.m5.large"), "InstanceCount": 3}}},
        "cost 0.345 US dollars",
    ),
    "price of an hour, with debugger rules": (
        {"max_usd_per_hour": 1},
        {"block": {"DebugRuleConfigurations": [{**rule_of_images(ECR)[0], "InstanceType": "ml.m5.large"}]}},
        {"block": {"debug_rule_configurations": [{**rule_of_images(ECR)[0], "InstanceType": "ml.p4d.24xlarge"}]}},
        "policy.max_usd_per_hour",
    ),
    "price of an hour, with profiler rules": (
        {"max_usd_per_hour": 1},
        {"block": {"ProfilerRuleConfigurations": [{**rule_of_images(ECR)[0], "InstanceType": "ml.m5.large"}]}},
        {"block": {"ProfilerRuleConfigurations": [{**rule_of_images(ECR)[0], "InstanceType": "ml.p4d.24xlarge"}]}},
        "policy.max_usd_per_hour",
    ),
    "price of an hour, through a macro": (
        {"max_usd_per_hour": 1},
        {"block": {"ResourceConfig": {**RESOURCES, "InstanceType": "${run_name}"}}, "name": "ml.m5.large"},
        {"block": {"ResourceConfig": {**RESOURCES, "InstanceType": "${run_name}"}}, "name": "ml.p4d.24xlarge"},
        "policy.max_usd_per_hour",
    ),
    "price of an hour, which is not known": (
        {"max_usd_per_hour": 1_000},
        {"block": {"ResourceConfig": RESOURCES}},
        {"block": {"ResourceConfig": {**RESOURCES, "InstanceType": "ml.g5.xlarge"}}},
        "The price of ml.g5.xlarge is not known, which is not allowed: policy.max_usd_per_hour needs it. Choose",
    ),
    "price of a run": (
        {"max_usd_per_run": 0.23},
        {
            "block": {
                "ResourceConfig": RESOURCES,
                "RetryStrategy": {"MaximumRetryAttempts": 30},
                "StoppingCondition": {"MaxRuntimeInSeconds": 7_200},
            }
        },
        {"block": {"ResourceConfig": RESOURCES, "stopping_condition": {"MaxRuntimeInSeconds": 7_236}}},
        "The run can cost 0.231. US dollars, for 0.115 US dollars an hour and 2.01 hours, which is not allowed: "
        "policy.max_usd_per_run allows 0.23 US dollars",
    ),
    "price of a run, whose runtime SageMaker would set": (
        {"max_usd_per_run": 1},
        {"block": {"ResourceConfig": RESOURCES, "StoppingCondition": {"MaxRuntimeInSeconds": 3_600}}},
        {"block": {"ResourceConfig": RESOURCES, "StoppingCondition": {}}},
        "The run can cost 2.76 US dollars, for 0.115 US dollars an hour and 24 hours",
    ),
    "price of a run, whose instances are kept alive": (
        {"max_usd_per_run": 0.12},
        {"block": {"ResourceConfig": RESOURCES, "StoppingCondition": {"MaxRuntimeInSeconds": 3_600}}},
        {
            "block": {
                "ResourceConfig": {**RESOURCES, "KeepAlivePeriodInSeconds": 3_600},
                "StoppingCondition": {"MaxRuntimeInSeconds": 3_600},
            }
        },
        "and 2 hours",
    ),
    "price of a run, in a queue": (
        {"max_usd_per_run": 100, "queues": {"sm": {"max_usd_per_run": 1}, "other": {"max_usd_per_run": 0}}},
        {"block": {"ResourceConfig": RESOURCES, "StoppingCondition": {"MaxRuntimeInSeconds": 3_600}}},
        {"block": {"ResourceConfig": RESOURCES, "StoppingCondition": {}}},
        "policy.queues.sm.max_usd_per_run",
    ),
    "inputs": (
        {"inputs": ["s3://data/team/*"]},
        {"block": {"InputDataConfig": s3("s3://data/team/a")}},
        {"block": {"InputDataConfig": s3("s3://data/team-of-others/a")}},
        r"InputDataConfig\[0\].DataSource.S3DataSource.S3Uri",
    ),
    "inputs, as a prefix of more": (
        {"inputs": ["s3://data/team/*"]},
        {"block": {"InputDataConfig": s3("s3://data/team/")}},
        {"block": {"InputDataConfig": s3("s3://data/team")}},
        "policy.inputs",
    ),
    "inputs, by https": (
        {"inputs": ["s3://data/*"]},
        {},
        {"block": {"InputDataConfig": s3("https://s3.amazonaws.com/others/a")}},
        "policy.inputs",
    ),
    "inputs, through a macro": (
        {"inputs": ["s3://data/team/*"]},
        {"block": {"InputDataConfig": s3("s3://data/${entity_name}/a")}},
        {"block": {"InputDataConfig": s3("s3://data/${run_name}/a")}, "name": "others"},
        "policy.inputs",
    ),
    "inputs, in a manifest": (
        {"inputs": ["s3://data/*"]},
        {},
        {"block": {"InputDataConfig": s3("s3://data/manifest", "ManifestFile")}},
        "is ManifestFile, which can name any objects",
    ),
    "inputs, in an augmented manifest": (
        {"inputs": ["s3://data/*"]},
        {},
        {"block": {"InputDataConfig": s3("s3://data/manifest", "AugmentedManifestFile")}},
        "is AugmentedManifestFile, which can name any objects",
    ),
    "inputs, in a file system": (
        {"inputs": ["fs-12345678/data/*"]},
        {"block": {"InputDataConfig": fs("/data/a"), "VpcConfig": VPC}},
        {"block": {"InputDataConfig": fs("/others"), "VpcConfig": VPC}},
        r"InputDataConfig\[0\].DataSource.FileSystemDataSource",
    ),
    "inputs, that are code": (
        {"inputs": ["s3://data/*"]},
        {"block": {"HyperParameters": {"sagemaker_submit_directory": '"s3://data/code.tar.gz"'}}},
        {"block": {"HyperParameters": {"sagemaker_submit_directory": '"s3://evil/code.tar.gz"'}}},
        "HyperParameters.sagemaker_submit_directory",
    ),
    "inputs, that are code in a variable": (
        {"inputs": ["s3://data/*"]},
        {"block": {"Environment": {"SAGEMAKER_SUBMIT_DIRECTORY": "s3://data/code.tar.gz"}}},
        {"block": {"Environment": {"SAGEMAKER_SUBMIT_DIRECTORY": "s3://evil/code.tar.gz"}}},
        "Environment.SAGEMAKER_SUBMIT_DIRECTORY",
    ),
    "outputs": (
        {"outputs": ["s3://results/*"]},
        {"block": {"OutputDataConfig": {"S3OutputPath": "s3://results/a"}}},
        {"block": {"OutputDataConfig": {"S3OutputPath": "s3://others/a"}}},
        "OutputDataConfig.S3OutputPath",
    ),
    "outputs, of TensorBoard": (
        {"outputs": ["s3://results/*", QUEUE["OutputDataConfig"]["S3OutputPath"]]},
        {"block": {"TensorBoardOutputConfig": {"S3OutputPath": "s3://results/a"}}},
        {"block": {"TensorBoardOutputConfig": {"S3OutputPath": "s3://others/a"}}},
        "TensorBoardOutputConfig.S3OutputPath",
    ),
    "outputs, of the debugger": (
        {"outputs": [QUEUE["OutputDataConfig"]["S3OutputPath"]]},
        {},
        {"block": {"DebugHookConfig": {"S3OutputPath": "s3://others/a"}}},
        "DebugHookConfig.S3OutputPath",
    ),
    "outputs, of the profiler": (
        {"outputs": [QUEUE["OutputDataConfig"]["S3OutputPath"]]},
        {},
        {"block": {"ProfilerConfig": {"S3OutputPath": "s3://others/a"}}},
        "ProfilerConfig.S3OutputPath",
    ),
    "checkpoints": (
        {"checkpoints": ["s3://results/*"]},
        {"block": {"CheckpointConfig": {"S3Uri": "s3://results/${run_id}"}}},
        {"block": {"checkpoint_config": {"S3Uri": "s3://others/a"}}},
        "CheckpointConfig.S3Uri",
    ),
    "subnets": (
        {"subnets": ["subnet-1"], "security_groups": ["sg-1"]},
        {"block": {"VpcConfig": VPC}},
        {"block": {"VpcConfig": {**VPC, "Subnets": ["subnet-1", "subnet-2"]}}},
        r"VpcConfig.Subnets\[1\]",
    ),
    "security groups": (
        {"security_groups": ["sg-1"]},
        {"block": {"VpcConfig": VPC}},
        {"block": {"VpcConfig": {**VPC, "SecurityGroupIds": ["sg-2"]}}},
        r"VpcConfig.SecurityGroupIds\[0\]",
    ),
    "a VPC, by null": (
        {"require_vpc": True},
        {"block": {"VpcConfig": VPC}},
        {"block": {"vpc_config": None}},
        "is missing",
    ),
    "a VPC": ({"require_vpc": True}, {"block": {"VpcConfig": VPC}}, {}, "VpcConfig is missing"),
    "network isolation": (
        {"require_network_isolation": True},
        {"block": {"EnableNetworkIsolation": True, **OFFLINE}},
        {"block": {"EnableNetworkIsolation": False}},
        "EnableNetworkIsolation is not true",
    ),
    "network isolation, which is missing": (
        {"require_network_isolation": True},
        {"block": {"EnableNetworkIsolation": True, **OFFLINE}},
        {},
        "EnableNetworkIsolation is not true",
    ),
    "tags": (
        {"tags": {"cost-center": "4*"}},
        {"block": {"Tags": [{"Key": "cost-center", "Value": "42"}]}},
        {"block": {"Tags": [{"Key": "cost-center", "Value": "52"}]}},
        'The tag "cost-center" is "52", which is not allowed: policy.tags allows 4',
    ),
    "tags, of which one is missing": (
        {"tags": {"cost-center": "*"}},
        {"block": {"Tags": [{"Key": "cost-center", "Value": "42"}]}},
        {"block": {"Tags": []}},
        'Tags has no "cost-center"',
    ),
    "tags, from a macro without a value": (
        {"tags": {"cost-center": "*"}},
        {"block": {"Tags": [{"Key": "cost-center", "Value": "${run_name}"}]}, "name": "42"},
        {"block": {"Tags": [{"Key": "cost-center", "Value": "${run_name}"}]}},
        'Tags has no "cost-center"',
    ),
    "environment": (
        {"environment": ["LOG_*"]},
        {"block": {"Environment": {"LOG_LEVEL": "debug"}}},
        {"block": {"Environment": {"LOG_LEVEL": "debug", "LD_PRELOAD": "evil.so"}}},
        'A variable of Environment is "LD_PRELOAD", which is not allowed',
    ),
    "entry points": (
        {"entry_points": ["python train.py"]},
        {"overrides": {"entry_point": ["python", "train.py"]}},
        {"overrides": {"entry_point": ["python train.py"]}},
        "AlgorithmSpecification.ContainerEntrypoint is not allowed",
    ),
    "entry points, in the configuration": (
        {"entry_points": []},
        {},
        {"block": {"algorithm_specification": {"ContainerEntrypoint": ["sh", "-c", "id"]}}},
        "policy.entry_points allows none",
    ),
    "arguments": (
        {"arguments": ["--lr=*"]},
        {"overrides": {"args": ["--lr=0.1"]}},
        {"overrides": {"args": ["--lr=0.1", "--token=secret"]}},
        r"AlgorithmSpecification.ContainerArguments\[1\] is not allowed",
    ),
    "arguments, in the configuration": (
        {"arguments": []},
        {},
        {"block": {"algorithm_specification": {"ContainerArguments": ["--token=secret"]}}},
        "policy.arguments allows none",
    ),
    "job names": (
        {"job_names": ["team-*"]},
        {"block": {"TrainingJobName": "team-${run_id}"}},
        {"block": {"training_job_name": "others-${run_id}"}},
        "TrainingJobName",
    ),
    "remote debugging": (
        {"allow_remote_debug": False},
        {"block": {"RemoteDebugConfig": {"EnableRemoteDebug": False}}},
        {"block": {"remote_debug_config": {"EnableRemoteDebug": True}}},
        "RemoteDebugConfig.EnableRemoteDebug is not allowed",
    ),
    "Dockerfiles": (
        {"allow_dockerfile_override": False},
        {"code": CODE_JOB},
        {"code": CODE_JOB, "overrides": {"dockerfile": "Dockerfile.evil"}},
        "overrides.dockerfile is not allowed",
    ),
    "git remotes": (
        {"git_remotes": ["https://github.com/team/*"]},
        {"code": GIT_JOB},
        {"code": {**GIT_JOB, "git": {"remote": "https://github.com/others/train"}}},
        'The job\'s git remote is "https://github.com/others/train"',
    ),
    "git remotes, aside": (
        {"git_remotes": ["https://github.com/team/*"]},
        {"code": GIT_JOB},
        {"code": {**GIT_JOB, "git": {"remote": "https://github.com/team/../others/train"}}},
        "/../ is not allowed",
    ),
    "git remotes, of large files": (
        {"git_remotes": ["https://github.com/team/*"]},
        {"code": GIT_JOB},
        {"code": GIT_JOB, "block": {"builder": {"git_lfs": True}}},
        "builder.git_lfs can fetch from any server",
    ),
    "git remotes, of submodules": (
        {"git_remotes": ["https://github.com/team/*"]},
        {"code": GIT_JOB},
        {"code": GIT_JOB, "block": {"builder": {"git_submodules": True}}},
        "builder.git_submodules can fetch from any server",
    ),
    "jobs": (
        {"jobs": ["team/jobs/*"]},
        {"code": CODE_JOB},
        {"code": CODE_JOB, "docker": {"docker_image": f"{ECR}/a:1"}},
        "The run is of an image, and runs without a job are not allowed. Queue a run of a job that is allowed: "
        r"policy.jobs allows team/jobs/\*",
    ),
    "jobs, with an empty one": (
        {"jobs": ["team/jobs/*"]},
        {"code": CODE_JOB},
        {"job": ""},
        "The run is of an image, and runs without a job are not allowed",
    ),
    "arguments, with an empty one": (
        {"arguments": ["--lr=*"]},
        {"overrides": {"args": ["--lr=0.1"]}},
        {"overrides": {"args": [""]}},
        r"AlgorithmSpecification.ContainerArguments\[0\] is empty, which is not allowed. Write a value that is allowed",
    ),
    "jobs, of others": (
        {"jobs": ["team/jobs/*"]},
        {"code": CODE_JOB},
        {"code": CODE_JOB, "job": "others/jobs/train:v1"},
        'The run\'s job is "others/jobs/train:v1"',
    ),
    "projects": (
        {"projects": ["team/train*"]},
        {"project": "train-2"},
        {"project": "others"},
        'The run\'s project is "team/others"',
    ),
    "keys without a rule": (
        {"max_instances": 9, "other_keys": ["MlflowConfig"]},
        {"block": {"MlflowConfig": {"MlflowResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:mlflow-app/a"}}},
        {"block": {"SessionChainingConfig": {"EnableSessionTagChaining": True}}},
        "SessionChainingConfig is not allowed: policy has no rule about it. To allow it, add it to policy.other_keys",
    ),
    "a queue's own rules": (
        {"queues": {"sm": {"max_instances": 1}, "other": {"max_instances": 0}}},
        {"block": {"ResourceConfig": RESOURCES}},
        {"block": {"ResourceConfig": {**RESOURCES, "InstanceCount": 2}}},
        "policy.queues.sm.max_instances allows 1",
    ),
    "the rules of all and the queue's own": (
        {"max_volume_gb": 10, "queues": {"sm": {"max_volume_gb": 100}}},
        {"block": {"ResourceConfig": RESOURCES}},
        {"block": {"ResourceConfig": {**RESOURCES, "VolumeSizeInGB": 50}}},
        "policy.max_volume_gb allows 10",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_rule_allows_what_it_names_and_refuses_the_rest(name: str) -> None:
    policy, allowed, refused, words = CASES[name]
    assert plan(policy, **allowed)
    assert plan({}, **refused)
    with pytest.raises(InvalidRunSpec, match=words) as said:
        plan(policy, **refused)
    assert "secret" not in str(said.value)
    assert 'queue "sm"' in str(said.value)
    assert str(said.value).endswith(
        "The people who deploy the stack launch can change these rules, in launch-config.yaml."
    )


@pytest.mark.parametrize("aside", ["..", ".", "%2e%2e", "%2E%2E", "..%2Fteam%2f.."])
def test_a_git_remote_does_not_lead_aside(aside: str) -> None:
    remote = f"https://github.com/team/{aside}/others/train"
    with pytest.raises(InvalidRunSpec, match=r"with policy.git_remotes, /../ is not allowed"):
        plan({"git_remotes": ["https://github.com/team/*"]}, code={**GIT_JOB, "git": {"remote": remote}})


def test_without_a_policy_everything_is_allowed() -> None:
    assert plan({}, block={"SessionChainingConfig": {"EnableSessionTagChaining": True}})
    assert plan({"queues": {"other": {"max_instances": 0}}})


def test_a_pattern_matches_a_whole_value_and_only_its_stars_are_special() -> None:
    assert matches(["ml.m5.*"], "ml.m5.large")
    assert not matches(["ml.m5.*"], "ml-m5.large")
    assert not matches(["ml.m5.large"], "ml.m5.large\nml.p4d.24xlarge")
    assert matches(["a*b*c"], "aXbYc")
    assert not matches(["a*c"], "aXb")
    assert not matches(["a*b*c"], "aXcYb")
    assert not matches(["ab*ba"], "aba")
    assert not matches([], "")


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"role": ["a"]}, "policy.role is not a known key"),
        ({"roles": "a"}, "policy.roles"),
        ({"max_instances": -1}, "policy.max_instances is -1"),
        ({"max_usd_per_hour": -1}, "policy.max_usd_per_hour is -1"),
        ({"max_usd_per_run": float("nan")}, "policy.max_usd_per_run"),
        ({"max_usd_per_run": "10 EUR"}, "policy.max_usd_per_run"),
        ({"queues": {"train": {"roles": []}}}, "the queue train is not in queues"),
        ({"queues": {"sm": {"queues": {}}}}, "policy.queues.sm.queues is not a known key"),
    ],
    ids=json.dumps,
)
def test_a_policy_with_a_fault_is_refused(policy: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidLaunchConfig, match=words):
        parse_launch_config(yaml.safe_dump({"queues": ["sm"], "policy": policy}))


REACHES_NOTHING = {
    "TrainingJobName",
    "KmsKeyId",  # encrypts; the key's own policy decides who may use it
    "TrainingPlanArn",  # a reservation of the account's own
    "TrainingRepositoryCredentialsProviderArn",  # gives access to the registry of an image that `images` judges
    "FileSystemId",  # with its DirectoryPath, as one address
    "ExperimentEntityName",
    "InstanceGroupName",
    "String256",  # the id of a reserved server
}


def test_every_type_that_names_something_outside_the_job_has_a_rule() -> None:
    types = set(types_of(create_training_job_shape(), ""))
    named = {
        kind for kind in types if kind.endswith(("Arn", "ArnOrName", "Image", "InstanceType", "Uri", "Id", "Name"))
    }
    harmless = {"ChannelName", "MetricName", "AttributeName", "CollectionName", "RuleConfigurationName"}
    assert named - BY_TYPE.keys() - REACHES_NOTHING - harmless - {"S3Uri"} == set()


def types_of(shape: Any, path: str) -> list[str]:
    """The types of all texts in SageMaker's request, below the keys that a policy knows."""
    if shape.type_name == "structure":
        known = {key for key in shape.members if path or key in KNOWN_KEYS}
        return [kind for key in known for kind in types_of(shape.members[key], key)]
    if shape.type_name == "list":
        return types_of(shape.member, path)
    return [shape.name] if shape.type_name == "string" else []
