"""The embedded AWS is as the application needs AWS to be: what it does, what it refuses, and what it keeps out."""

import io
import json
import uuid
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from local import ACCOUNT_ID, REGION
from local.stack import LocalCloud
from tests.e2e.conftest import Application, wait_for


class Workshop:
    """Makes roles, functions and machines on the embedded AWS."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud

    def role(self, *actions: str, service: str = "lambda.amazonaws.com") -> str:
        name = f"role-{uuid.uuid4().hex[:8]}"
        trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
        iam = self.cloud.client("iam")
        made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_policy(trust))
        if actions:
            allow = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
            iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=_policy(allow))
        return str(made["Role"]["Arn"])

    def function(self, code: str, *, actions: tuple[str, ...] = (), **more: Any) -> str:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr("app.py", code)
        made = self.cloud.client("lambda").create_function(
            FunctionName=f"function-{uuid.uuid4().hex[:8]}",
            Runtime="python3.11",
            Role=self.role(*actions),
            Handler="app.handler",
            Code={"ZipFile": archive.getvalue()},
            **{"Timeout": 10, **more},
        )
        return str(made["FunctionArn"])

    def invoke(self, function: str, event: Any = None) -> tuple[Any, bool]:
        """Return what the function answered, and whether it failed."""
        answer = self.cloud.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event or {}))
        return json.loads(answer["Payload"].read() or b"null"), "FunctionError" in answer

    def machine(self, *, actions: tuple[str, ...] = ("lambda:InvokeFunction",), **states: Any) -> str:
        definition = {"QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states}
        made = self.cloud.client("stepfunctions").create_state_machine(
            name=f"machine-{uuid.uuid4().hex[:8]}",
            definition=json.dumps(definition),
            roleArn=self.role(*actions, service="states.amazonaws.com"),
        )
        return str(made["stateMachineArn"])

    def start(self, machine: str, given: Any = None, **more: Any) -> str:
        states = self.cloud.client("stepfunctions")
        return str(
            states.start_execution(stateMachineArn=machine, input=json.dumps(given or {}), **more)["executionArn"]
        )

    def ended(self, execution: str) -> dict[str, Any]:
        states = self.cloud.client("stepfunctions")

        def look() -> dict[str, Any] | None:
            found = states.describe_execution(executionArn=execution)
            return dict(found) if found["status"] != "RUNNING" else None

        return wait_for(look, within=30)

    def token(self, execution: str) -> str:
        """Return the task token that an execution has handed out."""
        states = self.cloud.client("stepfunctions")

        def look() -> str | None:
            events = states.get_execution_history(executionArn=execution, maxResults=1000)["events"]
            texts = [
                each["taskScheduledEventDetails"]["parameters"]
                for each in events
                if "taskScheduledEventDetails" in each
            ]
            submitted = any(each["type"] == "TaskSubmitted" for each in events)
            return str(json.loads(texts[-1])["Payload"]["token"]) if texts and submitted else None

        return wait_for(look, within=30)


def _policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def task(function: str, **more: Any) -> dict[str, Any]:
    payload = more.pop("Payload", "{% $states.input %}")
    resource = "arn:aws:states:::lambda:invoke" + (".waitForTaskToken" if more.pop("waits", False) else "")
    arguments = {"FunctionName": function, "Payload": payload}
    return {"Type": "Task", "Resource": resource, "Arguments": arguments, "End": True, **more}


def waiting(function: str, **more: Any) -> dict[str, Any]:
    return task(function, waits=True, Payload={"token": "{% $states.context.Task.Token %}"}, **more)


@pytest.fixture
def shop(app: Application) -> Workshop:
    return Workshop(app.deployed.cloud)


# --- functions
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
    table = f"heard-{uuid.uuid4().hex[:8]}"
    dynamodb, events = shop.cloud.client("dynamodb"), shop.cloud.client("events")
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    code = f"""
import boto3
def handler(event, context):
    boto3.client("dynamodb").put_item(TableName="{table}", Item={{"pk": {{"S": event["detail"]["word"]}}}})
