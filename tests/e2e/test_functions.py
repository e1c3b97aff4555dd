"""Functions and their callers on the embedded AWS behave as in Lambda and EventBridge."""

import json
import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local import ACCOUNT_ID, REGION
from local.stack import STACK_NAME
from tests.e2e.conftest import Application, wait_for
from tests.e2e.workshop import LOGS, Workshop


def test_the_class_of_an_error_is_its_name(shop: Workshop) -> None:
    function = shop.function("class QuotaGone(Exception): pass\ndef handler(e, c): raise QuotaGone('nope')")
    answer, failed = shop.invoke(function)
    assert failed
    assert (answer["errorType"], answer["errorMessage"]) == ("QuotaGone", "nope")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import time\ndef handler(e, c): time.sleep(9)", "Sandbox.Timedout"),
        ("import os\ndef handler(e, c): os._exit(3)", "Runtime.ExitError"),
        ("raise ValueError('at import')", "ValueError"),
        ("def handler(e, c): return object()", "Runtime.MarshalError"),
    ],
)
def test_a_function_that_does_not_answer_fails_with_lambdas_words(shop: Workshop, code: str, error: str) -> None:
    answer, failed = shop.invoke(shop.function(code, Timeout=1))
    assert failed
    assert answer["errorType"] == error


def test_two_calls_at_a_time_run_in_environments_of_their_own_of_one_initialization(shop: Workshop) -> None:
    function = shop.function("""
import os, random, time, uuid
INITIALIZED = uuid.uuid4().hex
print("initialized")
def handler(event, context):
    time.sleep(1)
    open(os.path.join(os.environ["TMPDIR"], "mine"), "x").close()
    return INITIALIZED, [os.getpid(), os.environ["TMPDIR"], context.log_stream_name, random.random()]
""")
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda _: shop.invoke(function), range(2)))
    assert not any(failed for _, failed in answers)
    (first, of_first), (second, of_second) = (answer for answer, _ in answers)
    assert first == second
    assert not set(of_first) & set(of_second)


