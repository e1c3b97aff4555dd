"""W&B: the run queues of an entity, with their configurations."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import Field, Json

from launch_agent.clients import wandb_operations as operations
from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.wandb_answers import at, parsed
from launch_agent.errors import WandbRefused
from launch_agent.model import Wire
from launch_agent.run_queue.configured_queue import ConfiguredQueue
from launch_agent.run_queue.items import RESOURCE


class _Queue(Wire):
    name: str
    configuration_id: str | None = Field(alias="defaultResourceConfigID", default=None)


class _Variable(Wire):
    name: str
    json_schema: Json[dict[str, Any]] = Field(alias="schema")


class _Configuration(Wire):
    resource: str = ""
    config: dict[str, Any] = Field(default_factory=dict)
    variables: list[_Variable] = Field(alias="templateVariables", default_factory=list)


class Queues:
    """The run queues of an entity. Every method may raise WandbUnavailable, WandbKeyRejected and WandbRefused."""

    def __init__(self, graphql: GraphqlClient, entity: str) -> None:
        """Use this connection for this entity's queues. Nothing is sent yet."""
        self._graphql, self.entity = graphql, entity

    def is_visible(self) -> bool:
        """Whether the entity exists and the API key can see it."""
        return bool(self._graphql.execute(operations.entity(self.entity)).get("entity"))

    def all(self) -> dict[str, ConfiguredQueue]:
        """Return the run queues by name."""
        found = at(self._graphql.execute(operations.run_queues(self.entity)), "project", "runQueues")
        return {each.name: self._configured(each) for each in parsed(list[_Queue], found or [])}

    def _configured(self, queue: _Queue) -> ConfiguredQueue:
        if not queue.configuration_id:
            return ConfiguredQueue(queue.name, "", {})
        answer = self._graphql.execute(operations.whole_resource_configuration(self.entity, queue.configuration_id))
        found = parsed(_Configuration, at(answer, "entity", "defaultResourceConfig") or {})
        block = at(found.config, "resource_args", found.resource)
        schemas = {each.name: each.json_schema for each in found.variables}
        return ConfiguredQueue(queue.name, found.resource, block if isinstance(block, Mapping) else {}, schemas)

    def create(self, name: str, config: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
        """Create a run queue for SageMaker. `variables` has the schema of each template variable."""
        self._graphql.execute(operations.create_launch_project(self.entity))
        args = json.dumps({"resource_args": {RESOURCE: config}})
        asked = operations.upsert_run_queue(self.entity, name, RESOURCE, args, json.dumps(variables))
        answer = self._graphql.execute(asked)
        if not at(answer, "upsertRunQueue", "success"):
            faults = at(answer, "upsertRunQueue", "configSchemaValidationErrors") or ["no reason given"]
            raise WandbRefused(f"W&B did not create the run queue {name}: {'; '.join(map(str, faults))}")