"""
    function = shop.function(code, actions=("dynamodb:PutItem",))
    source = f"test.{uuid.uuid4().hex[:8]}"
    rule = events.put_rule(Name=source, EventPattern=json.dumps({"source": [source]}))["RuleArn"]
    events.put_targets(Rule=source, Targets=[{"Id": "1", "Arn": function}])

    def say(word: str) -> None:
        entry = {"Source": source, "DetailType": "t", "Detail": json.dumps({"word": word})}
        events.put_events(Entries=[entry])

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
    heard = wait_for(lambda: dynamodb.scan(TableName=table)["Items"])
    assert heard == [{"pk": {"S": "after"}}]


# --- executions
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


# --- training jobs
def training_request(app: Application, name: str, **changes: Any) -> dict[str, Any]:
    queue = json.loads(app.deployed.outputs["QueueConfiguration"])
    request = {
        **queue,
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": app.image("true", "true"), "TrainingInputMode": "File"},
    }
    return {key: value for key, value in {**request, **changes}.items() if value is not None}


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return what sets, or with None removes, a value in a request."""

    def apply(request: dict[str, Any]) -> None:
        *folders, last = path.split(".")
        for folder in folders:
            request = request[folder]
        request[last] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("TrainingJobName", "not_legal", "does not match"),
        ("Environment", {"A": "x" * 513}, "513 characters"),
        ("Bogus", 1, "Bogus is not a key"),
        ("ResourceConfig.InstanceType", "ml.none.large", "It can be"),
        ("ResourceConfig.InstanceCount", 0, "InstanceCount must be at least 1"),
        ("OutputDataConfig.S3OutputPath", "https://bucket/x", "S3 URI"),
        ("StoppingCondition.MaxWaitTimeInSeconds", 60, "not supported"),
        ("EnableManagedSpotTraining", True, "MaxWaitTimeInSeconds"),
        ("AlgorithmSpecification.AlgorithmName", "arn:aws:sagemaker:us-east-1:000000000000:algorithm/a", "Exactly one"),
        ("AlgorithmSpecification.TrainingImage", "docker.io/train:v1", "TrainingImageConfig"),
        (
            "AlgorithmSpecification.TrainingImage",
            f"{ACCOUNT_ID}.dkr.ecr.eu-west-1.amazonaws.com/train:v1",
            "Cross region",
        ),
        ("RoleArn", "arn:aws:iam::000000000000:role/nobody", "Could not assume role"),
    ],
)
def test_sagemaker_refuses_what_it_refuses(app: Application, path: str, value: Any, words: str) -> None:
    request = training_request(app, f"refused-{uuid.uuid4().hex[:8]}")
    request = json.loads(json.dumps(request))
    change(path, value)(request)
    with pytest.raises(ClientError, match=words) as raised:
        _raw(app.deployed.cloud, "CreateTrainingJob", request)
    assert raised.value.response["Error"]["Code"] == "ValidationException"


def _raw(cloud: LocalCloud, operation: str, request: dict[str, Any]) -> Any:
    """Call SageMaker past botocore's own validation."""
    signed = AWSRequest(
        "POST",
        cloud.url,
        {"X-Amz-Target": f"SageMaker.{operation}", "Content-Type": "application/x-amz-json-1.1"},
        json.dumps(request),
    )
    SigV4Auth(Credentials(cloud.access_key, cloud.secret_key), "sagemaker", REGION).add_auth(signed)
    answer = urllib3.request("POST", cloud.url, body=signed.body, headers=dict(signed.headers))
    body = answer.json()
    if answer.status != 200:
        raise ClientError({"Error": {"Code": body["__type"], "Message": body["message"]}}, operation)
    return body


def test_a_job_has_its_inputs_its_folders_and_leaves_its_model(app: Application) -> None:
    s3, sagemaker = app.deployed.cloud.client("s3"), app.deployed.cloud.client("sagemaker")
    queue = json.loads(app.deployed.outputs["QueueConfiguration"])
    bucket = queue["OutputDataConfig"]["S3OutputPath"].removeprefix("s3://").partition("/")[0]
    s3.put_object(Bucket=bucket, Key="data/part/a.txt", Body=b"hello")
    script = (
        'cat "$1/input/data/train/part/a.txt" "$1/input/config/hyperparameters.json" > "$SM_MODEL_DIR/copy"; '
        'echo "$TRAINING_JOB_NAME on $(cat "$1/input/config/resourceconfig.json")"'
    )
    name = f"inputs-{uuid.uuid4().hex[:8]}"
    specification = {
        "TrainingImage": app.image("copy", "sh", "-c", script, "sh"),
        "TrainingInputMode": "File",
        "ContainerArguments": ["/opt/ml"],
    }
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/data"}}
    request = training_request(
        app,
        name,
        AlgorithmSpecification=specification,
        InputDataConfig=[{"ChannelName": "train", "DataSource": source}],
        HyperParameters={"epochs": "3"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1},
    )
    sagemaker.create_training_job(**request)
    job = ended_job(app, name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    seen = [each["Status"] for each in job["SecondaryStatusTransitions"]]
    assert seen == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert job["BillableTimeInSeconds"] >= 1
    streams = app.deployed.cloud.client("logs").describe_log_streams(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{name}/"
    )["logStreams"]
    assert sorted(each["logStreamName"].split("/")[1].rsplit("-", 1)[0] for each in streams) == ["algo-1", "algo-2"]


def ended_job(app: Application, name: str) -> dict[str, Any]:
    sagemaker = app.deployed.cloud.client("sagemaker")

    def look() -> dict[str, Any] | None:
        job = sagemaker.describe_training_job(TrainingJobName=name)
        return dict(job) if job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") else None

    return wait_for(look, within=30)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ('echo "out of memory" > "$SM_OUTPUT_DIR/failure"; exit 7', "AlgorithmError: out of memory\n, exit code: 7"),
        ("exit 3", "AlgorithmError: , exit code: 3"),
    ],
)
def test_a_failed_job_gives_its_reason(app: Application, script: str, reason: str) -> None:
    name = f"failing-{uuid.uuid4().hex[:8]}"
    specification = {"TrainingImage": app.image("failing", "sh", "-c", script), "TrainingInputMode": "File"}
    app.deployed.cloud.client("sagemaker").create_training_job(
        **training_request(app, name, AlgorithmSpecification=specification)
    )
    assert ended_job(app, name)["FailureReason"] == reason


