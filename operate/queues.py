"""The run queues in W&B, and whether a stack can launch runs with their configurations."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from launch_agent.clients.graphql import GraphqlClient, Operation
from launch_agent.clients.wandb_operations import LAUNCH_PROJECT
from launch_agent.dry_run import Env, dry_run
from launch_agent.errors import LaunchError
from launch_agent.run_queue.launch_config import LaunchConfig

_VARIABLE = re.compile(r"\{\{\s*\w+\s*\}\}")


class RunQueue(NamedTuple):
    """A run queue, and the configuration that it adds to each of its runs."""

    name: str
    resource: str
    config: Mapping[str, Any]


class Queues:
    """The run queues of an entity. Every method can raise WandbUnavailable, WandbKeyRejected and WandbRefused."""

    def __init__(self, graphql: GraphqlClient, entity: str) -> None:
        """Use this connection to read this entity's queues."""
        self._graphql, self.entity = graphql, entity

    def all(self) -> dict[str, RunQueue]:
        """Return the run queues by name."""
        project = self._graphql.execute(run_queues(self.entity)).get("project") or {}
        return {each["name"]: self._queue(each) for each in project.get("runQueues") or []}

    def _queue(self, found: Mapping[str, Any]) -> RunQueue:
        config_id = found.get("defaultResourceConfigID")
        if not config_id:
            return RunQueue(found["name"], "", {})
        answer = self._graphql.execute(default_resource_config(self.entity, config_id)).get("entity") or {}
        config = answer.get("defaultResourceConfig") or {}
        resource = config.get("resource") or ""
        args = (config.get("config") or {}).get("resource_args") or {}
        return RunQueue(found["name"], resource, args.get(resource) or {})


def run_queues(entity: str) -> Operation:
    """Build the query for an entity's run queues, and the id of each one's configuration."""
    document = """query RunQueues($entity: String!, $project: String!) {
  project(entityName: $entity, name: $project) { runQueues { name defaultResourceConfigID } }
}"""
    return Operation(document, {"entity": entity, "project": LAUNCH_PROJECT}, repeatable=True)


def default_resource_config(entity: str, config_id: str) -> Operation:
    """Build the query for a queue's configuration."""
    document = """query DefaultResourceConfig($entity: String!, $id: ID!) {
  entity(name: $entity) { defaultResourceConfig(id: $id) { resource config } }
}"""
    return Operation(document, {"entity": entity, "id": config_id}, repeatable=True)


def faults_of(queue: RunQueue, *, region: str, account_id: str, roles: frozenset[str], bucket: str) -> Iterator[str]:
    """Yield why a stack cannot launch the runs of a queue; yield nothing if it can.

    `roles` are the roles that the stack may pass. `bucket` is the bucket that the stack's own training role may write
    to; empty if the stack uses other roles. The queue's configuration is checked by planning a run with it.
    """
    if queue.resource != "sagemaker":
        yield f"its resource is {queue.resource or 'not set'}. Create a queue with SageMaker as its resource."
        return
    if not queue.config:
        yield "it has no configuration yet. Paste the configuration above."
        return
    config = {key: value for key, value in queue.config.items() if not _VARIABLE.search(json.dumps(value))}
    role = config.get("RoleArn")
    if role and not any(allowed == role or allowed.endswith(f":role/{role}") for allowed in roles):
        yield f"its RoleArn is {role}, which this stack may not pass. Use {' or '.join(sorted(roles))}."
    output = (config.get("OutputDataConfig") or {}).get("S3OutputPath", "")
    if bucket and output and not f"{output}/".startswith(f"s3://{bucket}/"):
        yield f"its S3OutputPath is {output}, but the stack's role may write only to s3://{bucket}/."
    if config == queue.config:
        yield from _faults_of_a_run(config, region, account_id)


def _faults_of_a_run(config: Mapping[str, Any], region: str, account_id: str) -> Iterator[str]:
    image = f"{account_id}.dkr.ecr.{region}.amazonaws.com/any:latest"
    run = {"entity": "any", "project": "any", "docker": {"docker_image": image}, "resource": "sagemaker"}
    spec = {**run, "resource_args": {"sagemaker": config}}
    try:
        dry_run(spec, Env(), LaunchConfig(queues=["any"]), region=region, account_id=account_id)
    except LaunchError as error:
        yield str(error)
