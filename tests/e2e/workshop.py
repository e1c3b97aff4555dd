"""Creates roles, functions and state machines on the embedded AWS, for tests of its behaviour."""

import io
import json
import uuid
import zipfile
from collections.abc import Callable
from typing import Any

import boto3

from local import REGION
from local.stack import LocalCloud
from tests.e2e.conftest import wait_for

TRAINS = ("ecr:*", "logs:*", "s3:GetObject", "s3:ListBucket", "s3:PutObject")
LOGS = ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents")


class Workshop:
    """Creates roles, functions and state machines on the embedded AWS."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud

    def role(self, *actions: str, service: str = "lambda.amazonaws.com") -> str:
        name = f"role-{uuid.uuid4().hex[:8]}"
        trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
        iam = self.cloud.client("iam")
        made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(trust))
        if actions:
            allow = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
            iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy(allow))
        return str(made["Role"]["Arn"])

    def client(self, service: str, role: str) -> Any:
        """Return a client with a role's session."""
        name = role.rpartition("/")[2]
        keys = self.cloud.client("sts").assume_role(RoleArn=role, RoleSessionName=name)["Credentials"]
        session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], REGION)
        make: Any = session.client
        return make(service, endpoint_url=self.cloud.url)

    def function(self, code: str, *, actions: tuple[str, ...] = (), **more: Any) -> str:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr("app.py", code)
        made = self.cloud.client("lambda").create_function(
            FunctionName=f"function-{uuid.uuid4().hex[:8]}",
            Runtime="python3.11",
            Handler="app.handler",
            Code={"ZipFile": archive.getvalue()},
            **{"Role": self.role(*LOGS, *actions), "Timeout": 10, **more},
        )
        return str(made["FunctionArn"])

    def invoke(self, function: str, event: Any = None) -> tuple[Any, bool]:
        """Return the function's answer, and whether it failed."""
        answer = self.cloud.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event or {}))
        return json.loads(answer["Payload"].read() or b"null"), "FunctionError" in answer

    def ear(self, then: str = "pass") -> tuple[str, Callable[[], list[Any]]]:
        """Create a function that records its events and then runs `then`; return its ARN, and a way to list them."""
        table = f"heard-{uuid.uuid4().hex[:8]}"
        dynamodb = self.cloud.client("dynamodb")
        dynamodb.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        )
        code = f"""
import boto3, json
def handler(event, context):
    item = {{"pk": {{"S": context.aws_request_id}}, "event": {{"S": json.dumps(event)}}}}
    boto3.client("dynamodb").put_item(TableName="{table}", Item=item)
    {then}
"""
        function = self.function(code, actions=("dynamodb:PutItem",))
        return function, lambda: [json.loads(item["event"]["S"]) for item in dynamodb.scan(TableName=table)["Items"]]

    def stack(self, **resources: Any) -> tuple[str, str]:
        """Create a stack; return its name and its final status."""
        name = f"stack-{uuid.uuid4().hex[:8]}"
        self.cloud.client("cloudformation").create_stack(
            StackName=name, TemplateBody=json.dumps({"Resources": resources}), Capabilities=["CAPABILITY_IAM"]
        )
        return name, self.stack_status(name)

    def stack_status(self, name: str) -> str:
        """Wait for a stack's final status; return it."""
        cloudformation = self.cloud.client("cloudformation")

        def look() -> str | None:
            status: str = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
            return None if status.endswith("_IN_PROGRESS") else status

        return wait_for(look, within=30)

    def machine(
        self,
        *,
        actions: tuple[str, ...] = ("lambda:InvokeFunction",),
        settings: dict[str, Any] | None = None,
        **states: Any,
    ) -> str:
        definition = {"QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states}
        made = self.cloud.client("stepfunctions").create_state_machine(
            name=f"machine-{uuid.uuid4().hex[:8]}",
            definition=json.dumps(definition),
            roleArn=self.role(*actions, service="states.amazonaws.com"),
            **(settings or {}),
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
        """Return the task token that an execution has passed to its task."""
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


def policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def task(function: str, **more: Any) -> dict[str, Any]:
    payload = more.pop("Payload", "{% $states.input %}")
    resource = "arn:aws:states:::lambda:invoke" + (".waitForTaskToken" if more.pop("waits", False) else "")
    arguments = {"FunctionName": function, "Payload": payload}
    return {"Type": "Task", "Resource": resource, "Arguments": arguments, "End": True, **more}


def waiting(function: str, **more: Any) -> dict[str, Any]:
    return task(function, waits=True, Payload={"token": "{% $states.context.Task.Token %}"}, **more)
