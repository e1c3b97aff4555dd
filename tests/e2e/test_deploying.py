"""Deployments as operators make them: at a terminal, upgraded, logged, destroyed, deployed again, and side by side."""

import io
import json
import os
import re
import threading
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import urllib3
from rich.console import Console

from local import ACCOUNT_ID
from local.demo.git_server import make_certificate
from local.stack import ROOT, Deployed, LocalCloud, WandbLogin, deploy, embedded_cloud, layer_variables
from local.wandb import WandbServer
from operate.stack_file import path_of
from tests.documents import template
from tests.e2e.conftest import wait_for
from tests.e2e.workshop import TRAINS, Workshop
from tests.terminal import Terminal

ENTITY = "team"
API_KEY = f"{uuid.uuid4().hex}{uuid.uuid4().hex[:8]}"
NOTHING_TO_INSTALL = ("-o", ".venv/.installed", "-o", ".venvs/sam/.installed")
"""The tests' own environments exist already: make must not check their locks."""


class Operator(NamedTuple):
    """An operator with a checkout, an account's credentials, and a stack."""

    cloud: LocalCloud
    stack: str
    launch_config: Path

    def types(self, *command: str) -> Terminal:
        """Type a make command."""
        host = {
            **layer_variables(),
            "SAM_CLI_POLL_DELAY": "0.5",
        }
        known = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        make = ["make", *NOTHING_TO_INSTALL, *command, f"STACK={self.stack}"]
        return Terminal(make, ROOT, {**known, **host, **self.cloud.environment})

    def sees(self, *command: str, within: float = 240, exit_code: int = 0) -> str:
        """Type a command that asks nothing; return its output."""
        terminal = self.types(*command)
        assert terminal.ended(within=within) == exit_code, terminal.shown
        return terminal.shown


@contextmanager
def never_in_a_command_line(secret: str) -> Iterator[None]:
    """Check the command lines of all processes on this machine until the block ends: none may contain the secret."""
    seen: list[str] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if secret in command:
                    seen.append(command)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert seen == []


@pytest.fixture
def server() -> Iterator[tuple[WandbServer, str]]:
    server = WandbServer(entity=ENTITY, api_key=API_KEY)
    server.create_queue("sagemaker", config={})
    with server.running() as url:
        yield server, url


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    with embedded_cloud(tmp_path, speed=60.0) as cloud:
        yield cloud


@pytest.fixture
def operator(cloud: LocalCloud) -> Iterator[Operator]:
    launch_config = cloud.folder / "launch-config.yaml"
    launch_config.write_text(json.dumps({"entity": ENTITY, "queues": ["sagemaker"]}))
    operator = Operator(cloud, f"typed-{uuid.uuid4().hex[:6]}", launch_config)
    yield operator
    path_of(operator.stack).unlink(missing_ok=True)


def queued(server: WandbServer, cloud: LocalCloud, queue: str, run_id: str) -> str:
    """Queue a run that ends immediately; return its item's id."""
    image = cloud.put_image("tests:true", {"entrypoint": ["true"], "env": {"PATH": "/usr/bin:/bin"}})
    offline = {"sagemaker": {"Environment": {"WANDB_MODE": "offline"}}}
    spec = {"entity": ENTITY, "project": "p", "run_id": run_id, "docker": {"docker_image": image}}
    return server.push(queue, {**spec, "resource": "sagemaker", "resource_args": offline})


def verdict(cloud: LocalCloud, table: str, item_id: str) -> str:
    """Wait until a stack's table has a run's outcome; return its verdict."""
    dynamodb = cloud.client("dynamodb")

    def look() -> dict[str, Any] | None:
        found = dynamodb.get_item(TableName=table, Key={"pk": {"S": f"run#{item_id}"}}, ConsistentRead=True)
        outcome = found.get("Item", {}).get("outcome")
        return dict(outcome["M"]) if outcome else None

    return str(wait_for(look, within=90)["verdict"]["S"])


def outputs(cloud: LocalCloud, stack: str) -> dict[str, str]:
    (found,) = cloud.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return {each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]}


def printed_configuration(shown: str) -> dict[str, Any]:
    """The queue's configuration, copied from the terminal."""
    copied = re.search(r"into run queue sagemaker:\n+(\{.*?\n\})\n", shown, re.DOTALL)
    assert copied
    return dict(json.loads(copied[1]))


