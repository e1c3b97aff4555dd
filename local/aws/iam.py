"""Checks roles where AWS checks them itself: when a role is passed to a service, and when a service uses it.

ministack checks every signed API call. This module checks actions without an API call, and adds condition keys that
ministack lacks. It records every denial, because some have no effect that a test would see, such as a log line that
the role may not write.
"""

import contextvars
import fnmatch
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from local import ACCOUNT_ID, REGION
from local.aws import iam_request, seams

PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
SENDING = ("kms:Decrypt", "kms:GenerateDataKey")
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html"""
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
_PARSE = "ministack.core.iam_evaluator:parse_policy_document"
_ECR_IMAGE = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/(?P<repository>[^:@]+)")


caller: contextvars.ContextVar[dict[str, str]] = contextvars.ContextVar("caller")
"""The headers of the current request, for operations whose answers depend on the caller."""


class Denied(Exception):
    """A role lacks a permission that it needs."""


class Iam:
    """Checks permissions with ministack's evaluator."""

    def __init__(self) -> None:
        """Start without denials."""
        self.denials: list[str] = []

    def install(self) -> None:
        """Record every denied API call, and find the resources of calls that ministack does not know."""
        seams.wrap("ministack.core.iam_actions:access_denied_response", self._note_denial)
        seams.wrap("ministack.core.iam_actions:extract_resource_arn", iam_request.resource_arn)
        seams.wrap("ministack.core.iam_actions:extract_iam_action", iam_request.action)
        seams.wrap("ministack.core.iam_actions:dynamodb_service_context", iam_request.with_leading_keys)
        # The policies of the caller's role are parsed for every request, and not changed.
        parsed = lru_cache(maxsize=1024)(seams.use(_PARSE))
        seams.wrap(_PARSE, lambda old, doc: parsed(doc) if isinstance(doc, str) else old(doc))
        seams.wrap("ministack.services.secretsmanager:_get_secret_value", self._get_secret_value)
        # Clients reach this AWS over loopback without TLS, and AWS with it: policies must not refuse them for that.
        seams.wrap("ministack.app:pin_request_origin", lambda old, source_ip, _: old(source_ip, True))
        seams.add("ministack.core.iam_actions:SERVICE_TO_IAM_NAMESPACE", "sagemaker", "sagemaker")

    def know_tags(self, tags: dict[str, list[dict[str, str]]]) -> None:
        """Register the training jobs' tags, by ARN, because policies have conditions on them."""
        collectors = "ministack.services.tagging:_RESOURCE_TAG_COLLECTORS"
        seams.add(collectors, "sagemaker", lambda: list(tags.items()))

    def _get_secret_value(self, old: Any, data: dict[str, Any]) -> Any:
        """Check that the caller may also decrypt the secret; ministack does not check a secret's key."""
        _, secret = seams.use("ministack.services.secretsmanager:_resolve")(data.get("SecretId"))
        key = (secret or {}).get("KmsKeyId")
        try:
            if key:
                through = {"kms:viaservice": f"secretsmanager.{REGION}.amazonaws.com"}
                self.caller_needs(caller.get(), "kms:Decrypt", key, **through)
        except Denied:
            refuse = seams.use("ministack.core.responses:error_response_json")
            return refuse("AccessDeniedException", "Access to KMS is not allowed", 400)
        return old(data)

    def _note_denial(self, old: Any, service: str, action: str, principal_arn: str, *rest: Any, **named: Any) -> Any:
        if principal_arn:  # without a principal, the request was not signed
            self.denials.append(f"{principal_arn} {action} {named.get('resource_arn', '')}")
        return old(service, action, principal_arn, *rest, **named)

    def allows(self, role_arn: str, action: str, resource: str = "*", **context: str) -> bool:
        """Return whether a role may do something, given the values of condition keys; record a denial."""
        allowed = self._may(role_arn, action, resource, context)
        if not allowed:
            self.denials.append(f"{role_arn} {action} {resource}")
        return allowed

    def _may(self, role_arn: str, action: str, resource: str, context: dict[str, str]) -> bool:
        name = role_arn.rsplit("/", 1)[-1]
        asked = seams.use("ministack.core.iam_evaluator:EvalContext")(
            principal_arn=f"arn:aws:sts::{ACCOUNT_ID}:assumed-role/{name}/service",
            principal_type="AssumedRole",
            principal_account=ACCOUNT_ID,
            action=action,
            resource_arn=resource,
            region=REGION,
            service_context=context,
        )
        policies = seams.use("ministack.core.iam_evaluator:_gather_role_policies")(name, ACCOUNT_ID)
        roles = seams.use("ministack.services.iam:_roles")
        boundary = seams.use("ministack.core.iam_evaluator:_permissions_boundary")(roles, name, ACCOUNT_ID)
        return bool(seams.use("ministack.core.iam_evaluator:evaluate")(asked, policies, *boundary).decision == "Allow")

    def need(self, role_arn: str, actions: Iterable[str], resource: str = "*") -> None:
        """Raise Denied, with the missing actions, unless a role may do all of these."""
        missing = [action for action in actions if not self.allows(role_arn, action, resource)]
        if missing:
            raise Denied(f"{role_arn} is not authorized to perform {', '.join(missing)} on {resource}")

    def caller_needs(self, headers: dict[str, str], action: str, resource: str, **context: str) -> None:
        """Raise Denied unless a request's caller also has this permission, besides that for the request itself."""
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

    def need_for_either(
        self, role_arn: str, headers: dict[str, str], action: str, resource: str, **context: str
    ) -> None:
        """Raise Denied unless a role or the request's caller may do something."""
        if not self._may(role_arn, action, resource, context):
            self.caller_needs(headers, action, resource, **context)

    def can_pull(self, role_arn: str, image: str) -> None:
        """Raise Denied unless a role may pull an image from Amazon ECR."""
        found = _ECR_IMAGE.match(image)
        if found:
            self.need(role_arn, ("ecr:GetAuthorizationToken",))
            arn = "arn:aws:ecr:{region}:{account}:repository/{repository}".format(**found.groupdict())
            self.need(role_arn, PULL, arn)

    def trusts(self, role_arn: str, service: str) -> bool:
        """Return whether a role exists and lets a service assume it for this account."""
        role = seams.use("ministack.services.iam:_roles").get(role_arn.rsplit("/", 1)[-1])
        document = (role or {}).get("AssumeRolePolicyDocument") or {}
        return _lets_service(document, service, "sts:AssumeRole", role_arn, {"aws:sourceaccount": ACCOUNT_ID})

    def key_lets(self, key_arn: str, service: str, **context: str) -> bool:
        """Return whether a KMS key's policy lets a service encrypt and decrypt."""
        key = seams.use("ministack.services.kms:_resolve_key")(key_arn) or {}
        return all(_lets_service(key.get("Policy") or {}, service, action, key_arn, context) for action in SENDING)

    def may_send_with_key(self, role_arn: str, queue_arn: str) -> bool:
        """Return whether a role may send to a queue with a KMS key, if the queue has one; record a denial."""
        return self._may_use_key(role_arn, queue_arn, *SENDING)

    def may_receive_with_key(self, role_arn: str, queue_arn: str) -> bool:
        """Return whether a role may receive from a queue with a KMS key, if the queue has one; record a denial."""
        return self._may_use_key(role_arn, queue_arn, "kms:Decrypt")

    def _may_use_key(self, role_arn: str, queue_arn: str, *actions: str) -> bool:
        key, through = key_of_queue(queue_arn), {"kms:viaservice": f"sqs.{REGION}.amazonaws.com"}
        return not key or all(self.allows(role_arn, action, key, **through) for action in actions)

    def rule_may_invoke(self, rule_arn: str, function_arn: str) -> bool:
        """Return whether a function's resource policy lets an EventBridge rule invoke it."""
        found = seams.use("ministack.services.lambda_svc:function_policy_for_arn")(function_arn)
        return _lets_rule(found[0] if found else {}, rule_arn)

    def rule_may_send(self, rule_arn: str, queue_arn: str) -> bool:
        """Return whether a queue's policy, and that of its KMS key, let an EventBridge rule send to it."""
        key = key_of_queue(queue_arn)
        if key and not self.key_lets(key, "events.amazonaws.com"):
            return False
        return _lets_rule(json.loads(_queue_attributes(queue_arn).get("Policy") or "{}"), rule_arn)


