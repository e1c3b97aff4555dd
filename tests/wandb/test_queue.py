"""Run queues: leases, acknowledgements, failures, priorities, templates, and each switch of the server's behaviour."""

import json
from typing import Any

import pytest

from local.wandb import Behaviour, WandbServer
from tests.wandb.client import API_KEY

SPEC = {"entity": "team", "project": "p"}
WHERE = 'entityName: "team", projectName: "model-registry"'
POP = (
    "mutation P($queue: String!, $agent: ID) { popFromRunQueue(input: "
    f"{{{WHERE}, queueName: $queue, launchAgentId: $agent}}) {{ runQueueItemId runSpec }} }}"
)
ACK = """mutation A($item: ID!, $run: String = "run") {
  ackRunQueueItem(input: {runQueueItemId: $item, runName: $run}) { success }
}"""
FAIL = """mutation F($item: ID!) {
  failRunQueueItem(input: {runQueueItemId: $item, message: "m", stage: "agent"}) { success }
}"""
DELETE = """mutation D($queue: ID!, $item: ID!) {
  deleteFromRunQueue(input: {queueID: $queue, runQueueItemId: $item}) { success clientMutationId }
}"""
REGISTER = """mutation R($queues: [ID!]!) {
  createLaunchAgent(input: {entityName: "team", projectName: "model-registry", runQueues: $queues, hostname: "h"}) {
    launchAgentId
  }
}"""


class Queue:
    """One queue on its own server, with a launch agent's operations."""

    def __init__(
        self, *, prioritization: str = "DISABLED", config: dict[str, Any] | None = None, **behaviour: Any
    ) -> None:
        self.server = WandbServer(entity="team", api_key=API_KEY, behaviour=Behaviour(**behaviour))
        self.queue = self.server.create_queue("sm", config=config or {}, prioritization=prioritization)
        self.agent = self.do(REGISTER, queues=[self.queue.id])["createLaunchAgent"]["launchAgentId"]

    def do(self, document: str, **variables: Any) -> Any:
        answer, _ = self.server.execute(document, variables)
        assert "errors" not in answer, answer
        return answer["data"]

    def refused(self, document: str, **variables: Any) -> int:
        answer, status = self.server.execute(document, variables)
        assert answer["errors"]
        return status

    def push(self, **spec: Any) -> str:
        return self.server.push("sm", {**SPEC, **spec})

    def pop(self) -> str | None:
        popped = self.do(POP, queue="sm", agent=self.agent)["popFromRunQueue"]
        return str(popped["runQueueItemId"]) if popped else None

    def ack(self, item: str, run: str = "run") -> bool:
        return bool(self.do(ACK, item=item, run=run)["ackRunQueueItem"]["success"])

    def state(self, item: str) -> str:
        return self.server.state.items[item].state.value


def test_an_item_is_leased_then_claimed() -> None:
    queue = Queue()
    item = queue.push()
    assert queue.state(item) == "PENDING"
    assert queue.pop() == item
    assert queue.state(item) == "LEASED"
    assert queue.pop() is None
    assert queue.ack(item)
    assert queue.state(item) == "CLAIMED"
    assert queue.server.state.items[item].associated_run_id == "run"
    assert queue.server.state.items[item].launch_agent_id == queue.agent


def test_a_lease_that_ends_puts_the_item_back_at_its_old_place() -> None:
    queue = Queue(lease_seconds=0)
    first, second = queue.push(), queue.push()
    assert [queue.pop(), queue.pop()] == [first, first]
    assert queue.state(second) == "PENDING"


@pytest.mark.parametrize("accepted", [True, False])
def test_an_acknowledgement_after_the_lease_is_as_the_switch_says(accepted: bool) -> None:
    queue = Queue(lease_seconds=0, late_ack=accepted)
    item = queue.push()
    queue.pop()
    assert queue.ack(item) is accepted
    assert queue.state(item) == ("CLAIMED" if accepted else "PENDING")


@pytest.mark.parametrize("accepted", [True, False])
def test_a_repeated_acknowledgement_is_as_the_switch_says_and_another_runs_is_refused(accepted: bool) -> None:
    queue = Queue(repeated_ack=accepted)
    item = queue.push()
    queue.pop()
    assert queue.ack(item)
    assert queue.ack(item) is accepted
    assert queue.ack(item, run="other") is False


def test_an_item_that_is_not_leased_cannot_be_acknowledged() -> None:
    queue = Queue()
    assert queue.ack(queue.push()) is False
    assert queue.refused(ACK, item="unknown") == 404


@pytest.mark.parametrize("accepted", [True, False])
def test_failing_twice_is_as_the_switch_says(accepted: bool) -> None:
    queue = Queue(repeated_fail=accepted)
    item = queue.push()
    queue.do(FAIL, item=item)
    assert queue.server.state.items[item].error == {"message": "m", "stage": "agent", "filePaths": []}
    if accepted:
        queue.do(FAIL, item=item)
    else:
        assert queue.refused(FAIL, item=item) == 409


