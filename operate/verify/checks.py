"""Checks a stack before anything is queued. Each error message says what is wrong, and what to do."""

import json
import os
from collections.abc import Callable
from typing import NamedTuple

from botocore.exceptions import ClientError

from launch_agent.clients.aws import error_code, error_message
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.queues import Queues
from launch_agent.clients.secrets import WandbApiKey
from launch_agent.clients.wandb import Wandb
from launch_agent.errors import LaunchError
from launch_agent.run_queue.configured_queue import ConfiguredQueue
from operate.dialogue import say
from operate.errors import CannotOperate
from operate.polling import check_schedule, poll
from operate.setup import check_setup, sentences
from operate.verify.progress import Progress
from operate.verify.stack import Stack

_DENIED = ("AccessDenied", "AccessDeniedException", "403")


class Target(NamedTuple):
    """The run queue to use, and the W&B server, API key and entity to use it with."""

    base_url: str
    api_key: str
    entity: str
    queue: ConfiguredQueue


def checked(stack: Stack, queue: str, progress: Progress) -> Target:
    """Return where to queue the job: in `queue` or, if that is empty, in the first queue that the stack serves.

    Raises CannotOperate if the stack cannot launch the job. Checks that the operator has no permission for are skipped.
    """
    progress.doing("Checking the API key")
    key = _api_key(stack)
    config = stack.launch_config()
    name = queue or config.queues[0]
    if name not in config.queues:
        raise CannotOperate(f"The stack {stack.name} does not serve {name}. It serves {', '.join(config.queues)}.")
    checks: dict[str, Callable[[], object]] = {
        "the setup": lambda: _check_setup(stack, name, progress),
        "the schedule": lambda: check_schedule(stack),
        "a poll": lambda: poll(stack),
    }
    for what, check in checks.items():
        progress.doing(f"Checking {what}")
        try:
            check()
        except ClientError as error:
            if error_code(error) not in _DENIED:
                raise
            progress.note(f"Skipped, because you have no permission for it: {error_message(error)}")
    return _target(stack, name, key, config.entity)


def _target(stack: Stack, name: str, key: str, entity: str | None) -> Target:
    base_url = stack.parameters["WandbBaseUrl"]
    graphql = GraphqlClient(base_url, lambda: key)
    try:
        entity = entity or Wandb(graphql).default_entity()
        found = Queues(graphql, entity).all()
    except LaunchError as error:
        raise CannotOperate(f"{error} docs/errors.md says what to do about {type(error).__name__}.") from None
    if name not in found:
        raise CannotOperate(f"{entity} has no run queue {name} that this API key can see.")
    return Target(base_url, key, entity, found[name])


def _api_key(stack: Stack) -> str:
    """Return the stack's API key or, if the operator may not read it, the operator's own from WANDB_API_KEY.

    Raises CannotOperate if there is no key to use.
    """
    secret = stack.parameters["WandbApiKeySecretArn"]
    try:
        stack.account.client("secretsmanager").get_secret_value(SecretId=secret)
    except ClientError as error:
        if error_code(error) in _DENIED and "WANDB_API_KEY" in os.environ:
            return os.environ["WANDB_API_KEY"]
        raise CannotOperate(
            f"The secret {secret} with the W&B API key cannot be read: {error_message(error)} Create it, or get "
            "the permission secretsmanager:GetSecretValue for it, or set WANDB_API_KEY."
        ) from None
    try:
        return WandbApiKey(secret)()
    except LaunchError as error:
        raise CannotOperate(str(error)) from None


def _check_setup(stack: Stack, queue: str, progress: Progress) -> None:
    if "BuildProjectName" not in stack.outputs:
        raise CannotOperate(
            f"The stack {stack.name} builds no images, but this job needs one. Set BuildImages to true in "
            f"stacks/{stack.name}.yaml and deploy the stack, or test it with a run of an existing image instead."
        )
    found = [finding for finding in check_setup(stack) if finding.queue in ("", queue)]
    for finding in found:
        if finding.not_checked:
            progress.note(f"Not checked: {finding.what}: {finding.not_checked}")
    if any(finding.faults and finding.queue for finding in found):
        say("The configuration for the run queues of this stack:")
        print(f"\n{json.dumps(json.loads(stack.outputs['QueueConfiguration']), indent=2)}\n", flush=True)
    if faults := sentences(found):
        raise CannotOperate("\n".join(faults))
