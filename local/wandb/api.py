"""The GraphQL operations: one method for each field of Query and Mutation, in snake case."""

import base64
import json
from typing import Any

from local.wandb import artifacts, runs, sweeps
from local.wandb.answers import Refused, connection, opaque, timestamp
from local.wandb.queues import LaunchAgent, ResourceConfig, RunQueue, RunQueueItem
from local.wandb.state import Entity, Project, State

FEATURES = (
    "LARGE_FILENAMES",
    "ARTIFACT_TAGS",
    "CLIENT_IDS",
    "STRUCTURED_CONSOLE_LOGS",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
    "MARK_RUN_FILES_UPLOADED",
    "FILESTREAM_GZIP",
    "SWEEPS_LOCAL_SCHEDULER",
)


class Query:
    """The fields of Query."""

    def __init__(self, state: State) -> None:
        self._state = state

    def viewer(self, entity_name: str | None = None) -> dict[str, Any]:
        """Return the user of the API key."""
        name = self._state.username
        return {
            "id": opaque("User", 1),
            "name": self._state.user_name,
            "username": name,
            "email": f"{name}@example.com",
            "admin": False,
            "flags": "{}",
            "entity": name,
            "apiKeys": connection([]),
            "teams": connection([self._state.team]),
            "organizations": [],
        }

    def entity(self, name: str | None = None, **_: Any) -> Entity | None:
        """Return a user's or team's namespace."""
        return self._state.entities.get(name or self._state.username)

    def project(self, name: str | None = None, entity_name: str | None = None) -> Project | None:
        return self._state.find_project(entity_name, name)

    model = project

    def models(self, entity_name: str | None = None, **arguments: Any) -> dict[str, Any]:
        """Return the projects of an entity."""
        owner = entity_name or self._state.username
        found = [project for (entity, _), project in self._state.projects.items() if entity == owner]
        return connection(found, arguments.get("first"), arguments.get("after"))

    def launch_agent(self, id: str) -> LaunchAgent | None:
        return self._state.agents.get(id)

    def artifact(self, id: str) -> artifacts.Artifact | None:
        """Return a version of an artifact."""
        return self._state.artifacts.get(id)

    def server_info(self) -> dict[str, Any]:
        """Return the server's version limits and features."""
        return {
            "cliVersionInfo": {"max_cli_version": "99.0.0", "min_cli_version": "0.10.0"},
            "latestLocalVersionInfo": None,
            "features": [{"name": name, "isEnabled": True} for name in FEATURES],
            "exposesExplicitRunQueueAckPath": True,
            "pollingOK": True,
        }


