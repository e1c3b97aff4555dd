"""Writes docs/iam.md: every role, every action that it may use, on what, and why. From the template.

python -m tests.iam_document, as part of `make picture`
"""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.contract.test_template import transformed
from tests.documents import ROOT, template

DOCUMENT = ROOT / "docs/iam.md"
_MARKED = re.compile(r"(?<=<!-- written by `make picture` -->\n).*?(?=\n<!-- end -->)", re.DOTALL)
_SAM_PYTHON = ROOT / ".venvs/sam/bin/python"

WHY = {
    "AnswerForSweeps": "A sweep that ends resumes the execution of its scheduler.",
    "AnswerTaskTokens": "An execution waits for its training job, or for a redrive, with a task token.",
    "Build": "The builder reads its plan, pushes the image and writes its note.",
    "BuildRole/ConnectToVpc": "CodeBuild connects builds to your VPC.",
    "ChangeRunDetails": "Run specs and plans are stored when a run opens, and deleted when it closes.",
    "ConnectToVpc": "Lambda connects the functions to your VPC.",
    "ContinueSweeps": "A sweep continues after the repair that ended the last one.",
    "CountInstances": "Which runs use the instances that launch-config.yaml limits.",
    "CreateTrainingJobs": "Creates training jobs, with the tag of this stack.",
    "DecryptSecrets": "Secrets Manager decrypts secrets that have a key of yours.",
    "DeleteCredentials": "The folder with a run's API key is deleted when the run ends.",
    "DeliverLogs": "The state machine logs its errors.",
    "ExplainBuilds": "The reason of a failed build is in its phases and its log.",
    "FindAgent": "The launch agent of a deleted stack is reported as killed.",
    "FindBuckets": "A run whose bucket is missing or elsewhere fails before it builds and trains.",
    "FindExecutions": "A sweep compares open runs with executions.",
    "FindImages": "An image is used if it is in the repository.",
    "InvokeFunctions": "The schedules invoke their functions.",
    "ListOpenRuns": "Polls and sweeps look at the open runs.",
    "OpenAndCloseRuns": "The record of a run, and the count of slots in the launch agent's item.",
    "PlanBuilds": "A plan for the build, and the claim of the image, so that it is built once.",
    "PullTrainingImages": "SageMaker pulls the image as this role.",
    "ReadImageConfigs": "The entry point of an image is in its configuration.",
    "ReadInputBuckets": "Training jobs read the data in InputBucketArns.",
    "ReadObjectsWithDataKey": "S3 decrypts objects with DataKmsKeyArn.",
    "ReadPrices": "The estimated cost of a run, and rules about prices, from AWS's price list.",
    "ReadRunApiKey": "The API key for containers.",
    "ReadRunDetails": "Run specs and plans of open runs.",
    "ReadRunSecrets": "The secrets that queues name for containers and for builds.",
    "ReadSetup": "The setup check reads what the stack was deployed with.",
    "ReadTablesWithDataKey": "DynamoDB decrypts its tables with DataKmsKeyArn.",
    "ReadTrainingJobs": "The state of a training job, and the tags that prove whose it is.",
    "ReadTrainingLogs": "The last lines of a failed job's log are shown in W&B.",
    "ReadWandbApiKey": "The API key, for calls to W&B, and to keep it out of logs and messages.",
    "ReleaseImages": "A run that needs its image no more releases the claim.",
    "ReportBuilds": "Runs that wait for an image learn why its build failed.",
    "RunSteps": "The state machine invokes its functions, and runs the build.",
    "SearchTrainingJobs": "A sweep compares open runs with training jobs.",
    "SendFailedEvents": "Lambda keeps events that could not be processed.",
    "SendOurEvents": "Tells others that a run was launched, or ended.",
    "SendTicks": "The call of the schedule sends the other polls of its minute; Lambda receives them.",
    "StartExecutions": "Each run queue item has one execution.",
    "StopExecutions": "A run that is stopped in W&B before it has a training job.",
    "StopTrainingJobs": "A run that is stopped, or a job of a run that is closed.",
    "StoreCredentials": "The API key of a run's container.",
    "Trace": "Lambda and Step Functions send traces to AWS X-Ray.",
    "TrainInVpc": "SageMaker connects training jobs to the VPC of the queue.",
    "UseBuiltImages": "The note that a build has written, and the result in the claim of its image.",
    "UseRuns": "The record of a run.",
    "UseTrainingBucket": "Training jobs read and write their inputs, outputs and checkpoints.",
    "UseVolumeKey": "SageMaker lets EC2 encrypt volumes with VolumeKmsKeyArn.",
    "WriteLogs": "Lambda writes the log of the function.",
    "WriteObjectsWithDataKey": "S3 encrypts objects with DataKmsKeyArn.",
    "WriteTrainingLogs": "SageMaker writes the log and the metrics of a training job.",
}
"""Why a role has the permissions of a policy."""

