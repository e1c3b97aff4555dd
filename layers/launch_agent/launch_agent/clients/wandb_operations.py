"""The GraphQL operations that this launch agent sends to W&B. Tests check each against W&B's schema."""

from collections.abc import Mapping, Sequence
from typing import Any

from launch_agent.clients.graphql import Operation
from launch_agent.run_queue.items import RunPath

LAUNCH_PROJECT = "model-registry"
"""The project with the run queues and launch agents of every entity."""


def viewer() -> Operation:
    """Ask for the account of the API key, and its default entity."""
    return Operation("query Viewer { viewer { entity username } }", {}, repeatable=True)


def entity(name: str) -> Operation:
    """Ask for a user's or a team's entity."""
    return Operation("query Entity($name: String!) { entity(name: $name) { id } }", {"name": name}, repeatable=True)


def run_queues(entity: str) -> Operation:
    """Ask for the run queues of an entity, and the id of each one's configuration."""
    document = """query RunQueues($entity: String!, $project: String!) {
  project(entityName: $entity, name: $project) { runQueues { id name defaultResourceConfigID } }
}"""
    return Operation(document, {"entity": entity, "project": LAUNCH_PROJECT}, repeatable=True)


def create_launch_agent(entity: str, queue_ids: Sequence[str], hostname: str, config: str, version: str) -> Operation:
    """Register a launch agent for the queues. `config` is JSON. Sent twice, it registers two agents."""
    document = """mutation CreateLaunchAgent($input: CreateLaunchAgentInput!) {
  createLaunchAgent(input: $input) { launchAgentId }
}"""
    variables = {
        "entityName": entity,
        "projectName": LAUNCH_PROJECT,
        "runQueues": list(queue_ids),
        "hostname": hostname,
        "agentConfig": config,
        "version": version,
    }
    return Operation(document, {"input": variables}, repeatable=False)


def launch_agent(agent_id: str) -> Operation:
    """Ask for a launch agent's name, and whether an operator stopped its polling."""
    document = "query LaunchAgent($id: ID!) { launchAgent(id: $id) { id name stopPolling } }"
    return Operation(document, {"id": agent_id}, repeatable=True)


def launch_agent_and_stops(agent_id: str, runs: Sequence[RunPath]) -> Operation:
    """Ask as `launch_agent` does and, as `run<n>`, whether the n-th run was stopped."""
    parameters = "".join(f", $entity{n}: String!, $project{n}: String!, $run{n}: String!" for n in range(len(runs)))
    asked = "".join(
        f"  run{n}: project(entityName: $entity{n}, name: $project{n}) {{ run(name: $run{n}) {{ stopped }} }}\n"
        for n in range(len(runs))
    )
    agent = "  launchAgent(id: $id) { id name stopPolling }\n"
    document = f"query LaunchAgentAndStops($id: ID!{parameters}) {{\n{agent}{asked}}}"
    variables = {"id": agent_id}
    for n, (entity, project, run) in enumerate(runs):
        variables |= {f"entity{n}": entity, f"project{n}": project, f"run{n}": run}
    return Operation(document, variables, repeatable=True)


def upsert_run(run: dict[str, Any]) -> Operation:
    """Create or change a run; `run` is an UpsertBucketInput."""
    document = "mutation UpsertRun($input: UpsertBucketInput!) { upsertBucket(input: $input) { bucket { id name } } }"
    return Operation(document, {"input": run}, repeatable=True)


def update_and_pop(agent_id: str, status: str, entity: str, queues: Sequence[str]) -> Operation:
    """Report the agent's status, unless empty, and pop once from each of `queues`. The n-th answer is `pop<n>`.

    If the answer of a pop is lost, its item stays leased, and returns to its queue when the lease ends.
    """
    names = {name: f"queue{index}" for index, name in enumerate(dict.fromkeys(queues))}
    parameters = "".join(f", ${variable}: String!" for variable in names.values())
    pops = "\n".join(
        f"  pop{index}: popFromRunQueue(input: {{entityName: $entity, projectName: $project, "
        f"queueName: ${names[queue]}, launchAgentId: $agent}}) {{ runQueueItemId runSpec }}"
        for index, queue in enumerate(queues)
    )
    update = "  updateLaunchAgent(input: {launchAgentId: $agent, agentStatus: $status}) { success }\n" if status else ""
    fixed = "$agent: ID!, $entity: String!, $project: String!" + (", $status: String" if status else "")
    document = f"""mutation UpdateAndPop({fixed}{parameters}) {{
{update}{pops}
}}"""
    variables = {"agent": agent_id, "entity": entity, "project": LAUNCH_PROJECT}
    given = {"status": status} if status else {}
    return Operation(document, {**variables, **given, **{names[name]: name for name in names}}, repeatable=False)


