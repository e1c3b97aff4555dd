"""Executions on the embedded AWS behave as in Step Functions."""

import json
import uuid

import pytest
from botocore.exceptions import ClientError

from local import ACCOUNT_ID, REGION
from tests.e2e.conftest import wait_for
from tests.e2e.workshop import Workshop, task, waiting


def test_an_error_is_caught_by_its_class(shop: Workshop) -> None:
    function = shop.function("class QuotaGone(Exception): pass\ndef handler(e, c): raise QuotaGone('nope')")
    caught = {"ErrorEquals": ["QuotaGone"], "Output": {"was": "{% $states.errorOutput.Error %}"}, "Next": "Caught"}
    machine = shop.machine(Try=task(function, Catch=[caught]), Caught={"Type": "Succeed"})
    execution = shop.ended(shop.start(machine))
    assert (execution["status"], json.loads(execution["output"])) == ("SUCCEEDED", {"was": "QuotaGone"})


def test_a_retry_waits_at_the_clouds_speed_and_counts(shop: Workshop) -> None:
    function = shop.function(
        "class Later(Exception): pass\ndef handler(e, c):\n  if e['n'] < 2: raise Later\n  return e['n']"
    )
    retry = {"ErrorEquals": ["Later"], "IntervalSeconds": 30, "MaxAttempts": 3, "MaxDelaySeconds": 31}
    state = task(function, Payload={"n": "{% $states.context.State.RetryCount %}"}, Retry=[retry])
    execution = shop.ended(shop.start(shop.machine(Try=state | {"Output": "{% $states.result.Payload %}"})))
    assert (execution["status"], execution["output"]) == ("SUCCEEDED", "2")


def test_a_task_token_is_answered_once(shop: Workshop) -> None:
    function = shop.function("def handler(e, c): return 1")
    execution = shop.start(shop.machine(Wait=waiting(function)))
    token = shop.token(execution)
    states = shop.cloud.client("stepfunctions")
    assert 600 <= len(token) <= 1024
    states.send_task_success(taskToken=token, output='{"a": 1}')
    assert json.loads(shop.ended(execution)["output"]) == {"a": 1}
    with pytest.raises(states.exceptions.TaskTimedOut):
        states.send_task_success(taskToken=token, output="{}")
    with pytest.raises(states.exceptions.InvalidToken):
        states.send_task_success(taskToken="A" * 700, output="{}")


def test_a_waiting_task_fails_when_its_function_does(shop: Workshop) -> None:
    function = shop.function("class Broken(Exception): pass\ndef handler(e, c): raise Broken('at once')")
    execution = shop.ended(shop.start(shop.machine(Wait=waiting(function))))
    assert (execution["status"], execution["error"]) == ("FAILED", "Broken")


def test_a_stopped_execution_wakes_and_its_token_is_worth_nothing(shop: Workshop) -> None:
    execution = shop.start(shop.machine(Wait=waiting(shop.function("def handler(e, c): return 1"))))
    token = shop.token(execution)
    states = shop.cloud.client("stepfunctions")
    states.stop_execution(executionArn=execution, error="Mine", cause="by hand")
    assert shop.ended(execution)["status"] == "ABORTED"
    with pytest.raises(states.exceptions.TaskTimedOut):
        states.send_task_success(taskToken=token, output="{}")
    events = states.get_execution_history(executionArn=execution)["events"]
    assert events[-1]["type"] == "ExecutionAborted"


def test_a_timeout_may_be_an_expression(shop: Workshop) -> None:
    state = waiting(shop.function("def handler(e, c): return 1"), TimeoutSeconds="{% $states.input.limit %}")
    execution = shop.ended(shop.start(shop.machine(Wait=state), {"limit": 1}))
    assert (execution["status"], execution["error"]) == ("FAILED", "States.Timeout")


def test_a_start_of_the_same_name_and_input_is_the_same_execution_while_it_runs(shop: Workshop) -> None:
    machine = shop.machine(Wait=waiting(shop.function("def handler(e, c): return 1")))
    states = shop.cloud.client("stepfunctions")
    first = shop.start(machine, {"n": 1}, name="same")
    assert shop.start(machine, {"n": 1}, name="same") == first
    with pytest.raises(states.exceptions.ExecutionAlreadyExists):
        shop.start(machine, {"n": 2}, name="same")
    states.stop_execution(executionArn=first)
    with pytest.raises(states.exceptions.ExecutionAlreadyExists):
        shop.start(machine, {"n": 1}, name="same")


