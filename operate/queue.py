"""`make queue`: prints the configuration for the run queues of a stack, or creates those that do not exist in W&B."""

import json
from collections.abc import Mapping

from botocore.exceptions import ClientError

from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.queues import Queues
from launch_agent.clients.secrets import WandbApiKey
from launch_agent.clients.wandb import Wandb
from launch_agent.errors import LaunchError
from launch_agent.operations.setup import queue_configuration
from launch_agent.run_queue.launch_config import LaunchConfig
from operate.account import Account
from operate.dialogue import confirm, in_terminal, say
from operate.errors import CannotOperate
from operate.setup import check_setup, sentences
from operate.verify.stack import Stack


def queue(name: str, region: str | None, *, push: bool) -> None:
    """Print the configuration and the template variables; or, with `push`, let the stack create the missing queues.

    Raises CannotOperate if a queue is still missing.
    """
    stack = Stack.deployed(name, Account(region))
    if push:
        queues = [each for each in check_setup(stack, create_queues=True) if each.what.startswith(("W&B", "run queue"))]
        if faults := sentences(queues):
            raise CannotOperate("\n".join(faults))
        say("\n".join(f"{each.what}: exists in W&B." for each in queues if each.what != "W&B"))
        return
    config, variables = queue_configuration(json.loads(stack.outputs["QueueConfiguration"]))
    print(json.dumps({"configuration": config, "template_variables": variables}, indent=2))


def create_queues(stack: str, config: LaunchConfig, values: Mapping[str, str]) -> str:
    """Return the parameter CreateQueues of a deployment, after asking if a run queue does not exist.

    `values` are the stack's parameters. Without a terminal, raises CannotOperate instead of asking.
    """
    if values["CreateQueues"] == "true" or values["SetupCheck"] == "warn":
        return values["CreateQueues"]
    graphql = GraphqlClient(values["WandbBaseUrl"], WandbApiKey(values["WandbApiKeySecretArn"]))
    try:
        entity = config.entity or Wandb(graphql).default_entity()
        found = Queues(graphql, entity).all()
    except (LaunchError, ClientError):  # the deployment says what is wrong, if it is wrong for the functions too
        return "false"
    missing = [name for name in config.queues if name not in found]
    fault = f"{entity} has no run queue {' or '.join(missing)} in W&B."
    other = (
        "" if config.entity else f" For the queues of another entity than {entity}, set entity in launch-config.yaml."
    )
    if missing and not in_terminal():
        raise CannotOperate(f"{fault} Create it there, or set CreateQueues to true in stacks/{stack}.yaml.{other}")
    return (
        "true"
        if missing and confirm(f"{fault}{other} Create it, with a configuration that works?", default=True)
        else "false"
    )