class Mutation:
    """The fields of Mutation. Each takes its input as in the schema, and can raise Refused."""

    def __init__(self, state: State) -> None:
        self._state = state

    # --- queues
    def create_default_resource_config(self, input: dict[str, Any]) -> dict[str, Any]:
        """Store a queue's configuration."""
        config_id = opaque("DefaultResourceConfig", self._state.number())
        variables = json.loads(input.get("templateVariables") or "null") or {}
        config = ResourceConfig(config_id, input["resource"], json.loads(input["config"]), variables)
        self._state.resource_configs[config_id] = config
        return {"defaultResourceConfigID": config_id, "success": True}

    def create_run_queue(self, input: dict[str, Any]) -> dict[str, Any]:
        project = self._state.project(input.get("entityName"), input["projectName"])
        name = input["queueName"]
        if name in project.queues:
            raise Refused(f"run queue {name} already exists", 409)
        queue = RunQueue(
            opaque("RunQueue", self._state.number()),
            name,
            project,
            access=input["access"],
            prioritization_mode=input.get("prioritizationMode") or "DISABLED",
            default_resource_config_id=input.get("defaultResourceConfigID"),
        )
        project.queues[name] = queue
        return {"success": True, "queueID": queue.id}

    def upsert_run_queue(self, input: dict[str, Any]) -> dict[str, Any]:
        """Create a queue with its configuration, or replace an existing queue's configuration."""
        project = self._state.project(input.get("entityName"), input["projectName"])
        stored = self.create_default_resource_config(
            {
                "resource": input["resourceType"],
                "config": input["resourceConfig"],
                "templateVariables": input.get("templateVariables"),
            }
        )
        queue = project.queues.get(input["queueName"])
        if queue is None:
            self.create_run_queue({**input, "access": "PROJECT"})
            queue = project.queues[input["queueName"]]
        queue.default_resource_config_id = stored["defaultResourceConfigID"]
        queue.prioritization_mode = input.get("prioritizationMode") or queue.prioritization_mode
        queue.external_links = json.loads(input.get("externalLinks") or "null")
        return {"success": True, "configSchemaValidationErrors": []}

    def push_to_run_queue_by_name(self, input: dict[str, Any]) -> dict[str, Any]:
        queue = self._queue(input)
        values = json.loads(input.get("templateVariableValues") or "null") or {}
        item = queue.push(json.loads(input["runSpec"]), input.get("priority"), values)
        return {"runQueueItemId": item.id, "runSpec": json.dumps(item.run_spec)}

    def pop_from_run_queue(self, input: dict[str, Any]) -> dict[str, Any] | None:
        """Lease the next item of a queue."""
        item = self._queue(input).pop(input.get("launchAgentId"))
        return {"runQueueItemId": item.id, "runSpec": item.run_spec} if item else None

    def ack_run_queue_item(self, input: dict[str, Any]) -> dict[str, Any]:
        return {"success": self._item(input).ack(input["runName"])}

    def fail_run_queue_item(self, input: dict[str, Any]) -> dict[str, Any]:
        self._item(input).fail(_note(input))
        return {"success": True}

    def update_run_queue_item_warning(self, input: dict[str, Any]) -> dict[str, Any]:
        """Put a warning on an item."""
        self._item(input).warnings.append(_note(input))
        return {"success": True}

    def delete_from_run_queue(self, input: dict[str, Any]) -> dict[str, Any]:
        item = self._item(input)
        item.queue.remove(item)
        return {"success": True, "clientMutationId": input.get("clientMutationId")}

    def delete_run_queues(self, input: dict[str, Any]) -> dict[str, Any]:
        """Delete queues with their items. Raises Refused if one does not exist; then none is deleted."""
        known = {queue.id: queue for project in self._state.projects.values() for queue in project.run_queues}
        for queue_id in input["queueIDs"]:
            if queue_id not in known:
                raise Refused(f"run queue {queue_id} not found", 404)
        for queue in (known[queue_id] for queue_id in input["queueIDs"]):
            for item in list(queue.items.values()):
                queue.remove(item)
            del queue.project.queues[queue.name]
        return {"success": True, "clientMutationId": input.get("clientMutationId")}

    def _queue(self, given: dict[str, Any]) -> RunQueue:
        project = self._state.find_project(given.get("entityName"), given.get("projectName"))
        queue = project.run_queue(given["queueName"]) if project else None
        if queue is None:
            raise Refused(f"run queue {given['queueName']} not found", 404)
        return queue

    def _item(self, given: dict[str, Any]) -> RunQueueItem:
        item_id = given["runQueueItemId"]
        if item_id not in self._state.items:
            raise Refused(f"run queue item {item_id} not found", 404)
        return self._state.items[item_id]

    # --- launch agents
    def create_launch_agent(self, input: dict[str, Any]) -> dict[str, Any]:
        project = self._state.project(input["entityName"], input["projectName"])
        agent = LaunchAgent(
            opaque("LaunchAgent", self._state.number()),
            project,
            input["runQueues"],
            input["hostname"],
            input.get("agentConfig"),
            input.get("version"),
        )
        self._state.agents[agent.id] = agent
        return {"launchAgentId": agent.id, "success": True}

    def update_launch_agent(self, input: dict[str, Any]) -> dict[str, Any]:
        """Store a launch agent's status; it also counts as a heartbeat."""
        agent = self._state.agents.get(input["launchAgentId"])
        if agent is None:
            raise Refused(f"launch agent {input['launchAgentId']} not found", 404)
        agent.agent_status = input.get("agentStatus") or agent.agent_status
        agent.stop_polling = agent.stop_polling if input.get("stopPolling") is None else input["stopPolling"]
        agent.heartbeat_at = timestamp()
        return {"success": True}

    # --- runs
    def upsert_model(self, input: dict[str, Any]) -> dict[str, Any]:
        """Create a project."""
        known = self._state.find_project(input.get("entityName"), input["name"])
        project = self._state.project(input.get("entityName"), input["name"])
        return {"project": project, "model": project, "inserted": known is None}

    def upsert_bucket(self, input: dict[str, Any]) -> dict[str, Any]:
        """Create or change a run; the public API names the run that it changes by its storage id."""
        known = self._run(input["id"]) if input.get("id") else None
        project = known.project if known else self._state.project(input.get("entityName"), input.get("modelName"))
        run, inserted = runs.upsert(project, {**input, "name": known.name} if known else input)
        return {"bucket": run, "inserted": inserted}

    def stop_run(self, input: dict[str, Any]) -> dict[str, Any]:
        """Ask a run to stop."""
        self._run(input["id"]).stopped = True
        return {"success": True}

    def update_run_state(self, input: dict[str, Any]) -> dict[str, Any]:
        """Change a run's state, if the server allows it."""
        run = self._run(input["id"])
        allowed = {"pending": ("running", "failed", "crashed", "preempted"), "failed": ("pending", "running")}
        if run.sweep_name or run.state not in allowed.get(input["state"], ()):
            raise Refused(f"run {run.name} cannot go from {run.state} to {input['state']}")
        run.state = input["state"]
        return {"success": True}

    def delete_run(self, input: dict[str, Any]) -> dict[str, Any]:
        run = self._run(input["id"])
        del run.project.runs_by_id[run.name]
        return {}

    def _run(self, storage_id: str) -> runs.Run:
        parts = base64.b64decode(storage_id).decode().split(":")
        project = self._state.find_project(parts[-1], parts[-2])
        run = project.run(":".join(parts[2:-2])) if project else None
        if run is None:
            raise Refused("run not found", 404)
        return run

    def create_run_files(self, input: dict[str, Any]) -> dict[str, Any]:
        """Return the addresses to upload a run's files to."""
        run = self._run_by_name(input)
        return {"runID": run.id, "uploadHeaders": [], "files": [run.file(name) for name in input["files"]]}

    def mark_run_files_uploaded(self, input: dict[str, Any]) -> dict[str, Any]:
        """Return whether a run's files have arrived."""
        run = self._run_by_name(input)
        return {"success": all(run.file(name).uploaded for name in input["files"])}

    def _run_by_name(self, given: dict[str, Any]) -> runs.Run:
        project = self._state.find_project(given["entityName"], given["projectName"])
        run = project.run(given["runName"]) if project else None
        if run is None:
            raise Refused(f"run {given['runName']} not found", 404)
        return run

    # --- artifacts
    def create_artifact(self, input: dict[str, Any]) -> dict[str, Any]:
        """Create a version."""
        return {"artifact": artifacts.create_artifact(self._state, input)}

    def create_artifact_manifest(self, input: dict[str, Any]) -> dict[str, Any]:
        """Add a manifest to a version."""
        return {"artifactManifest": artifacts.create_manifest(self._state, input)}

    def create_artifact_files(self, input: dict[str, Any]) -> dict[str, Any]:
        """Return the addresses to upload the files of versions to."""
        return {"files": connection(artifacts.create_files(self._state, input))}

    def commit_artifact(self, input: dict[str, Any]) -> dict[str, Any]:
        artifact = artifacts.find_artifact(self._state, input["artifactID"])
        artifact.commit()
        return {"artifact": artifact}

    def use_artifact(self, input: dict[str, Any]) -> dict[str, Any]:
        """Record that a run uses a version."""
        artifact = artifacts.find_artifact(self._state, input["artifactID"])
        used = self._run_by_name(input).used_artifacts
        if artifact not in used:
            used.append(artifact)
        return {"artifact": artifact}

    # --- sweeps
    def upsert_sweep(self, input: dict[str, Any]) -> dict[str, Any]:
        """Create or change a sweep."""
        sweep = sweeps.upsert_sweep(self._state, input)
        return {"sweep": sweep, "configValidationWarnings": sweep.warnings}

    def create_agent(self, input: dict[str, Any]) -> dict[str, Any]:
        """Register an agent of a sweep."""
        return {"agent": sweeps.create_agent(self._state, input)}

    def agent_heartbeat(self, input: dict[str, Any]) -> dict[str, Any]:
        """Answer an agent's heartbeat with its next commands."""
        agent, commands = sweeps.heartbeat(self._state, input)
        return {"agent": agent, "commands": json.dumps(commands)}


def _note(given: dict[str, Any]) -> dict[str, Any]:
    return {"message": given["message"], "stage": given["stage"], "filePaths": given.get("filePaths") or []}