def test_a_machines_role_is_enforced(shop: Workshop) -> None:
    machine = shop.machine(actions=("s3:GetObject",), Try=task(shop.function("def handler(e, c): return 1")))
    execution = shop.ended(shop.start(machine))
    assert execution["status"] == "FAILED"
    assert "lambda:InvokeFunction" in execution["cause"]
    shop.cloud.forget_denials()


@pytest.mark.parametrize(
    "definition",
    [
        '{"StartAt": "A", "States": {}',
        '{"StartAt": "A"}',
        '{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"${B}"}}}',
    ],
)
def test_a_definition_that_is_none_is_refused(shop: Workshop, definition: str) -> None:
    states = shop.cloud.client("stepfunctions")
    with pytest.raises(states.exceptions.InvalidDefinition):
        states.create_state_machine(name="wrong", definition=definition, roleArn=shop.role())


def test_jsonata_has_the_functions_that_step_functions_adds(shop: Workshop) -> None:
    expressions = {
        "parsed": "{% $parse('[1, 2]') %}",
        "parts": "{% $partition([1, 2, 3], 2) %}",
        "range": "{% $range(1, 5, 2) %}",
        "hash": "{% $hash('a', 'SHA-256') %}",
        "quoted": '{% "say \\"é😀\\"" & $states.input.text %}',
    }
    state = {"Type": "Pass", "Output": expressions, "End": True}
    output = json.loads(shop.ended(shop.start(shop.machine(Say=state), {"text": ' "too"'}))["output"])
    assert output == {
        "parsed": [1, 2],
        "parts": [[1, 2], [3]],
        "range": [1, 3, 5],
        "hash": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
        "quoted": 'say "é😀" "too"',
    }


def test_an_input_has_256_kib_at_most(shop: Workshop) -> None:
    machine = shop.machine(End={"Type": "Succeed"})
    shop.start(machine, "x" * 262_142)
    with pytest.raises(ClientError, match=r"at 'input' failed to satisfy constraint: .* 262144") as raised:
        shop.start(machine, "x" * 262_143)
    assert raised.value.response["Error"]["Code"] == "ValidationException"


def test_an_execution_with_an_unusual_name_is_not_logged(shop: Workshop) -> None:
    logs, group = shop.cloud.client("logs"), f"/test/{uuid.uuid4().hex[:8]}"
    logs.create_log_group(logGroupName=group)
    destination = {"cloudWatchLogsLogGroup": {"logGroupArn": f"arn:aws:logs:{REGION}:{ACCOUNT_ID}:log-group:{group}:*"}}
    logging = {"level": "ALL", "includeExecutionData": False, "destinations": [destination]}
    machine = shop.machine(actions=("logs:*",), settings={"loggingConfiguration": logging}, End={"Type": "Succeed"})
    for name in ("odd=name+1@a.b", "usual_Name-1"):
        assert shop.ended(shop.start(machine, name=name))["status"] == "SUCCEEDED"
    streams = wait_for(lambda: logs.describe_log_streams(logGroupName=group)["logStreams"])
    assert [stream["logStreamName"].rpartition("/")[2] for stream in streams] == ["usual_Name-1"]


TRACING = ["xray:GetSamplingRules", "xray:GetSamplingTargets", "xray:PutTelemetryRecords", "xray:PutTraceSegments"]


@pytest.mark.parametrize("missing", [None, "xray:PutTraceSegments"])
def test_an_execution_is_traced_where_its_machines_role_may(shop: Workshop, missing: str | None) -> None:
    role = shop.role(*(action for action in TRACING if action != missing), service="states.amazonaws.com")
    properties = {
        "DefinitionString": json.dumps({"StartAt": "End", "States": {"End": {"Type": "Succeed"}}}),
        "RoleArn": role,
        "TracingConfiguration": {"Enabled": True},
    }
    name, status = shop.stack(Machine={"Type": "AWS::StepFunctions::StateMachine", "Properties": properties})
    assert status == "CREATE_COMPLETE"
    cloudformation = shop.cloud.client("cloudformation")
    (machine,) = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
    execution = shop.start(machine["PhysicalResourceId"])
    assert shop.ended(execution)["status"] == "SUCCEEDED"
    assert (execution in shop.cloud.get("traces")) is (missing is None)
    assert [denial for denial in shop.cloud.get("denials") if "xray" in denial] == (
        [f"{role} {missing} *"] if missing else []
    )
    shop.cloud.forget_denials()
    cloudformation.delete_stack(StackName=name)