def update_launch_agent(agent_id: str, status: str) -> Operation:
    """Report the agent's status, POLLING, RUNNING or KILLED. It is the agent's heartbeat."""
    document = """mutation UpdateLaunchAgent($agent: ID!, $status: String!) {
  updateLaunchAgent(input: {launchAgentId: $agent, agentStatus: $status}) { success }
}"""
    return Operation(document, {"agent": agent_id, "status": status}, repeatable=True)


def ack_item(item_id: str, run_id: str) -> Operation:
    """Acknowledge a leased item with the id of its run. After a refusal, the caller checks who has the item."""
    document = """mutation AckItem($item: ID!, $run: String!) {
  ackRunQueueItem(input: {runQueueItemId: $item, runName: $run}) { success }
}"""
    return Operation(document, {"item": item_id, "run": run_id}, repeatable=True)


def queue_item(entity: str, queue: str, item_id: str) -> Operation:
    """Ask which launch agent and run an item belongs to."""
    document = """query QueueItem($entity: String!, $project: String!, $queue: String!, $item: ID!) {
  project(entityName: $entity, name: $project) {
    runQueue(name: $queue) { runQueueItem(id: $item) { state associatedRunId launchAgentId } }
  }
}"""
    variables = {"entity": entity, "project": LAUNCH_PROJECT, "queue": queue, "item": item_id}
    return Operation(document, variables, repeatable=True)


def queue_items(entity: str, queues: Sequence[str]) -> Operation:
    """Ask for the first and the last 100 items of each of `queues`: W&B does not say which of them are the oldest.

    The n-th answer is `queue<n>`.
    """
    parameters = "".join(f", $queue{n}: String!" for n in range(len(queues)))
    fields = "{ edges { node { id state createdAt } } }"
    lists = f"first: runQueueItems(first: 100) {fields} last: runQueueItems(last: 100) {fields}"
    asked = "\n".join(f"    queue{n}: runQueue(name: $queue{n}) {{ {lists} }}" for n in range(len(queues)))
    document = f"""query QueueItems($entity: String!, $project: String!{parameters}) {{
  project(entityName: $entity, name: $project) {{
{asked}
  }}
}}"""
    names = {f"queue{n}": name for n, name in enumerate(queues)}
    return Operation(document, {"entity": entity, "project": LAUNCH_PROJECT, **names}, repeatable=True)


def run_spec(entity: str, queue: str, item_id: str) -> Operation:
    """Ask for the run spec of an item."""
    document = """query RunSpec($entity: String!, $project: String!, $queue: String!, $item: ID!) {
  project(entityName: $entity, name: $project) { runQueue(name: $queue) { runQueueItem(id: $item) { runSpec } } }
}"""
    variables = {"entity": entity, "project": LAUNCH_PROJECT, "queue": queue, "item": item_id}
    return Operation(document, variables, repeatable=True)


def queue_configuration(entity: str, queue: str) -> Operation:
    """Ask for the id of a queue's resource configuration."""
    document = """query QueueConfiguration($entity: String!, $project: String!, $queue: String!) {
  project(entityName: $entity, name: $project) { runQueue(name: $queue) { defaultResourceConfigID } }
}"""
    return Operation(document, {"entity": entity, "project": LAUNCH_PROJECT, "queue": queue}, repeatable=True)


def resource_configuration(entity: str, configuration_id: str) -> Operation:
    """Ask for a resource configuration of an entity."""
    document = """query ResourceConfiguration($entity: String!, $id: ID!) {
  entity(name: $entity) { defaultResourceConfig(id: $id) { config } }
}"""
    return Operation(document, {"entity": entity, "id": configuration_id}, repeatable=True)