def answers_the_first_time(operator: Operator, url: str) -> str:
    """Deploy as a new user who mistypes an address and pastes a wrong key; return the output."""
    terminal = operator.types("deploy", f"CONFIG={operator.launch_config}")
    terminal.answer("WandbBaseUrl [https://api.wandb.ai]:", url)
    terminal.answer("AlarmEmail:", "me@")
    terminal.answer("Enter an e-mail address, or leave it empty.\n  AlarmEmail:", "")
    terminal.answer("WandbApiKeySecretArn:", "")
    terminal.answer(f"Deploy {operator.stack} now? [Y/n]", "")
    terminal.answer("W&B API key (hidden):", "wrong" * 8)
    terminal.answer("rejects this key. Enter another one.\n  W&B API key (hidden):", API_KEY)
    assert terminal.ended(within=240) == 0, terminal.shown
    return terminal.shown


def bucket_of_sam(cloud: LocalCloud) -> str:
    buckets = cloud.client("s3").list_buckets()["Buckets"]
    return next(str(each["Name"]) for each in buckets if "samclisourcebucket" in each["Name"])


def uploaded(cloud: LocalCloud) -> set[str]:
    """Return the keys of what SAM has uploaded for all stacks."""
    pages = cloud.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket_of_sam(cloud))
    return {each["Key"] for page in pages for each in page.get("Contents", [])}


def test_a_new_user_deploys_upgrades_and_removes_a_stack_at_a_terminal(
    operator: Operator, server: tuple[WandbServer, str]
) -> None:
    wandb, url = server
    cloud, tracked = operator.cloud, (ROOT / "samconfig.toml").read_bytes()
    with never_in_a_command_line(API_KEY):
        shown = answers_the_first_time(operator, url)
    assert API_KEY not in shown
    assert "W&B accepts the key" in shown
    assert API_KEY not in path_of(operator.stack).read_text()
    assert (ROOT / "samconfig.toml").read_bytes() == tracked
    stack = outputs(cloud, operator.stack)
    assert printed_configuration(shown) == json.loads(stack["QueueConfiguration"])
    assert "configuration of run queue sagemaker: it has no configuration yet." in " ".join(shown.split())
    assert "The run queues were polled; W&B shows the launch agent as POLLING." in " ".join(shown.split())

    # Paste the configuration, launch a run, and replace the key by hand.
    wandb.create_queue("sagemaker", config=printed_configuration(shown))
    assert verdict(cloud, stack["RunsTable"], queued(wandb, cloud, "sagemaker", "run-with-hyphens")) == "finished"
    secrets, secret = cloud.client("secretsmanager"), f"{operator.stack}/wandb-api-key"
    renewed = json.dumps({"WANDB_API_KEY": API_KEY})
    secrets.put_secret_value(SecretId=secret, SecretString=renewed)

    # An upgrade on another machine asks nothing, reads the answers from the stack, and keeps the key.
    path_of(operator.stack).unlink()
    again = operator.sees("deploy", f"CONFIG={operator.launch_config}")
    assert f"WandbBaseUrl: {url}" in path_of(operator.stack).read_text()
    assert "W&B API key" not in again
    assert "[Y/n]" not in again
    assert "run queue sagemaker: its configuration in W&B works with this stack." in again
    assert "Paste it" not in again
    assert secrets.get_secret_value(SecretId=secret)["SecretString"] == renewed

    # The log lines are found, although the operator does not know the log group's name.
    people = operator.sees("logs", "RUN=run-with-hyphens")
    assert re.search(r"^\d\d:\d\d:\d\d  INFO +PlanRun +run planned ", people, re.MULTILINE)
    assert "ReportOutcome" in people
    raw = operator.sees("logs", "RUN=run-with-hyphens", "ARGS=--raw").splitlines()
    assert len(raw) == len(people.splitlines())
    assert {json.loads(line)["message"] for line in raw} >= {"run planned", "run closed"}
    unknown = operator.sees("logs", "RUN=run-with", exit_code=2)
    assert f"The stack {operator.stack} has logged nothing about a run run-with since" in unknown

    # Destroy the stack and deploy it again under its name, while the schedules run: the same answers, the same key.
    # Another stack may have uploaded the same files.
    of_another = next(iter(uploaded(cloud))).rpartition("/")[2]
    cloud.client("s3").put_object(Bucket=bucket_of_sam(cloud), Key=of_another, Body=b"")
    terminal = operator.types("destroy")
    terminal.answer(f"Delete the stack {operator.stack} of account 000000000000, region us-east-1? [y/N]", "y")
    terminal.answer(f"Delete the secret {secret} with the W&B API key too? [y/N]", "", within=240)
    assert terminal.ended(within=60) == 0, terminal.shown
    assert stack["RunsTable"] in terminal.shown
    assert uploaded(cloud) == {of_another}
    shown = operator.sees("deploy")
    assert "W&B API key (hidden)" not in shown
    assert "of run queue sagemaker: its S3OutputPath is" in " ".join(shown.split())
    wandb.create_queue("sagemaker", config=printed_configuration(shown))
    table = outputs(cloud, operator.stack)["RunsTable"]
    assert verdict(cloud, table, queued(wandb, cloud, "sagemaker", "run-after-that")) == "finished"
    assert cloud.get("denials") == []