def test_nothing_of_this_machine_is_in_a_function(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import importlib.util, os
def handler(event, context):
    ours = ("ministack", "moto", "local", "launch_agent", "pydantic")
    found = [name for name in ours if importlib.util.find_spec(name)]
    return {"found": found, "names": sorted(os.environ), "left": context.get_remaining_time_in_millis()}
"""
    answer, _ = shop.invoke(shop.function(code, Environment={"Variables": {"OWN": "1"}}))
    assert answer["found"] == []
    assert 0 < answer["left"] <= 10_000
    own = [name for name in answer["names"] if not name.startswith(("AWS_", "LAMBDA_", "_"))]
    assert set(own) <= {"HOME", "LANG", "LC_CTYPE", "OWN", "PATH", "PWD", "PYTHONPATH", "TMPDIR", "TZ"}


def test_a_functions_role_is_enforced(shop: Workshop) -> None:
    code = "import boto3\ndef handler(e, c): return boto3.client('dynamodb').list_tables()['TableNames']"
    answer, failed = shop.invoke(shop.function(code))
    assert failed
    assert "dynamodb:ListTables" in answer["errorMessage"]
    shop.cloud.forget_denials()
    _, failed = shop.invoke(shop.function(code, actions=("dynamodb:ListTables",)))
    assert not failed


def test_an_asynchronous_call_is_tried_three_times_then_kept(shop: Workshop) -> None:
    sqs = shop.cloud.client("sqs")
    queue = sqs.create_queue(QueueName=f"failed-{uuid.uuid4().hex[:8]}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    function = shop.function("def handler(e, c): raise ValueError('always')", actions=("sqs:SendMessage",))
    client = shop.cloud.client("lambda")
    client.put_function_event_invoke_config(
        FunctionName=function, DestinationConfig={"OnFailure": {"Destination": arn}}
    )
    client.invoke(FunctionName=function, InvocationType="Event", Payload=b'{"n": 1}')
    message = wait_for(lambda: sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages"), within=30)[0]
    record = json.loads(message["Body"])
    assert record["requestPayload"] == {"n": 1}
    assert record["responsePayload"]["errorType"] == "ValueError"
    assert record["requestContext"]["approximateInvokeCount"] == 3


def test_a_rule_needs_the_functions_permission(shop: Workshop) -> None:
    events, (function, heard) = shop.cloud.client("events"), shop.ear()
    source = f"test.{uuid.uuid4().hex[:8]}"
    rule = events.put_rule(Name=source, EventPattern=json.dumps({"source": [source]}))["RuleArn"]
    events.put_targets(Rule=source, Targets=[{"Id": "1", "Arn": function}])

    def say(word: str) -> None:
        events.put_events(Entries=[{"Source": source, "DetailType": "t", "Detail": json.dumps({"word": word})}])

    say("before")
    wait_for(lambda: any(source in denial for denial in shop.cloud.get("denials")))
    shop.cloud.forget_denials()
    shop.cloud.client("lambda").add_permission(
        FunctionName=function,
        StatementId="s",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=rule,
    )
    say("after")
    assert [event["detail"] for event in wait_for(heard)] == [{"word": "after"}]


def test_a_schedule_without_input_sends_an_envelope_whose_detail_is_a_text(shop: Workshop) -> None:
    function, heard = shop.ear()
    scheduler, name = shop.cloud.client("scheduler"), f"schedule-{uuid.uuid4().hex[:8]}"
    role = shop.role("lambda:InvokeFunction", service="scheduler.amazonaws.com")
    made = scheduler.create_schedule(
        Name=name,
        ScheduleExpression="rate(1 minute)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": function, "RoleArn": role},
    )
    event = wait_for(heard)[0]
    scheduler.delete_schedule(Name=name)
    assert event.pop("id")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event.pop("time"))
    assert event == {
        "version": "0",
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": ACCOUNT_ID,
        "region": REGION,
        "resources": [made["ScheduleArn"]],
        "detail": "{}",
    }


@pytest.mark.parametrize("may", [True, False])
def test_a_log_group_that_was_deleted_comes_back_where_the_functions_role_may_make_it(
    shop: Workshop, may: bool
) -> None:
    logs, group = shop.cloud.client("logs"), f"/test/{uuid.uuid4().hex[:8]}"
    logs.create_log_group(logGroupName=group)
    role = shop.role(*LOGS[0 if may else 1 :])
    function = shop.function("def handler(e, c): print('hello')", Role=role, LoggingConfig={"LogGroup": group})
    shop.invoke(function)
    assert logged(shop, group)
    logs.delete_log_group(logGroupName=group)
    shop.invoke(function)
    assert logged(shop, group) is may
    assert bool(shop.cloud.get("denials")) is not may
    shop.cloud.forget_denials()


def logged(shop: Workshop, group: str) -> bool:
    """Return whether a log group exists and contains "hello"."""
    logs = shop.cloud.client("logs")
    try:
        events = logs.filter_log_events(logGroupName=group)["events"]
    except logs.exceptions.ResourceNotFoundException:
        return False
    return any("hello" in event["message"] for event in events)


def test_the_events_of_a_log_are_those_of_the_streams_that_begin_with_a_prefix(shop: Workshop) -> None:
    logs, group = shop.cloud.client("logs"), f"/test/{uuid.uuid4().hex[:8]}"
    logs.create_log_group(logGroupName=group)
    for stream in ("a/1", "a/2", "ab/1", "b/a/1"):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        events = [{"timestamp": int(time.time() * 1000), "message": f"one of {stream}"}]
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)

    def found(**which: Any) -> set[str]:
        return {each["message"] for each in logs.filter_log_events(logGroupName=group, **which)["events"]}

    assert found(logStreamNamePrefix="a/") == {"one of a/1", "one of a/2"}
    assert found(logStreamNamePrefix="a/", filterPattern='"a/2"') == {"one of a/2"}
    assert found(logStreamNamePrefix="c") == set()
    assert len(found()) == 4
    refused: list[dict[str, Any]] = [{"logStreamNamePrefix": "a/", "logStreamNames": ["a/1"]}, {"filterPattern": "a/1"}]
    for each in refused:
        with pytest.raises(logs.exceptions.InvalidParameterException):
            found(**each)


def test_the_account_has_so_many_functions_at_a_time_and_no_more(shop: Workshop) -> None:
    (slow, begun), (function, heard) = shop.ear("import time; time.sleep(2)"), shop.ear()
    client = boto3.Session(shop.cloud.access_key, shop.cloud.secret_key, region_name=REGION).client(
        "lambda", endpoint_url=shop.cloud.url, config=Config(retries={"total_max_attempts": 1})
    )
    shop.cloud.behave(concurrency=1)
    client.invoke(FunctionName=slow, InvocationType="Event", Payload=b"{}")
    wait_for(begun)
    with pytest.raises(client.exceptions.TooManyRequestsException) as raised:
        client.invoke(FunctionName=function, Payload=b'{"now": 1}')
    assert raised.value.response["Reason"] == "ConcurrentInvocationLimitExceeded"
    client.invoke(FunctionName=function, InvocationType="Event", Payload=b'{"later": 1}')
    assert wait_for(heard) == [{"later": 1}]
    shop.cloud.behave(concurrency=10)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("update_item(TableName='t', Key={'pk': {'S': 'a'}})", "TransactionConflictException"),
        (
            "transact_write_items(TransactItems=2 * [{'Delete': {'TableName': 't', 'Key': {'pk': {'S': 'a'}}}}])",
            "TransactionCanceledException",
        ),
    ],
)
def test_a_write_that_meets_a_transaction_is_refused_when_that_is_asked_for(
    shop: Workshop, call: str, code: str
) -> None:
    function = shop.function(f"""
import boto3
def handler(event, context):
    client = boto3.client("dynamodb")
    try:
        client.{call}
    except client.exceptions.ClientError as error:
        return error.response["Error"]["Code"], error.response.get("CancellationReasons")
""")
    operation = "".join(word.title() for word in call.partition("(")[0].split("_"))
    fault = {"function": function.rpartition(":")[2], "operation": operation, "how": "conflict"}
    shop.cloud.put_call_faults([fault])
    answer, failed = shop.invoke(function)
    shop.cloud.put_call_faults([])
    assert not failed
    reasons = [{"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}, {"Code": "None"}]
    assert answer == [code, reasons if "transact" in call else None]


def test_an_item_has_400_kb_at_most(app: Application) -> None:
    dynamodb, table = app.deployed.cloud.client("dynamodb"), app.deployed.outputs["RunsTable"]
    key, half = {"pk": {"S": "long"}}, {"S": "x" * 204_800}
    with pytest.raises(ClientError, match="Item size has exceeded the maximum allowed size") as put:
        dynamodb.put_item(TableName=table, Item={**key, "one": half, "two": half})
    assert put.value.response["Error"]["Code"] == "ValidationException"
    dynamodb.put_item(TableName=table, Item={**key, "one": half})
    update: dict[str, Any] = {"TableName": table, "Key": key, "UpdateExpression": "SET two = :half"}
    update["ExpressionAttributeValues"] = {":half": half}
    with pytest.raises(ClientError, match="Item size to update has exceeded the maximum allowed size"):
        dynamodb.update_item(**update)
    with pytest.raises(dynamodb.exceptions.TransactionCanceledException) as written:
        dynamodb.transact_write_items(TransactItems=[{"Update": update}])
    (reason,) = written.value.response["CancellationReasons"]
    assert reason == {"Code": "ValidationError", "Message": "Item size to update has exceeded the maximum allowed size"}
    dynamodb.delete_item(TableName=table, Key=key)


def test_the_schedule_calls_the_poller(app: Application) -> None:
    agent = wait_for(lambda: next(reversed(app.server.state.agents.values()), None))
    before = agent.heartbeat_at
    wait_for(lambda: agent.heartbeat_at > before)


def test_the_call_of_the_schedule_sends_ticks_which_call_the_poller_too(app: Application) -> None:
    cloud = app.deployed.cloud
    resource = {"StackName": STACK_NAME, "LogicalResourceId": "Ticks"}
    found = cloud.client("cloudformation").describe_stack_resource(**resource)["StackResourceDetail"]
    poller = app.deployed.outputs["PollQueuesFunctionName"]

    def attributes() -> dict[str, str]:
        asked = {"QueueUrl": found["PhysicalResourceId"], "AttributeNames": ["All"]}
        return dict(cloud.client("sqs").get_queue_attributes(**asked)["Attributes"])

    def result() -> str:
        (mapping,) = cloud.client("lambda").list_event_source_mappings(FunctionName=poller)["EventSourceMappings"]
        assert mapping["EventSourceArn"] == attributes()["QueueArn"]
        return str(mapping["LastProcessingResult"])

    wait_for(lambda: int(attributes()["ApproximateNumberOfMessagesDelayed"]) > 0)
    wait_for(lambda: result().startswith("OK"))


@pytest.mark.parametrize("denied", ["", "sqs:DeleteMessage", "kms:Decrypt"], ids=["may", "may not", "may not decrypt"])
def test_a_delayed_message_calls_the_function_of_its_mapping_where_the_functions_role_may(
    shop: Workshop, denied: str
) -> None:
    function, heard = shop.ear()
    sqs, lambdas = shop.cloud.client("sqs"), shop.cloud.client("lambda")
    role = lambdas.get_function_configuration(FunctionName=function)["Role"].rpartition("/")[2]
    actions = ["kms:Decrypt", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
    allow = {"Effect": "Allow", "Action": [each for each in actions if each != denied], "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    shop.cloud.client("iam").put_role_policy(RoleName=role, PolicyName="receive", PolicyDocument=document)
    key = shop.cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    url = sqs.create_queue(QueueName=f"queue-{uuid.uuid4().hex[:8]}", Attributes={"KmsMasterKeyId": key})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    mapping = lambdas.create_event_source_mapping(EventSourceArn=arn, FunctionName=function)["UUID"]
    entries = [{"Id": "a", "MessageBody": "at once"}, {"Id": "b", "MessageBody": "later", "DelaySeconds": 240}]
    assert len(sqs.send_message_batch(QueueUrl=url, Entries=entries)["Successful"]) == 2

    def bodies() -> list[str]:
        return [record["body"] for event in heard() for record in event["Records"]]

    if denied:
        wait_for(lambda: any(role in denial and denied in denial for denial in shop.cloud.get("denials")))
        assert heard() == []
    else:
        assert wait_for(bodies) == ["at once"]
        wait_for(lambda: sorted(bodies()) == ["at once", "later"])
    lambdas.delete_event_source_mapping(UUID=mapping)
    shop.cloud.forget_denials()
