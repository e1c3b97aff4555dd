"""IAM in the simulated world: whether the template lets a function make a call, and by which statements.

It has what the functions' policies use: resources with wildcards, and the operators of their conditions.
"""

import fnmatch
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from tests.handlers import logical_id
from tests.iam_document import Permission, permissions
from tests.simulation.builds import REPOSITORY
from tests.simulation.training import STACK_TAG

ACCOUNT, REGION, STACK = "123456789012", "us-east-1", "launch"
_NAMESPACES = {
    "cloudwatch-logs": "logs",
    "eventbridge": "events",
    "secrets-manager": "secretsmanager",
    "sfn": "states",
}
"""The names of services in IAM, if they differ from botocore's."""


def arn(service: str, resource: str) -> str:
    """Return the ARN of a resource of the simulated account."""
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


_NAMES = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": STACK,
    "AWS::URLSuffix": "amazonaws.com",
    "BuildBucket.Arn": "arn:aws:s3:::bucket",
    "BuildProject.Arn": arn("codebuild", f"project/{STACK}"),
    "CredentialsBucket.Arn": "arn:aws:s3:::credentials",
    "Images": REPOSITORY.partition("/")[2],
    "LaunchRun": arn("states", f"stateMachine:{STACK}"),
    "LaunchRun.Name": STACK,
    "RunDetails.Arn": arn("dynamodb", f"table/{STACK}-details"),
    "Runs.Arn": arn("dynamodb", f"table/{STACK}"),
    "Ticks.Arn": arn("sqs", STACK),
    "TrainingBucket": "*",
    "TrainingRole.Arn": f"arn:aws:iam::{ACCOUNT}:role/*",
    "WandbApiKeySecretArn": arn("secretsmanager", "secret:key"),
}
"""What is referred to in the policies, in the simulated world. Other references match nothing there."""


class Need(NamedTuple):
    """One action that a call needs, on a resource, with the values of condition keys."""

    action: str
    resource: str
    context: Mapping[str, list[str]]


class Entry(NamedTuple):
    """One action of a statement of a role: what can be taken away."""

    role: str
    policy: str
    place: int
    """The statement's number among the role's."""
    action: str

    def __str__(self) -> str:
        """Write it as the list has it."""
        return f"{self.role} > {self.policy} > {self.action}"


def entries() -> dict[Entry, Permission]:
    """Return every action that a role may use, with its statement."""
    found: dict[Entry, Permission] = {}
    counts: defaultdict[str, int] = defaultdict(int)
    for each in permissions():
        counts[each.role] += 1
        if each.statement["Effect"] == "Allow":
            found |= {Entry(each.role, each.policy, counts[each.role], action): each for action in each.actions}
    return found


class Iam:
    """The policies of the functions, without one action if `without` is given."""

    def __init__(self, without: Entry | None = None) -> None:
        self.denied: list[str] = []
        self.alone: set[Entry] = set()
        """The entries that alone allowed a call: without each, the call is denied."""
        self.used: set[Entry] = set()
        """All entries that allowed a call."""
        self._of_role: defaultdict[str, list[tuple[Entry, Permission]]] = defaultdict(list)
        for entry, permission in entries().items():
            if entry != without:
                self._of_role[entry.role].append((entry, permission))

    def allows(self, function: str, needs: list[Need]) -> bool:
        """Return whether a function's role may do all of this; record which entries allow it, or the denial."""
        role = f"{logical_id(function)}Role"
        for need in needs:
            by = [entry for entry, permission in self._of_role[role] if _covers(entry.action, permission, need)]
            self.used.update(by)
            if len(by) == 1:
                self.alone.update(by)
            if not by:
                self.denied.append(f"{role} {need.action} {need.resource}")
                return False
        return True


def _covers(action: str, permission: Permission, need: Need) -> bool:
    if action != need.action:
        return False
    statement = permission.statement
    patterns = resolved(statement["Resource"])
    conditions = statement.get("Condition", {}).items()
    return any(fnmatch.fnmatchcase(need.resource, each) for each in patterns) and all(
        _holds(operator, need.context.get(key), resolved(expected))
        for operator, keys in conditions
        for key, expected in keys.items()
    )


def _holds(operator: str, values: list[str] | None, expected: list[str]) -> bool:
    """Return whether a condition holds. Without its key, only ForAllValues does."""
    if values is None:
        return operator.startswith("ForAllValues:")
    if operator.endswith("Like"):
        return all(any(fnmatch.fnmatchcase(value, each) for each in expected) for value in values)
    return all(value in expected for value in values)