def test_stacks_side_by_side_serve_their_queues_whatever_was_chosen_for_each(
    cloud: LocalCloud, server: tuple[WandbServer, str]
) -> None:
    """One with no parameter, one with every rule of a company's account, and one with all that a company has."""
    wandb, url = server
    stacks: dict[str, Deployed] = {}
    chosen = {"plain": {}, "chosen": every_choice(cloud), "owned": everything_of_ours(cloud)}
    assert {*OF_NO_RULE, *chosen["chosen"], *chosen["owned"]} == template()["Parameters"].keys()
    for name, choices in chosen.items():
        wandb.create_queue(name, config={})
        of_queue = WandbLogin(url, ENTITY, name, API_KEY)
        if name == "chosen":
            make_certificate(cloud.folder).rename(cloud.folder / "ca.pem")
        stacks[name] = deploy(
            cloud,
            of_queue,
            max_jobs=2,
            grace_seconds=2,
            stack_name=name,
            console=Console(quiet=True),
            more_parameters=choices,
        )
        wandb.create_queue(name, config=json.loads(stacks[name].outputs["QueueConfiguration"]))
    schedules = cloud.client("scheduler").list_schedules()["Schedules"]
    assert len({each["Name"] for each in schedules}) == len(schedules) == 3 * len(stacks)
    items = {name: queued(wandb, cloud, name, f"run-of-{name}") for name in stacks}
    for name, item_id in items.items():
        assert verdict(cloud, stacks[name].outputs["RunsTable"], item_id) == "finished"
    what_was_chosen_is_there(cloud, stacks["chosen"])
    assert cloud.get("denials") == []
    assert {agent.agent_status for agent in wandb.state.agents.values()} <= {"POLLING", "RUNNING"}
    for name in stacks:
        cloud.client("cloudformation").delete_stack(StackName=name)
    wait_for(lambda: not any(is_deployed(cloud, name) for name in stacks), within=120)
    killed = dict.fromkeys(stacks, "KILLED")
    assert {agent.hostname: agent.agent_status for agent in wandb.state.agents.values()} == killed
    assert [denial for denial in cloud.get("denials") if "RetireAgent" in denial] == []


def is_deployed(cloud: LocalCloud, name: str) -> bool:
    """Whether a stack is there. Raises AssertionError where its deletion has failed."""
    stacks = cloud.client("cloudformation").describe_stacks()["Stacks"]
    statuses = [each["StackStatus"] for each in stacks if each["StackName"] == name]
    assert "DELETE_FAILED" not in statuses
    return bool(statuses) and statuses != ["DELETE_COMPLETE"]