def test_missing_input_and_a_taken_name_are_said_so(app: Application) -> None:
    sagemaker = app.deployed.cloud.client("sagemaker")
    name = f"taken-{uuid.uuid4().hex[:8]}"
    queue = json.loads(app.deployed.outputs["QueueConfiguration"])
    bucket = queue["OutputDataConfig"]["S3OutputPath"].removeprefix("s3://").partition("/")[0]
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/not-there"}}
    channels = [{"ChannelName": "train", "DataSource": source}]
    sagemaker.create_training_job(**training_request(app, name, InputDataConfig=channels))
    assert "No S3 objects found" in ended_job(app, name)["FailureReason"]
    with pytest.raises(sagemaker.exceptions.ResourceInUse):
        sagemaker.create_training_job(**training_request(app, name))
    with pytest.raises(ClientError, match="is in status Failed"):
        sagemaker.stop_training_job(TrainingJobName=name)


def test_a_capacity_error_ends_a_job_before_it_runs(app: Application) -> None:
    name = f"nocapacity-{uuid.uuid4().hex[:8]}"
    app.deployed.cloud.put_faults([{"match": name, "capacity": True}])
    app.deployed.cloud.client("sagemaker").create_training_job(**training_request(app, name))
    job = ended_job(app, name)
    app.deployed.cloud.put_faults([])
    assert job["FailureReason"].startswith("CapacityError:")
    assert "TrainingStartTime" not in job


def test_a_container_that_does_not_heed_sigterm_is_ended(app: Application) -> None:
    name = f"stubborn-{uuid.uuid4().hex[:8]}"
    script = "trap '' TERM; echo up; while :; do sleep 0.1; done"
    specification = {"TrainingImage": app.image("stubborn", "sh", "-c", script), "TrainingInputMode": "File"}
    sagemaker = app.deployed.cloud.client("sagemaker")
    sagemaker.create_training_job(**training_request(app, name, AlgorithmSpecification=specification))
    wait_for(lambda: sagemaker.describe_training_job(TrainingJobName=name)["SecondaryStatus"] == "Training")
    sagemaker.stop_training_job(TrainingJobName=name)
    job = ended_job(app, name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")


# --- the guard
@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example.com"}, {"Host": "evil.example.com"}, {"Origin": "http://127.0.0.1"}]
)
def test_web_pages_are_refused(app: Application, headers: dict[str, str]) -> None:
    assert urllib3.request("GET", f"{app.deployed.cloud.url}/_local/health", headers=headers).status == 403
    assert urllib3.request("GET", f"{app.deployed.cloud.url}/", headers=headers).status == 403


def test_the_schedule_calls_the_poller(app: Application) -> None:
    agent = wait_for(lambda: next(reversed(app.server.state.agents.values()), None))
    before = agent.heartbeat_at
    wait_for(lambda: agent.heartbeat_at > before)


def test_a_secrets_ref_is_its_arn(app: Application) -> None:
    template = {
        "Resources": {"S": {"Type": "AWS::SecretsManager::Secret", "Properties": {"SecretString": "x"}}},
        "Outputs": {"Ref": {"Value": {"Ref": "S"}}},
    }
    cloudformation = app.deployed.cloud.client("cloudformation")
    name = f"secret-{uuid.uuid4().hex[:8]}"
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(template))

    def look() -> Any:
        (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
        return stack if stack["StackStatus"] == "CREATE_COMPLETE" else None

    (output,) = wait_for(look)["Outputs"]
    assert output["OutputValue"].startswith("arn:aws:secretsmanager:")
    cloudformation.delete_stack(StackName=name)