CALLS = {
    "dynamodb:UpdateItem": "UpdateItem, TransactWriteItems",
    "iam:PassRole": "CreateTrainingJob",
    "kms:CreateGrant": "CreateTrainingJob",
    "lambda:GetLayerVersion": "GetLayerVersionByArn",
    "s3:ListBucket": "ListObjectsV2",
    "sagemaker:AddTags": "CreateTrainingJob",
    "FindBuckets s3:ListBucket": "HeadBucket",
    "UseBuiltImages s3:ListBucket": "GetObject of an object that does not exist",
    "DecryptSecrets kms:Decrypt": "GetSecretValue",
    "ReadTablesWithDataKey kms:Decrypt": "every call of DynamoDB",
    "ReadObjectsWithDataKey kms:Decrypt": "GetObject",
    "WriteObjectsWithDataKey kms:GenerateDataKey": "PutObject",
    "SendFailedEvents kms:Decrypt": "SendMessage",
    "SendFailedEvents kms:GenerateDataKey": "SendMessage",
    "SendTicks kms:Decrypt": "SendMessageBatch, ReceiveMessage",
    "SendTicks kms:GenerateDataKey": "SendMessageBatch",
    "SendTicks sqs:SendMessage": "SendMessageBatch",
    "RunSteps lambda:InvokeFunction": "Invoke",
    "InvokeFunctions lambda:InvokeFunction": "Invoke",
}
"""The call that needs an action, if it has another name. With a policy's name before it: for that policy."""

CONDITIONS = {
    "BuildsImages": "`BuildImages` is `true`",
    "HasDataKey": "`DataKmsKeyArn` is set",
    "HasRunApiKey": "`RunApiKeySecretArn` is set",
    "HasRunSecrets": "`RunSecretArns` is set",
    "HasSecretKey": "`SecretKmsKeyArn` is set",
    "HasVolumeKey": "`VolumeKmsKeyArn` is set",
    "InVpc": "`VpcId` is set",
    "MakesTrainingRole": "`TrainingRoleArns` is empty",
    "PollsBetweenMinutes": "`PollIntervalSeconds` is not 60",
    "ReadsInputBuckets": "`TrainingRoleArns` is empty and `InputBucketArns` is set",
    "TrainsInVpcWithRole": "`TrainingRoleArns` is empty and `TrainingInVpc` is `true`",
    "Traces": "`Tracing` is `Active`",
}
"""The conditions of the template on which a role has a permission."""


class Permission(NamedTuple):
    """One statement that a role has."""

    role: str
    policy: str
    statement: dict[str, Any]
    only_if: tuple[str, ...]
    """The conditions of the template on which it has it."""

    @property
    def actions(self) -> list[str]:
        """What the statement allows or denies."""
        return _listed(self.statement["Action"])


def permissions() -> Iterator[Permission]:
    """Yield every statement of every role."""
    for role, resource in template()["Resources"].items():
        if resource["Type"] == "AWS::IAM::Role":
            for only_if, name, document in _policies_of(role):
                for statement in document["Statement"]:
                    more, chosen = _chosen(statement)
                    yield Permission(role, name, chosen, tuple(dict.fromkeys((*only_if, *more))))


def _policies_of(role: str) -> Iterator[tuple[tuple[str, ...], str, dict[str, Any]]]:
    """Yield the policies of a role: on which conditions it has each, their names, and their documents."""
    own = template()["Resources"][role]
    base = _condition_of(own)
    for policy in own["Properties"].get("Policies", []):
        only_if, chosen = _chosen(policy)
        name = chosen["PolicyName"]
        yield (*base, *only_if), f"{role}/{name}" if f"{role}/{name}" in WHY else name, chosen["PolicyDocument"]
    attached = [_chosen(each) for each in own["Properties"].get("ManagedPolicyArns", [])]
    for name, resource in template()["Resources"].items():
        properties, condition = resource["Properties"], _condition_of(resource)
        holding = [only_if for only_if, each in attached if each == {"Ref": name}]
        holding += [
            only_if
            for only_if, each in map(_chosen, properties.get("Roles", []))
            if resource["Type"] == "AWS::IAM::Policy" and each == {"Ref": role}
        ]
        for only_if in holding:
            yield (*base, *condition, *only_if), name, properties["PolicyDocument"]