def every_choice(cloud: LocalCloud) -> dict[str, str]:
    """A value for each parameter that gives a role more permissions than its default."""
    volume_key, secret_key = (cloud.client("kms").create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    key_policy = documented_key_policy()
    data_key = cloud.client("kms").create_key(Policy=key_policy)["KeyMetadata"]["Arn"]
    boundary = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
    policy = cloud.client("iam").create_policy(PolicyName="boundary", PolicyDocument=boundary)["Policy"]
    secret = cloud.client("secretsmanager").create_secret(Name="own", SecretString=API_KEY, KmsKeyId=secret_key)
    return {
        "AlarmEmail": "ops@example.com",
        "BaseImageAccounts": "",
        "DataKmsKeyArn": data_key,
        "HttpsProxy": "http://proxy.example.com:3128",
        "InputBucketArns": "arn:aws:s3:::data,arn:aws:s3:::more.data",
        "NoProxy": ".amazonaws.com",
        "PermissionsBoundaryArn": policy["Arn"],
        "RolePath": "/company/launch/",
        "SecretKmsKeyArn": secret_key,
        "Tracing": "Active",
        "TrainingInVpc": "true",
        "VolumeKmsKeyArn": volume_key,
        "WandbApiKeySecretArn": secret["ARN"],
        **NETWORK,
    }


def everything_of_ours(cloud: LocalCloud) -> dict[str, str]:
    """A value for each parameter that names what the stack would create, or that it has no use for without it."""
    shop = Workshop(cloud)
    cloud.client("s3").create_bucket(Bucket="company-results")
    cloud.client("ecr").create_repository(repositoryName="company/images")
    create = cloud.client("secretsmanager").create_secret
    secrets = {name: create(Name=name, SecretString=text)["ARN"] for name, text in SECRETS_OF_OURS.items()}
    return {
        "AlarmTopicArn": cloud.client("sns").create_topic(Name="company-alarms")["TopicArn"],
        "BucketName": "company-results",
        "GitCredentialsSecretArn": secrets["git"],
        "ImageRepositoryName": "company/images",
        "RunApiKeySecretArn": secrets["of-runs"],
        "RunSecretArns": f"{secrets['hub']},{secrets['index']}",
        "TrainingRoleArns": ",".join(shop.role(*TRAINS, service="sagemaker.amazonaws.com") for _ in range(2)),
        **NETWORK,
    }


SECRETS_OF_OURS = {"git": '{"git.example.com": {"token": "t"}}', "of-runs": API_KEY, "hub": "h", "index": "i"}
OF_NO_RULE = {
    *("Architecture", "PythonRuntime", "WandbBaseUrl", "WandbInitGraceSeconds"),  # every stack here sets them
    *("BuildComputeType", "BuildImages", "BuildKitImage", "CapacityWaitHours", "CreateQueues", "LogRetentionDays"),
    *("PollIntervalSeconds", "SetupCheck", "WaitingAlarmMinutes"),
}
"""Parameters that are no rule of an account and name nothing in it."""
NETWORK = {"VpcId": "vpc-0a1b2c3d", "SubnetIds": "subnet-0a1b2c3d,subnet-1a1b2c3d", "SecurityGroupIds": "sg-0a1b2c3d"}


def documented_key_policy() -> str:
    """The key policy in docs/company.md, for this account."""
    (written,) = re.findall(r"```json\n(\{.*?\n\})\n```", (ROOT / "docs/company.md").read_text(), re.DOTALL)
    return str(written).replace("123456789012", ACCOUNT_ID)


def what_was_chosen_is_there(cloud: LocalCloud, stack: Deployed) -> None:
    configuration = json.loads(stack.outputs["QueueConfiguration"])
    role = configuration["RoleArn"].rpartition("/")[2]
    objects = statements(cloud, role, "ReadInputBuckets")[0]
    assert objects["Resource"] == ["arn:aws:s3:::data/*", "arn:aws:s3:::more.data/*"]
    (grant,) = statements(cloud, role, "UseVolumeKey")
    assert grant["Resource"] == configuration["ResourceConfig"]["VolumeKmsKeyId"]
    assert grant["Condition"]["StringEquals"] == {"kms:ViaService": "sagemaker.us-east-1.amazonaws.com"}
    assert statements(cloud, role, "TrainInVpc")
    every_rule_of_the_account_is_kept(cloud, stack)


def every_rule_of_the_account_is_kept(cloud: LocalCloud, stack: Deployed) -> None:
    key = json.loads(stack.outputs["QueueConfiguration"])["OutputDataConfig"]["KmsKeyId"]
    made = resources_of(cloud, "chosen")
    roles = [cloud.client("iam").get_role(RoleName=name)["Role"] for name in made["AWS::IAM::Role"]]
    assert len(roles) == 14
    assert {role["Path"] for role in roles} == {"/company/launch/"}
    assert {role["PermissionsBoundary"]["PermissionsBoundaryArn"] for role in roles} == {
        f"arn:aws:iam::{ACCOUNT_ID}:policy/boundary"
    }
    for name in made["AWS::Lambda::Function"]:
        function = cloud.client("lambda").get_function_configuration(FunctionName=name)
        assert ",".join(function["VpcConfig"]["SubnetIds"]) == NETWORK["SubnetIds"]
        assert function["Environment"]["Variables"]["HTTPS_PROXY"] == "http://proxy.example.com:3128"
    layer = cloud.client("lambda").get_layer_version_by_arn(Arn=function["Layers"][0]["Arn"])
    content = urllib3.request("GET", layer["Content"]["Location"]).data
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.read("python/ca.pem") == (cloud.folder / "ca.pem").read_bytes()
    for name in made["AWS::DynamoDB::Table"]:
        table = cloud.client("dynamodb").describe_table(TableName=name)["Table"]
        assert table["SSEDescription"]["KMSMasterKeyArn"] == key
    groups = cloud.client("logs").describe_log_groups()["logGroups"]
    assert {group.get("kmsKeyId") for group in groups if group["logGroupName"] in made["AWS::Logs::LogGroup"]} == {key}
    for queue in made["AWS::SQS::Queue"]:
        attributes = cloud.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
        assert attributes["KmsMasterKeyId"] == key


def resources_of(cloud: LocalCloud, stack: str) -> dict[str, list[str]]:
    """The physical ids of a stack's resources, by type."""
    found: dict[str, list[str]] = {}
    for each in cloud.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]:
        found.setdefault(each["ResourceType"], []).append(each["PhysicalResourceId"])
    return found


def statements(cloud: LocalCloud, role: str, name: str) -> list[dict[str, Any]]:
    """The deployed statements of a role's policy."""
    found: Any = cloud.client("iam").get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    document = found if isinstance(found, dict) else json.loads(found)
    return list(document["Statement"])
