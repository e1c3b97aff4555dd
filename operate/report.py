"""The report after a deployment: what to paste into W&B, and what is wrong with the run queues there."""

import json
from collections.abc import Iterator, Mapping

from botocore.exceptions import ClientError

from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.secrets import WandbApiKey
from launch_agent.clients.wandb import Wandb
from launch_agent.errors import LaunchError
from launch_agent.run_queue.launch_config import LaunchConfig
from operate.account import Account
from operate.dialogue import say
from operate.queues import Queues, RunQueue, faults_of


def report(stack: str, account: Account, config: LaunchConfig, values: Mapping[str, str]) -> None:
    """Print the configuration for the run queues, and what is wrong with each queue's current one in W&B."""
    outputs = account.outputs(stack)
    configuration = json.loads(outputs["QueueConfiguration"])
    say(f"\nThe stack {stack} is deployed. Paste this configuration into its run queues in W&B:")
    print(f"\n{json.dumps(configuration, indent=2)}\n")
    for line in _queue_lines(account, config, values, configuration):
        say(line)
    print(f"\nExecutions: {outputs['Executions']}")


def _queue_lines(
    account: Account, config: LaunchConfig, values: Mapping[str, str], configuration: Mapping[str, object]
) -> Iterator[str]:
    graphql = GraphqlClient(values["WandbBaseUrl"], WandbApiKey(values["WandbApiKeySecretArn"]))
    try:
        entity = config.entity or Wandb(graphql).default_entity()
        found = Queues(graphql, entity).all()
    except (LaunchError, ClientError) as error:
        yield f"The run queues could not be checked from here: {error}"
        return
    for name in config.queues:
        faults = queue_faults(found, entity, name, account, values, configuration)
        yield from (
            f"Run queue {name}: {fault}" for fault in faults or ["its configuration in W&B works with this stack."]
        )


def queue_faults(
    found: Mapping[str, RunQueue],
    entity: str,
    name: str,
    account: Account,
    values: Mapping[str, str],
    configuration: Mapping[str, object],
) -> list[str]:
    """Return why a stack cannot launch the runs of a queue; `found` are the queues in W&B by name.

    `values` are the stack's parameters, and `configuration` is the one that the stack suggests.
    """
    if name not in found:
        return [f"{entity} has no queue with this name. Create it in W&B with SageMaker as its resource."]
    made = not values["TrainingRoleArns"]
    roles = frozenset([str(configuration["RoleArn"])] if made else values["TrainingRoleArns"].split(","))
    bucket = values["BucketName"] or _bucket(configuration)
    where = {"region": account.region, "account_id": account.id}
    return list(faults_of(found[name], **where, roles=roles, bucket=bucket if made else ""))


def _bucket(configuration: Mapping[str, object]) -> str:
    output = configuration["OutputDataConfig"]
    return str(output["S3OutputPath"]).split("/")[2] if isinstance(output, dict) else ""