def _condition_of(resource: dict[str, Any]) -> tuple[str, ...]:
    return (resource["Condition"],) if "Condition" in resource else ()


def _chosen(part: Any) -> tuple[tuple[str, ...], Any]:
    """Return on which conditions a part of the template is there, and the part."""
    if isinstance(part, dict) and "Fn::If" in part:
        condition, holds, _ = part["Fn::If"]
        return (condition,), holds
    return (), part


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def written(value: Any, names: dict[str, Any] | None = None) -> str:
    """Write a value of the template in one line: a resource or a parameter by its name."""
    if not isinstance(value, dict):
        return ", ".join(written(each, names) for each in value) if isinstance(value, list) else str(value)
    (kind, content), *_ = value.items()
    if kind == "Ref":
        return str(content).rpartition("::")[2]
    if kind == "Fn::GetAtt":
        return content.partition(".")[0] if isinstance(content, str) else str(content[0])
    if kind == "Fn::If":
        _, holds, otherwise = content
        return " or ".join(dict.fromkeys(each for each in (written(holds), written(otherwise)) if each != "NoValue"))
    if kind == "Fn::Split":
        return written(content[1])
    if kind == "Fn::Join":
        return written(content[1])
    text, inner = content if isinstance(content, list) else (content, {})
    for name, each in inner.items():
        text = text.replace(f"${{{name}}}", written(each))
    return str(text).replace("${AWS::", "${").replace(".Arn}", "}").replace("${", "").replace("}", "")


def document() -> str:
    """Return docs/iam.md with its two generated parts renewed: the roles, and the kinds of resources."""
    found = list(permissions())
    roles = dict.fromkeys(each.role for each in found)
    sections = [_section(role, [each for each in found if each.role == role]) for role in roles]
    parts = iter(["\n\n".join(sections), _kinds()])
    return _MARKED.sub(lambda _: next(parts), DOCUMENT.read_text())


def _section(role: str, found: list[Permission]) -> str:
    resource = template()["Resources"][role]
    (trust,) = resource["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    words = f"`{trust['Principal']['Service']}` assumes it"
    words += ", for this account only." if "Condition" in trust else "."
    lines = [f"## {role}", "", words, "", "| Actions | On | On these conditions | Why |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(_cells(each))} |" for each in sorted(found, key=lambda each: each.policy)]
    return "\n".join(lines)


def _cells(each: Permission) -> Iterator[str]:
    statement = each.statement
    actions = ", ".join(f"`{action}`{_of_call(each.policy, action)}" for action in sorted(each.actions))
    yield actions if statement["Effect"] == "Allow" else f"denied: {actions}"
    yield f"`{written(statement['Resource'])}`"
    conditions = statement.get("Condition", {}).values()
    keys = (f"`{key}`: `{written(of)}`" for values in conditions for key, of in values.items())
    yield "; ".join([*keys, *(CONDITIONS[name] for name in each.only_if)])
    yield WHY[each.policy]


def _of_call(policy: str, action: str) -> str:
    call = CALLS.get(f"{policy} {action}") or CALLS.get(action)
    return f" ({call})" if call else ""


def _kinds() -> str:
    """List what CloudFormation does with each kind of resource."""
    lines = ["| Kind | Actions |", "|---|---|"]
    for kind, actions in sorted(_actions_of_kinds().items()):
        lines.append(f"| `{kind}` | {', '.join(f'`{each}`' for each in actions)} |")
    return "\n".join(lines)


_CODEBUILD = ["codebuild:BatchGetProjects", "codebuild:CreateProject", "codebuild:DeleteProject"]
_CODEBUILD += ["codebuild:UpdateProject", "iam:PassRole"]
"""AWS publishes no schema with these."""


def _actions_of_kinds() -> dict[str, list[str]]:
    """Return the actions that AWS's resource schemas name for each kind of resource in the template."""
    kinds = sorted({each["Type"] for each in transformed()["Resources"].values() if "AWS::" in each["Type"]})
    command = [_SAM_PYTHON, ROOT / "tests/contract/resource_schemas.py"]
    printed = subprocess.run(command, input=json.dumps(kinds), capture_output=True, text=True, check=True).stdout
    return {kind: actions or _CODEBUILD for kind, actions in json.loads(printed).items()}


def main() -> None:
    """Write the document."""
    DOCUMENT.write_text(document())


if __name__ == "__main__":
    main()