def resolved(value: Any) -> list[str]:
    """Return the texts that a value of the template is in the simulated world."""
    if isinstance(value, list):
        return [text for each in value for text in resolved(each)]
    if not isinstance(value, dict):
        return [str(value)]
    (kind, content), *_ = value.items()
    if kind == "Ref":
        return [_NAMES.get(content, f"<{content}>")]
    if kind == "Fn::GetAtt":
        name = content if isinstance(content, str) else ".".join(content)
        return [_NAMES.get(name, f"<{name}>")]
    if kind == "Fn::If":
        return resolved(content[1:])
    if kind == "Fn::Split":
        return [part for text in resolved(content[1]) for part in text.split(content[0])]
    if kind == "Fn::Join":
        return [content[0].join(resolved(content[1]))]
    text, inner = content if isinstance(content, list) else (content, {})
    return [_substituted(text, {**inner, name: option}) for name, option in _options(inner)] or [_substituted(text, {})]


def _options(inner: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each value that the one variable of a Sub can have."""
    for name, value in inner.items():
        yield from ((name, option) for option in resolved(value))


def _substituted(text: str, inner: Mapping[str, Any]) -> str:
    return re.sub(r"\$\{([^}]+)\}", lambda found: str(inner.get(found[1]) or resolved({"Ref": found[1]})[0]), text)


def needs_of(service: str, operation: str, request: Any, tags_of: Mapping[str, Mapping[str, str]]) -> list[Need]:
    """Return what a call of botocore needs. `tags_of` has the tags of each training job."""
    if service == "s3":
        return [_of_s3(operation, request)]
    asked = json.loads(request.body)
    if service == "dynamodb":
        return list(_of_dynamodb(operation, asked))
    name = f"{_NAMESPACES.get(service, service)}:{operation}"
    if service == "sqs":
        return [Need(name.removesuffix("Batch"), arn("sqs", asked["QueueUrl"].rpartition("/")[2]), {})]
    if operation == "CreateTrainingJob":
        return list(_of_training_job(name, asked))
    return [Need(name, _resource(service, asked), _context(service, asked, tags_of))]


def _of_s3(operation: str, request: Any) -> Need:
    asked = urlsplit(request.url)
    bucket, _, key = unquote(asked.path).lstrip("/").partition("/")
    host = (asked.hostname or "").partition(".")[0]
    if host != "s3":  # the bucket is in the host
        bucket, key = host, unquote(asked.path).lstrip("/")
    if operation in ("HeadBucket", "ListObjectsV2"):
        prefix = parse_qs(asked.query).get("prefix")
        return Need("s3:ListBucket", f"arn:aws:s3:::{bucket}", {"s3:prefix": prefix} if prefix else {})
    return Need(f"s3:{operation}", f"arn:aws:s3:::{bucket}/{key}", {})


def _of_dynamodb(operation: str, asked: dict[str, Any]) -> Iterator[Need]:
    parts = [next(iter(each.items())) for each in asked.get("TransactItems", [])] or [(operation, asked)]
    for kind, part in parts:
        action = {"Update": "UpdateItem", "Put": "PutItem", "Delete": "DeleteItem"}.get(kind, kind)
        index = f"/index/{part['IndexName']}" if "IndexName" in part else ""
        key = (part.get("Key") or part.get("Item") or {}).get("pk", {}).get("S")
        resource = arn("dynamodb", f"table/{part['TableName']}{index}")
        yield Need(f"dynamodb:{action}", resource, {"dynamodb:LeadingKeys": [key]} if key else {})


def _of_training_job(name: str, asked: dict[str, Any]) -> Iterator[Need]:
    job = arn("sagemaker", f"training-job/{asked['TrainingJobName']}")
    tags = {f"aws:RequestTag/{each['Key']}": [each["Value"]] for each in asked.get("Tags", [])}
    yield Need(name, job, tags)
    yield Need("sagemaker:AddTags", job, {**tags, "sagemaker:TaggingAction": ["CreateTrainingJob"]})
    yield Need("iam:PassRole", asked["RoleArn"], {"iam:PassedToService": ["sagemaker.amazonaws.com"]})


def _resource(service: str, asked: dict[str, Any]) -> str:
    """Return the resource of a call, or * if its action supports none."""
    named = asked.get("SecretId") or asked.get("executionArn") or asked.get("stateMachineArn")
    if named or asked.get("ResourceArn"):
        return str(named or asked["ResourceArn"])
    if asked.get("TrainingJobName"):
        return arn("sagemaker", f"training-job/{asked['TrainingJobName']}")
    if service == "ecr":
        return arn("ecr", f"repository/{asked['repositoryName']}")
    if service == "cloudwatch-logs":
        return arn("logs", f"log-group:{asked['logGroupName']}:log-stream:{asked.get('logStreamName', '')}")
    if service == "codebuild":
        return arn("codebuild", f"project/{asked['ids'][0].partition(':')[0]}")
    return arn("events", "event-bus/default") if service == "eventbridge" else "*"


def _context(service: str, asked: dict[str, Any], tags_of: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    if service == "ecr":
        return {"aws:ResourceAccount": [asked.get("registryId", ACCOUNT)]}
    tag = tags_of.get(asked.get("TrainingJobName", ""), {}).get(STACK_TAG)
    return {f"aws:ResourceTag/{STACK_TAG}": [tag]} if tag else {}
