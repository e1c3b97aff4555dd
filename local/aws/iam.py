"""Roles, where AWS checks them by itself: when one role is handed to a service, and when a service acts with it.

ministack checks every signed API call. What has no API call of its own is asked here. Every denial is kept, since some
fail nothing that a test would see: a log line that may not be written, for instance.
"""

import fnmatch
import json
import re
from collections.abc import Iterable
from typing import Any

from local.aws import seams
from local.aws.cloud import ACCOUNT_ID, REGION, Cloud

PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
LOG_DELIVERY = (
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
)
_ECR_IMAGE = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/(?P<repository>[^:@]+)")


class Denied(Exception):
    """A role may not do what it has to."""


class Iam:
    """Asks ministack's evaluator; allows everything where enforcement is off."""

    def __init__(self, cloud: Cloud) -> None:
        """Take the cloud whose roles these are."""
        self._cloud = cloud
        self.denials: list[str] = []

    def install(self) -> None:
        """Keep every denial of an API call, and name the resources of the calls that ministack does not know."""
        seams.wrap("ministack.core.iam_actions:access_denied_response", self._note_denial)
        seams.wrap("ministack.core.iam_actions:extract_resource_arn", _resource_arn)
        seams.wrap("ministack.core.iam_actions:extract_iam_action", _action)
        seams.add("ministack.core.iam_actions:SERVICE_TO_IAM_NAMESPACE", "sagemaker", "sagemaker")

    def _note_denial(self, old: Any, service: str, action: str, principal_arn: str, *rest: Any, **named: Any) -> Any:
        self.denials.append(f"{principal_arn} {action} {named.get('resource_arn', '')}")
        return old(service, action, principal_arn, *rest, **named)

    def allows(self, role_arn: str, action: str, resource: str = "*") -> bool:
        """Say whether a role may do something; note it when not."""
        if not self._cloud.iam:
            return True
        name = role_arn.rsplit("/", 1)[-1]
        context = seams.use("ministack.core.iam_evaluator:EvalContext")(
            principal_arn=f"arn:aws:sts::{ACCOUNT_ID}:assumed-role/{name}/service",
            principal_type="AssumedRole",
            principal_account=ACCOUNT_ID,
            action=action,
            resource_arn=resource,
            region=REGION,
        )
        policies = seams.use("ministack.core.iam_evaluator:_gather_role_policies")(name, ACCOUNT_ID)
        allowed = seams.use("ministack.core.iam_evaluator:evaluate")(context, policies).decision == "Allow"
        if not allowed:
            self.denials.append(f"{role_arn} {action} {resource}")
        return bool(allowed)

    def need(self, role_arn: str, actions: Iterable[str], resource: str = "*") -> None:
        """Raise Denied, naming what is missing, unless a role may do all of this."""
        missing = [action for action in actions if not self.allows(role_arn, action, resource)]
        if missing:
            raise Denied(f"{role_arn} is not authorized to perform {', '.join(missing)} on {resource}")

    def caller_needs(self, headers: dict[str, str], action: str, resource: str, **context: str) -> None:
        """Raise Denied unless the caller of a request may do something beside the request itself."""
        if not self._cloud.iam:
            return
        key = seams.use("ministack.core.router:extract_access_key_id")(headers, {})
        enforce = seams.use("ministack.core.iam_evaluator:enforce")
        refused = enforce(key, action, action.split(":")[0], REGION, resource_arn=resource, service_context=context)
        if refused is not None:
            who = getattr(refused, "principal_arn", key)
            self.denials.append(f"{who} {action} {resource}")
            raise Denied(
                f"User: {who} is not authorized to perform: {action} on resource: {resource} because no identity-based "
                f"policy allows the {action} action"
            )

    def can_pull(self, role_arn: str, image: str) -> None:
        """Raise Denied unless a role may pull an image from Amazon ECR."""
        found = _ECR_IMAGE.match(image)
        if found:
            self.need(role_arn, ("ecr:GetAuthorizationToken",))
            arn = "arn:aws:ecr:{region}:{account}:repository/{repository}".format(**found.groupdict())
            self.need(role_arn, PULL, arn)

    def trusts(self, role_arn: str, service: str) -> bool:
        """Say whether a role is there and lets a service assume it."""
        role = seams.use("ministack.services.iam:_roles").get(role_arn.rsplit("/", 1)[-1])
        document = role.get("AssumeRolePolicyDocument") if role else ""
        return service in (document if isinstance(document, str) else json.dumps(document))

    def rule_may_invoke(self, rule_arn: str, function_arn: str) -> bool:
        """Say whether a function's resource policy lets a rule of EventBridge invoke it."""
        found = seams.use("ministack.services.lambda_svc:function_policy_for_arn")(function_arn)
        for statement in (found[0] if found else {}).get("Statement", []):
            principal = statement.get("Principal")
            principal = principal.get("Service") if isinstance(principal, dict) else principal
            conditions = (statement.get("Condition") or {}).values()
            sources = [value for each in conditions for key, value in each.items() if key.lower() == "aws:sourcearn"]
            from_rule = all(fnmatch.fnmatchcase(rule_arn, source) for source in sources)
            if statement.get("Effect") == "Allow" and principal == "events.amazonaws.com" and from_rule:
                return True
        return False


def _resource_arn(
    old: Any,
    service: str,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    query_params: Any,
    region: str,
    account_id: str,
) -> Any:
    if service == "lambda" and _asks_for_layer_version(path, query_params):
        return _first(query_params["Arn"])
    if service == "codebuild":
        return _project_arn(body, region, account_id)
    if service != "sagemaker":
        return old(service, method, path, headers, body, query_params, region, account_id)
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        return "*"
    name = request.get("TrainingJobName")
    own = f"arn:aws:sagemaker:{region}:{account_id}:training-job/{name}" if name else "*"
    return request.get("ResourceArn", own)


def _action(
    old: Any, service: str, method: str, path: str, headers: dict[str, str], body: bytes, query_params: Any
) -> Any:
    """Name the action of a layer that is asked for by the ARN of its version, which ministack takes for a list."""
    if service == "lambda" and _asks_for_layer_version(path, query_params):
        return "lambda:GetLayerVersion"
    return old(service, method, path, headers, body, query_params)


def _asks_for_layer_version(path: str, query_params: Any) -> bool:
    return path.endswith("/layers") and _first((query_params or {}).get("find")) == "LayerVersion"


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def _project_arn(body: bytes, region: str, account_id: str) -> str:
    """Name the project that a call of CodeBuild is about: a build has no ARN of its own in policies."""
    request = json.loads(body or b"{}")
    name = (
        request.get("projectName") or request.get("name") or request.get("id") or next(iter(request.get("ids", [])), "")
    )
    name = name.rpartition(":build/")[2].partition(":")[0]
    return f"arn:aws:codebuild:{region}:{account_id}:project/{name}" if name else "*"