def _queue_attributes(queue_arn: str) -> dict[str, str]:
    queue = seams.use("ministack.services.sqs:_queue_by_arn")(queue_arn) or {}
    return dict(queue.get("attributes", {}))


def key_of_queue(queue_arn: str) -> str:
    """Return the KMS key of a queue; empty if it has none."""
    return _queue_attributes(queue_arn).get("KmsMasterKeyId") or ""


def _lets_service(document: Any, service: str, action: str, resource: str, context: dict[str, str]) -> bool:
    """Return whether a resource's policy lets a service do something with it."""
    policy = json.loads(document) if isinstance(document, str) else document
    asked = seams.use("ministack.core.iam_evaluator:EvalContext")(
        principal_arn=service,
        principal_type="Service",
        principal_account="",
        action=action,
        resource_arn=resource,
        region=REGION,
        service_context=context,
    )
    met = seams.use("ministack.core.iam_evaluator:_conditions_met")
    return any(
        statement["Effect"] == "Allow"
        and service in _listed((statement.get("Principal") or {}).get("Service", []))
        and any(fnmatch.fnmatchcase(action, each) for each in _listed(statement["Action"]))
        and met(statement.get("Condition") or {}, asked)
        for statement in policy.get("Statement", [])
    )


def _lets_rule(policy: Mapping[str, Any], rule_arn: str) -> bool:
    for statement in policy.get("Statement", []):
        principal = statement.get("Principal")
        principal = principal.get("Service") if isinstance(principal, dict) else principal
        conditions = (statement.get("Condition") or {}).values()
        sources = [value for each in conditions for key, value in each.items() if key.lower() == "aws:sourcearn"]
        from_rule = all(fnmatch.fnmatchcase(rule_arn, source) for source in sources)
        if statement.get("Effect") == "Allow" and principal == "events.amazonaws.com" and from_rule:
            return True
    return False


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