def whole_resource_configuration(entity: str, configuration_id: str) -> Operation:
    """Ask for a resource configuration with its resource and its template variables."""
    document = """query WholeResourceConfiguration($entity: String!, $id: ID!) {
  entity(name: $entity) { defaultResourceConfig(id: $id) { resource config templateVariables { name schema } } }
}"""
    return Operation(document, {"entity": entity, "id": configuration_id}, repeatable=True)


def create_launch_project(entity: str) -> Operation:
    """Create the launch project of an entity, which a new entity does not have. An existing one does not change."""
    document = "mutation UpsertModel($input: UpsertModelInput!) { upsertModel(input: $input) { model { name } } }"
    return Operation(document, {"input": {"name": LAUNCH_PROJECT, "entityName": entity}}, repeatable=True)


def upsert_run_queue(entity: str, name: str, resource: str, config: str, variables: str) -> Operation:
    """Create a run queue, or replace its configuration. `config` and `variables` are JSON, as the SDK sends them
    (wandb/apis/public/api.py, `upsert_run_queue`).
    """
    document = """mutation UpsertRunQueue($input: UpsertRunQueueInput!) {
  upsertRunQueue(input: $input) { success configSchemaValidationErrors }
}"""
    given = {
        "entityName": entity,
        "projectName": LAUNCH_PROJECT,
        "queueName": name,
        "resourceType": resource,
        "resourceConfig": config,
        "templateVariables": variables,
        "prioritizationMode": "DISABLED",
    }
    return Operation(document, {"input": given}, repeatable=True)


def fail_item(item_id: str, message: str, stage: str, files: Sequence[str]) -> Operation:
    """Fail an item. `files` are names of files of the agent's run."""
    document = "mutation FailItem($input: FailRunQueueItemInput!) { failRunQueueItem(input: $input) { success } }"
    return Operation(document, {"input": _note(item_id, message, stage, files)}, repeatable=True)


def warn_item(item_id: str, message: str, stage: str, files: Sequence[str]) -> Operation:
    """Put a warning on an item without changing its state. `files` are names of files of the agent's run."""
    document = """mutation WarnItem($input: UpdateRunQueueItemWarningInput!) {
  updateRunQueueItemWarning(input: $input) { success }
}"""
    return Operation(document, {"input": _note(item_id, message, stage, files)}, repeatable=True)


def warn_items(messages: Mapping[str, str], stage: str) -> Operation:
    """Put a warning on each of several items, by their ids. The n-th answer is `warn<n>`."""
    inputs = {f"input{n}": _note(item_id, text, stage, ()) for n, (item_id, text) in enumerate(messages.items())}
    parameters = ", ".join(f"${name}: UpdateRunQueueItemWarningInput!" for name in inputs)
    warnings = "\n".join(
        f"  warn{n}: updateRunQueueItemWarning(input: ${name}) {{ success }}" for n, name in enumerate(inputs)
    )
    return Operation(f"mutation WarnItems({parameters}) {{\n{warnings}\n}}", inputs, repeatable=True)


def _note(item_id: str, message: str, stage: str, files: Sequence[str]) -> dict[str, Any]:
    return {"runQueueItemId": item_id, "message": message, "stage": stage, "filePaths": list(files)}


def create_run_files(entity: str, run_id: str, files: Sequence[str]) -> Operation:
    """Create files of a run in the launch project, and ask for the addresses to upload them to."""
    document = """mutation CreateRunFiles($input: CreateRunFilesInput!) {
  createRunFiles(input: $input) { uploadHeaders files { name uploadUrl } }
}"""
    return Operation(document, {"input": _run_files(entity, run_id, files)}, repeatable=True)


def mark_run_files_uploaded(entity: str, run_id: str, files: Sequence[str]) -> Operation:
    """Report that files of a run in the launch project are uploaded. Self-hosted servers need this report."""
    document = """mutation MarkRunFilesUploaded($input: MarkRunFilesUploadedInput!) {
  markRunFilesUploaded(input: $input) { success }
}"""
    return Operation(document, {"input": _run_files(entity, run_id, files)}, repeatable=True)


def _run_files(entity: str, run_id: str, files: Sequence[str]) -> dict[str, Any]:
    return {"entityName": entity, "projectName": LAUNCH_PROJECT, "runName": run_id, "files": list(files)}


def server_features() -> Operation:
    """Ask for the features of the server."""
    return Operation("query ServerFeatures { serverInfo { features { name isEnabled } } }", {}, repeatable=True)