@pytest.mark.parametrize("accepted", [True, False])
def test_failing_an_item_whose_run_runs_is_as_the_switch_says(accepted: bool) -> None:
    queue = Queue(fail_while_running=accepted)
    item = queue.push()
    queue.pop()
    queue.ack(item)
    upsert = "mutation M($input: UpsertBucketInput!) { upsertBucket(input: $input) { inserted } }"
    queue.do(upsert, input={"name": "run", "entityName": "team", "modelName": "p"})
    if accepted:
        queue.do(FAIL, item=item)
    else:
        assert queue.refused(FAIL, item=item) == 409
        assert queue.state(item) == "CLAIMED"


@pytest.mark.parametrize("accepted", [True, False])
def test_a_pop_by_a_stranger_is_as_the_switch_says(accepted: bool) -> None:
    queue = Queue(pop_by_strangers=accepted)
    queue.push()
    for agent in (None, "unknown"):
        if not accepted:
            assert queue.refused(POP, queue="sm", agent=agent) == 403
    assert queue.pop()


def test_priorities_come_first_and_then_age_where_the_queue_has_priorities() -> None:
    queue = Queue(prioritization="V0")
    low, medium, high = (queue.server.push("sm", SPEC, priority=priority) for priority in (3, None, 1))
    assert [queue.pop(), queue.pop(), queue.pop()] == [high, medium, low]


def test_a_priority_is_refused_where_the_queue_has_none() -> None:
    push = """mutation P($spec: JSONString!) {
      pushToRunQueueByName(
        input: {entityName: "team", projectName: "model-registry", queueName: "sm", runSpec: $spec, priority: 1}
      ) { runQueueItemId }
    }"""
    assert Queue().refused(push, spec=json.dumps(SPEC)) == 400


def test_what_is_pushed_wins_over_the_queues_configuration_key_by_key() -> None:
    queue = Queue(config={"RoleArn": "role", "ResourceConfig": {"InstanceType": "a", "InstanceCount": 1}})
    item = queue.push(resource_args={"sagemaker": {"ResourceConfig": {"InstanceType": "b"}}})
    assert queue.server.state.items[item].run_spec["resource_args"]["sagemaker"] == {
        "RoleArn": "role",
        "ResourceConfig": {"InstanceType": "b", "InstanceCount": 1},
    }
    assert queue.server.state.items[item].run_spec["resource"] == "sagemaker"


def test_an_item_for_another_resource_is_left_as_it_is() -> None:
    queue = Queue(config={"RoleArn": "role"})
    item = queue.push(resource="local-process")
    assert "resource_args" not in queue.server.state.items[item].run_spec


def test_template_variables_are_put_in_with_their_type_and_checked() -> None:
    queue = Queue()
    variables = {
        "type": {"schema": {"type": "string", "enum": ["a", "b"], "default": "a"}},
        "size": {"schema": {"type": "integer", "minimum": 1, "maximum": 9}},
    }
    config = queue.server.state.resource_configs[queue.queue.default_resource_config_id or ""]
    config.variables = variables
    config.config = {"resource_args": {"sagemaker": {"Type": "{{type}}", "Size": "{{size}}", "Text": "{{size}} GB"}}}
    item = queue.queue.push(SPEC, None, {"size": 5})
    assert item.run_spec["resource_args"]["sagemaker"] == {"Type": "a", "Size": 5, "Text": "5 GB"}
    for values in ({}, {"size": 0}, {"size": 10}, {"size": "5"}, {"size": 5, "type": "c"}):
        with pytest.raises(Exception, match="template variable"):
            queue.queue.push(SPEC, None, values)


def test_several_operations_travel_in_one_document_and_in_order() -> None:
    queue = Queue()
    items = [queue.push(), queue.push()]
    pop = '(input: {entityName: "team", projectName: "model-registry", queueName: "%s"}) { runQueueItemId }'
    answer, status = queue.server.execute(
        "mutation { a: popFromRunQueue"
        + pop % "sm"
        + " gone: popFromRunQueue"
        + pop % "gone"
        + " b: popFromRunQueue"
        + pop % "sm"
        + " }",
        {},
    )
    assert status == 200
    assert [answer["data"][name]["runQueueItemId"] for name in "ab"] == items
    assert answer["data"]["gone"] is None
    assert "run queue gone not found" in answer["errors"][0]["message"]


def test_an_unknown_field_is_named_in_the_standard_words() -> None:
    answer, status = Queue().server.execute("query { viewer { shoeSize } }", {})
    assert status == 400
    assert answer["errors"][0]["message"] == "Cannot query field 'shoeSize' on type 'User'."


def test_a_deleted_item_is_not_handed_out_and_cannot_be_acknowledged() -> None:
    queue = Queue()
    leased, waiting = queue.push(), queue.push()
    assert queue.pop() == leased
    for item in (leased, waiting):
        queue.do(DELETE, queue=queue.queue.id, item=item)
    assert queue.pop() is None
    assert queue.refused(ACK, item=leased) == 404
    assert queue.refused(DELETE, queue=queue.queue.id, item=leased) == 404


def test_a_deleted_queue_is_gone_with_its_items() -> None:
    queue = Queue()
    queue.push()
    delete = "mutation D($ids: [ID!]!) { deleteRunQueues(input: {queueIDs: $ids}) { success } }"
    assert queue.refused(delete, ids=[queue.queue.id, "unknown"]) == 404
    assert len(queue.server.state.items) == 1
    queue.do(delete, ids=[queue.queue.id])
    assert queue.server.state.items == {}
    assert queue.refused(POP, queue="sm") == 404
