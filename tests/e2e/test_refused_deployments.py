"""Refusals of `make deploy` without a terminal: they come before anything is built."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from local import ACCOUNT_ID, REGION
from local.stack import ROOT, LocalCloud, embedded_cloud
from local.wandb import WandbServer
from operate import stack_file
from operate.stack_file import StackFile
from operate.template import parameters
from tests.e2e.conftest import wait_for

LAUNCH_CONFIG = "layers/config/launch-config.yaml"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with embedded_cloud(tmp_path_factory.mktemp("cloud"), speed=60.0) as cloud:
        yield cloud


@pytest.fixture
def stack() -> Iterator[str]:
    name = f"refused-{uuid.uuid4().hex[:8]}"
    yield name
    stack_file.path_of(name).unlink(missing_ok=True)


def write(stack: str, account: str = ACCOUNT_ID, launch_config: str = LAUNCH_CONFIG, **values: str) -> None:
    content = StackFile(account=account, region=REGION, launch_config=launch_config, parameters=values)
    stack_file.write(stack_file.path_of(stack), content, parameters())


def refusal(cloud: LocalCloud, *command: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-m", "operate", *command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT / 'layers/launch_agent'}:{ROOT}", **cloud.environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1, finished.stdout
    assert "Traceback" not in finished.stderr
    return finished.stderr


def test_without_a_file_and_a_terminal_the_operator_has_to_write_the_file(cloud: LocalCloud, stack: str) -> None:
    words = refusal(cloud, "deploy", "--stack", stack)
    assert f"stacks/{stack}.yaml does not exist, and there is no terminal to ask in." in words


def test_credentials_of_another_account_are_refused(cloud: LocalCloud, stack: str) -> None:
    write(stack, account="210987654321")
    words = refusal(cloud, "deploy", "--stack", stack)
    assert f"is for account 210987654321, but these credentials are for account {ACCOUNT_ID}" in words


def test_a_launch_config_that_is_not_there_is_said_so(cloud: LocalCloud, stack: str) -> None:
    write(stack, launch_config="no/launch-config.yaml")
    assert "no/launch-config.yaml" in refusal(cloud, "deploy", "--stack", stack)


def test_without_a_key_and_a_terminal_the_operator_has_to_create_the_secret(cloud: LocalCloud, stack: str) -> None:
    write(stack)
    words = refusal(cloud, "deploy", "--stack", stack)
    assert f"The secret {stack}/wandb-api-key does not exist" in words
    assert "set WandbApiKeySecretArn to its ARN" in words


def test_a_secret_that_is_not_there_is_said_so(cloud: LocalCloud, stack: str) -> None:
    arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT_ID}:secret:gone-AbC123"
    write(stack, WandbApiKeySecretArn=arn)
    assert f"names the secret {arn}, which does not exist." in refusal(cloud, "deploy", "--stack", stack)


def test_a_run_queue_that_is_not_there_is_said_before_anything_is_built(cloud: LocalCloud, stack: str) -> None:
    server = WandbServer(entity="local-user", api_key="k" * 40)
    secret = cloud.client("secretsmanager").create_secret(Name=f"{stack}/wandb-api-key", SecretString="k" * 40)
    with server.running() as url:
        write(stack, WandbBaseUrl=url, WandbApiKeySecretArn=secret["ARN"])
        words = refusal(cloud, "deploy", "--stack", stack)
    assert "local-user has no run queue sagemaker in W&B. Create it there, or set CreateQueues to true in" in words
    assert "For the queues of another entity than local-user, set entity in launch-config.yaml." in words


def test_a_stack_whose_first_deployment_failed_is_to_be_removed_first(cloud: LocalCloud, stack: str) -> None:
    write(stack)
    machine = {"Type": "AWS::StepFunctions::StateMachine", "Properties": {"DefinitionString": "{}", "RoleArn": "none"}}
    cloudformation = cloud.client("cloudformation")
    cloudformation.create_stack(StackName=stack, TemplateBody=json.dumps({"Resources": {"Machine": machine}}))

    def failed() -> bool:
        (found,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
        return bool(found["StackStatus"] == "ROLLBACK_COMPLETE")

    wait_for(failed, within=30)
    assert f"`make destroy STACK={stack}`" in refusal(cloud, "deploy", "--stack", stack)


def test_a_stack_that_is_not_there_has_no_logs_and_cannot_be_destroyed(cloud: LocalCloud, stack: str) -> None:
    for command in (["logs", "--run", "run-1"], ["destroy"]):
        words = refusal(cloud, *command, "--stack", stack)
        assert f"The stack {stack} does not exist in account {ACCOUNT_ID}, region {REGION}." in words


def test_logs_are_of_a_run(cloud: LocalCloud, stack: str) -> None:
    assert "make logs RUN=run-id" in refusal(cloud, "logs", "--run", "", "--stack", stack)


def test_without_credentials_the_message_says_to_sign_in(cloud: LocalCloud, stack: str) -> None:
    write(stack)
    without = cloud._replace(folder=cloud.folder / "nowhere")
    assert "config profile" in refusal(without, "deploy", "--stack", stack)