def run_state(entity: str, project: str, run_id: str) -> Operation:
    """Ask for the state of a run, whether it was stopped, its sweep, and which run queue item it was launched for.

    The wandb SDK stores that item as `launch_trace_id` in its own part of the config (wandb/sdk/wandb_run.py).
    """
    document = """query RunState($entity: String!, $project: String!, $run: String!) {
  project(entityName: $entity, name: $project) {
    run(name: $run) { state stopped sweepName wandbConfig(keys: ["launch_trace_id"]) }
  }
}"""
    return Operation(document, {"entity": entity, "project": project, "run": run_id}, repeatable=True)


def run_contents(entity: str, project: str, run_id: str) -> Operation:
    """Ask for the config and the summary of a run, as JSON."""
    document = """query RunContents($entity: String!, $project: String!, $run: String!) {
  project(entityName: $entity, name: $project) { run(name: $run) { config summaryMetrics } }
}"""
    return Operation(document, {"entity": entity, "project": project, "run": run_id}, repeatable=True)


def sweep_state(entity: str, project: str, sweep_id: str) -> Operation:
    """Ask for the state of a sweep."""
    document = """query SweepState($entity: String!, $project: String!, $sweep: String!) {
  project(entityName: $entity, name: $project) { sweep(sweepName: $sweep) { state } }
}"""
    return Operation(document, {"entity": entity, "project": project, "sweep": sweep_id}, repeatable=True)


def artifact_files(entity: str, project: str, collection: str, alias: str) -> Operation:
    """Ask for a version of an artifact and the addresses of its first 100 files; a job has only a few."""
    document = """query ArtifactFiles($entity: String!, $project: String!, $collection: String!, $alias: String!) {
  project(entityName: $entity, name: $project) {
    artifactCollection(name: $collection) {
      artifactMembership(aliasName: $alias) {
        artifact { id digest state artifactType { name } }
        files(first: 100) { edges { node { name directUrl } } }
      }
    }
  }
}"""
    variables = {"entity": entity, "project": project, "collection": collection, "alias": alias}
    return Operation(document, variables, repeatable=True)


def artifact(artifact_id: str) -> Operation:
    """Ask for an artifact and the address of its manifest."""
    document = """query Artifact($id: ID!) {
  artifact(id: $id) { id digest state currentManifest { file { directUrl } } }
}"""
    return Operation(document, {"id": artifact_id}, repeatable=True)


def files_of_artifact(artifact_id: str, after: str | None) -> Operation:
    """Ask for a page of an artifact's files with their addresses, starting after the cursor `after`."""
    document = """query FilesOfArtifact($id: ID!, $after: String) {
  artifact(id: $id) {
    files(first: 1000, after: $after) { pageInfo { endCursor hasNextPage } edges { node { name directUrl } } }
  }
}"""
    return Operation(document, {"id": artifact_id, "after": after}, repeatable=True)


def create_artifact(artifact: dict[str, Any]) -> Operation:
    """Create a version of an artifact; `artifact` is a CreateArtifactInput. Sent twice, it creates one version."""
    document = """mutation CreateArtifact($input: CreateArtifactInput!) {
  createArtifact(input: $input) { artifact { id state } }
}"""
    return Operation(document, {"input": artifact}, repeatable=True)


def create_artifact_manifest(artifact_id: str, digest: str, entity: str, project: str, run_id: str) -> Operation:
    """Announce the manifest of an artifact with this MD5, and ask for the address to upload it to."""
    document = """mutation CreateArtifactManifest($input: CreateArtifactManifestInput!) {
  createArtifactManifest(input: $input) { artifactManifest { id file { uploadUrl uploadHeaders } } }
}"""
    manifest = {
        "artifactID": artifact_id,
        "name": "wandb_manifest.json",
        "type": "FULL",
        "digest": digest,
        "entityName": entity,
        "projectName": project,
        "runName": run_id,
    }
    return Operation(document, {"input": manifest}, repeatable=True)


def commit_artifact(artifact_id: str) -> Operation:
    """Make a version of an artifact visible. Its manifest has to be uploaded."""
    document = """mutation CommitArtifact($input: CommitArtifactInput!) {
  commitArtifact(input: $input) { artifact { id } }
}"""
    return Operation(document, {"input": {"artifactID": artifact_id}}, repeatable=True)
