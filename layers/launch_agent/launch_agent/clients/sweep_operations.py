"""The GraphQL operations for sweeps, with many sweeps and runs in one document."""

from collections.abc import Sequence
from typing import Any

from launch_agent.clients.graphql import Operation
from launch_agent.clients.wandb_operations import LAUNCH_PROJECT

Path = tuple[str, str, str]
"""An entity, a project or a queue, and an id."""


def sweep(entity: str, project: str, sweep_id: str) -> Operation:
    """Ask for a sweep, its runs, and the configuration of its scheduler's run, which has the sweep's id."""
    document = """query Sweep($entity: String!, $project: String!, $sweep: String!) {
  project(entityName: $entity, name: $project) {
    sweep(sweepName: $sweep) { state config runs { edges { node { state historyLineCount } } } }
    run(name: $sweep) { config }
  }
}"""
    return Operation(document, {"entity": entity, "project": project, "sweep": sweep_id}, repeatable=True)


def sweep_states(sweeps: Sequence[Path], runs: Sequence[Path], items: Sequence[Path]) -> Operation:
    """Ask for the states of sweeps (`sweep<n>`), runs (`run<n>`) and run queue items (`item<n>`).

    With each sweep, ask whether someone stopped its scheduler's run.
    """
    asked = {
        "sweep": (sweeps, "sweep(sweepName: $id) { id state runCount runCountExpected } run(name: $id) { stopped }"),
        "run": (runs, "run(name: $id) { state }"),
        "item": (items, "runQueue(name: $where) { runQueueItem(id: $id) { state } }"),
    }
    parameters, parts, variables = [], [], dict[str, Any]()
    for kind, (paths, fields) in asked.items():
        for n, (entity, where, identifier) in enumerate(paths):
            name = f"{kind}{n}"
            id_type = "ID" if kind == "item" else "String"
            parameters.append(f"$entity_{name}: String!, $where_{name}: String!, $id_{name}: {id_type}!")
            project = f'"{LAUNCH_PROJECT}"' if kind == "item" else f"$where_{name}"
            inner = fields.replace("$id", f"$id_{name}").replace("$where", f"$where_{name}")
            parts.append(f"  {name}: project(entityName: $entity_{name}, name: {project}) {{ {inner} }}")
            variables |= {f"entity_{name}": entity, f"where_{name}": where, f"id_{name}": identifier}
    document = f"query SweepStates({', '.join(parameters)}) {{\n" + "\n".join(parts) + "\n}"
    return Operation(document, variables, repeatable=True)


def create_sweep_agents(entity: str, project: str, sweep_id: str, hosts: Sequence[str]) -> Operation:
    """Register an agent of a sweep for each host; the n-th answer is `agent<n>`. Sent twice, it registers more."""
    inputs = [{"entityName": entity, "projectName": project, "sweep": sweep_id, "host": host} for host in hosts]
    return _many("CreateSweepAgents", "agent", "createAgent", "CreateAgentInput", "agent { id }", inputs)


def sweep_heartbeats(agents: Sequence[str]) -> Operation:
    """Ask for the next commands of sweep agents without runs; the n-th answer is `agent<n>`.

    W&B gives each command once, so if the answer is lost, its runs have to be looked up.
    """
    inputs = [{"id": agent, "metrics": "{}", "runState": "{}"} for agent in agents]
    return _many("SweepHeartbeats", "agent", "agentHeartbeat", "AgentHeartbeatInput", "commands", inputs)


def runs_of_sweep_agents(entity: str, project: str, sweep_id: str) -> Operation:
    """Ask for the agents of a sweep, with the last runs of each and their parameters."""
    document = """query RunsOfSweepAgents($entity: String!, $project: String!, $sweep: String!) {
  project(entityName: $entity, name: $project) {
    sweep(sweepName: $sweep) {
      agents { edges { node { id runs(first: 10, order: "-created_at") { edges { node { name state config } } } } } }
    }
  }
}"""
    return Operation(document, {"entity": entity, "project": project, "sweep": sweep_id}, repeatable=True)


def push_runs(inputs: Sequence[dict[str, Any]]) -> Operation:
    """Queue runs; each is a PushToRunQueueByNameInput, and the n-th answer is `push<n>`. Sent twice, it queues more."""
    return _many(
        "PushRuns", "push", "pushToRunQueueByName", "PushToRunQueueByNameInput", "runQueueItemId", list(inputs)
    )


def first_items(entity: str, queue: str, after: str | None) -> Operation:
    """Ask for a page of the items of a run queue from its beginning, or after the cursor `after`."""
    return _items(entity, queue, "first: 100, after: $cursor", "cursor: endCursor goesOn: hasNextPage", after)


def last_items(entity: str, queue: str, before: str | None) -> Operation:
    """Ask for a page of the items of a run queue from its end, or before the cursor `before`."""
    return _items(entity, queue, "last: 100, before: $cursor", "cursor: startCursor goesOn: hasPreviousPage", before)


def _items(entity: str, queue: str, part: str, info: str, cursor: str | None) -> Operation:
    document = f"""query QueuePage($entity: String!, $project: String!, $queue: String!, $cursor: String) {{
  project(entityName: $entity, name: $project) {{
    runQueue(name: $queue) {{
      runQueueItems({part}) {{
        pageInfo {{ {info} }}
        edges {{ node {{ id createdAt runSpec }} }}
      }}
    }}
  }}
}}"""
    variables = {"entity": entity, "project": LAUNCH_PROJECT, "queue": queue, "cursor": cursor}
    return Operation(document, variables, repeatable=True)


def stop_runs(ids: Sequence[str]) -> Operation:
    """Stop runs, given by their storage ids."""
    inputs = [{"id": each} for each in ids]
    return _many("StopRuns", "run", "stopRun", "StopRunInput", "success", inputs, repeatable=True)


def upsert_runs(inputs: Sequence[dict[str, Any]]) -> Operation:
    """Create or change runs; each is an UpsertBucketInput."""
    return _many(
        "UpsertRuns", "run", "upsertBucket", "UpsertBucketInput", "bucket { id }", list(inputs), repeatable=True
    )


def set_sweep_state(storage_id: str, entity: str, project: str, state: str) -> Operation:
    """Change the state of a sweep."""
    document = "mutation SetSweepState($input: UpsertSweepInput!) { upsertSweep(input: $input) { sweep { name } } }"
    variables = {"id": storage_id, "entityName": entity, "projectName": project, "state": state}
    return Operation(document, {"input": variables}, repeatable=True)


def _many(
    operation: str,
    name: str,
    mutation: str,
    kind: str,
    fields: str,
    inputs: Sequence[dict[str, Any]],
    *,
    repeatable: bool = False,
) -> Operation:
    """Return a document that sends a mutation once for each input, in their order."""
    numbers = range(len(inputs))
    parameters = ", ".join(f"$input{n}: {kind}!" for n in numbers)
    parts = "\n".join(f"  {name}{n}: {mutation}(input: $input{n}) {{ {fields} }}" for n in numbers)
    document = f"mutation {operation}({parameters}) {{\n{parts}\n}}"
    return Operation(document, {f"input{n}": given for n, given in enumerate(inputs)}, repeatable)
