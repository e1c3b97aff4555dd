"""Checks a stack before anything is queued. Each error message says what is wrong, and what to do."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import ClientError

from launch_agent.clients.aws import error_code, error_message
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.secrets import WandbApiKey
from launch_agent.clients.wandb import Wandb
from launch_agent.errors import LaunchError, WandbKeyRejected
from operate.dialogue import say
from operate.errors import CannotOperate
from operate.queues import Queues, RunQueue
from operate.report import queue_faults
from operate.verify.progress import Progress
from operate.verify.stack import Stack

_DENIED = ("AccessDenied", "AccessDeniedException", "403")
_ONE_CALL = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=70)


class Target(NamedTuple):
    """The run queue to use, and the W&B server, API key and entity to use it with."""

    base_url: str
    api_key: str
    entity: str
    queue: RunQueue


def checked(stack: Stack, queue: str, progress: Progress) -> Target:
    """Return where to queue the job: in `queue` or, if that is empty, in the first queue that the stack serves.

    Raises CannotOperate if the stack cannot launch the job. Checks that the operator has no permission for are skipped.
    """
    progress.doing("Checking the API key and the run queue")
    target = _target(stack, queue)
    for what, check in _CHECKS.items():
        progress.doing(f"Checking {what}")
        try:
            check(stack, target)
        except ClientError as error:
            if error_code(error) not in _DENIED:
                raise
            progress.note(f"Skipped, because you have no permission for it: {error_message(error)}")
    return target


def _target(stack: Stack, queue: str) -> Target:
    base_url, secret = stack.parameters["WandbBaseUrl"], stack.parameters["WandbApiKeySecretArn"]
    try:
        key = _api_key(stack, secret)
        graphql = GraphqlClient(base_url, lambda: key)
        config = stack.launch_config()
        entity = config.entity or Wandb(graphql).default_entity()
        queues = Queues(graphql, entity).all()
    except WandbKeyRejected:
        raise CannotOperate(
            f"W&B at {base_url} rejects the API key in the secret {secret}. Store a valid key there; W&B shows yours "
            "under User settings."
        ) from None
    except LaunchError as error:
        raise CannotOperate(f"{error} docs/errors.md says what to do about {type(error).__name__}.") from None
    name = queue or config.queues[0]
    if name not in config.queues:
        raise CannotOperate(f"The stack {stack.name} does not serve {name}. It serves {', '.join(config.queues)}.")
    configuration = json.loads(stack.outputs["QueueConfiguration"])
    faults = queue_faults(queues, entity, name, stack.account, stack.parameters, configuration)
    if faults:
        say("The configuration for the run queues of this stack:")
        print(f"\n{json.dumps(configuration, indent=2)}\n", flush=True)
        raise CannotOperate("\n".join(f"Run queue {name}: {fault}" for fault in faults))
    return Target(base_url, key, entity, queues[name])


def _api_key(stack: Stack, secret: str) -> str:
    """Return the stack's API key or, if the operator may not read it, the operator's own from WANDB_API_KEY.

    Raises CannotOperate if there is no key to use, and WandbKeyRejected if the secret contains none.
    """
    try:
        stack.account.client("secretsmanager").get_secret_value(SecretId=secret)
    except ClientError as error:
        if error_code(error) in _DENIED and "WANDB_API_KEY" in os.environ:
            return os.environ["WANDB_API_KEY"]
        raise CannotOperate(
            f"The secret {secret} with the W&B API key cannot be read: {error_message(error)} Create it, or get "
            "the permission secretsmanager:GetSecretValue for it, or set WANDB_API_KEY."
        ) from None
    return WandbApiKey(secret)()


def _check_builds(stack: Stack, _: Target) -> None:
    if "BuildProjectName" not in stack.outputs:
        raise CannotOperate(
            f"The stack {stack.name} builds no images, but this job needs one. Set BuildImages to true in "
            f"stacks/{stack.name}.yaml and deploy the stack, or test it with a run of an existing image instead."
        )
    name = stack.outputs["ImageRepository"].partition("/")[2]
    missing = f"The ECR repository {name} for the images of the stack {stack.name} does not exist. Create it: "
    with _where("RepositoryNotFoundException", f"{missing}aws ecr create-repository --repository-name {name}"):
        stack.account.client("ecr").describe_repositories(repositoryNames=[name])


def _check_role(stack: Stack, target: Target) -> None:
    role = str(target.queue.config.get("RoleArn", ""))
    if not role or "{{" in role:
        return
    where = f"The role {role} in the run queue {target.queue.name}"
    with _where("NoSuchEntity", f"{where} does not exist. Create it, or use another role in the queue."):
        found: Any = stack.account.client("iam").get_role(RoleName=role.rpartition("/")[2])["Role"]
    if "sagemaker.amazonaws.com" not in json.dumps(found["AssumeRolePolicyDocument"]):
        raise CannotOperate(
            f"{where} cannot be assumed by SageMaker. Add the service sagemaker.amazonaws.com to its trust policy."
        )


def _check_bucket(stack: Stack, target: Target) -> None:
    path = str((target.queue.config.get("OutputDataConfig") or {}).get("S3OutputPath", ""))
    region = stack.account.region
    if not path or "{{" in path:
        return
    bucket = urlsplit(path).netloc
    where = f"The bucket {bucket} in the S3OutputPath of the run queue {target.queue.name}"
    with _where("404", f"{where} does not exist. Create it in {region}, or use another bucket in the queue."):
        found = stack.account.client("s3").head_bucket(Bucket=bucket)["BucketRegion"]
    if found != region:
        raise CannotOperate(f"{where} is in {found}, but the stack is in {region}. Use a bucket in {region} instead.")


def _check_schedule(stack: Stack, _: Target) -> None:
    resource = {"StackName": stack.name, "LogicalResourceId": "PollQueuesFunctionEveryMinute"}
    found = stack.account.client("cloudformation").describe_stack_resource(**resource)["StackResourceDetail"]
    name = found["PhysicalResourceId"]
    where = f"The schedule {name} for polling the run queues"
    with _where("ResourceNotFoundException", f"{where} does not exist. Destroy the stack and deploy it again."):
        state = stack.account.client("scheduler").get_schedule(Name=name)["State"]
    if state != "ENABLED":
        raise CannotOperate(f"{where} is {state.lower()}. Enable it in the EventBridge Scheduler console.")


def _check_poll(stack: Stack, _: Target) -> None:
    """Poll once. It takes the items that the schedule would take within the next minute."""
    function = stack.outputs["PollQueuesFunctionName"]
    answer = stack.account.client("lambda", config=_ONE_CALL).invoke(FunctionName=function, Payload=b"{}")
    said: Mapping[str, Any] = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        raise CannotOperate(
            f"The function {function} cannot poll the run queues: {said.get('errorMessage', said)} docs/errors.md says "
            f"what to do about {said.get('errorType', 'it')}."
        )
    if said["status"] == "KILLED":
        raise CannotOperate(
            f"Polling was stopped in W&B. Resume the launch agent {stack.name} there, or deploy a changed "
            "launch-config.yaml."
        )


@contextmanager
def _where(code: str, sentence: str) -> Iterator[None]:
    """Raise CannotOperate with this sentence if AWS answers with this error code."""
    try:
        yield
    except ClientError as error:
        if error_code(error) != code:
            raise
        raise CannotOperate(sentence) from None


_CHECKS = {
    "the repository of images": _check_builds,
    "the role of training jobs": _check_role,
    "the bucket for their output": _check_bucket,
    "the schedule": _check_schedule,
    "a poll": _check_poll,
}
