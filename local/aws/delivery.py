"""Delivers events of EventBridge rules and schedules, and messages of SQS, to functions, and checks permissions."""

import contextvars
import json
import threading
import time
from typing import Any

from local.aws import seams
from local.aws.cloud import Cloud
from local.aws.iam import Iam
from local.aws.repairs import HANDLERS, keeping

_rule: contextvars.ContextVar[dict[str, Any]] = contextvars.ContextVar("rule")
_is_asynchronous: contextvars.ContextVar[bool] = contextvars.ContextVar("is_asynchronous", default=False)
# https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
_HOURS, _PAUSE, _LONGEST_PAUSE = 6 * 3600.0, 1.0, 300.0

_MAPPING = "AWS::Lambda::EventSourceMapping"
_OF_MAPPINGS = ("sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage")
"""https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""


class Delivery:
    """Delivers asynchronous invocations as Lambda does: with retries, a destination on failure, and permissions."""

    def __init__(self, cloud: Cloud, iam: Iam) -> None:
        """Deliver in this cloud, and check permissions with `iam`."""
        self._cloud, self._iam = cloud, iam

    def install(self) -> None:
        """Replace ministack's single attempt, and run rates at the cloud's speed."""
        seams.wrap("ministack.services.eventbridge:_invoke_target", self._invoke_target)
        seams.replace("ministack.services.eventbridge:_dispatch_to_lambda", self._to_function)
        seams.wrap("ministack.services.eventbridge:_parse_rate_seconds", self._rate)
        seams.replace("ministack.services.scheduler:_SCHEDULE_TICK_INTERVAL", 0.5)
        seams.wrap("ministack.services.lambda_svc:_route_async_failure", self._on_failure)
        seams.wrap("ministack.services.lambda_svc:invoke_async_with_retry", _invoke_asynchronously)
        seams.wrap("ministack.services.lambda_svc:_execute_function", self._execute)
        seams.wrap("ministack.services.sqs:_act_send_message", self._send_message)
        seams.wrap("ministack.services.sqs:_receive_messages_for_esm", self._receive_for_mapping)
        handlers = seams.use(HANDLERS)
        handlers[_MAPPING] = keeping(handlers[_MAPPING], self._check_mapping)

    def _rate(self, old: Any, expr: str) -> float | None:
        seconds = old(expr)
        return None if seconds is None else self._cloud.scaled(seconds)

    def _invoke_target(
        self, old: Any, target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], view: Any = None
    ) -> None:
        """Check the permissions of a schedule's target role or a rule, and remember the rule during the delivery."""
        role = target.get("RoleArn", "")
        if event.get("Source") == "aws.scheduler" and not (
            self._iam.trusts(role, "scheduler.amazonaws.com")
            and self._iam.allows(role, "lambda:InvokeFunction", target["Arn"])
        ):
            return
        if event.get("Source") == "aws.scheduler" and "Input" not in target:
            target = {**target, "Input": json.dumps(_envelope(event))}
        if ":sqs:" in target["Arn"] and not self._iam.rule_may_send(rule.get("Arn", ""), target["Arn"]):
            return
        token = _rule.set(rule)
        try:
            old(target, event, rule, view)
        finally:
            _rule.reset(token)

    def _to_function(self, arn: str, payload: str) -> None:
        rule = _rule.get()
        if ":rule/" in rule.get("Arn", "") and not self._iam.rule_may_invoke(rule["Arn"], arn):
            self._iam.denials.append(f"{rule['Arn']} lambda:InvokeFunction {arn}")
            return
        func, config, _ = seams.use("ministack.services.lambda_svc:_get_func_record_for_ref")(arn)
        if func and config:
            record = seams.use("ministack.services.lambda_svc:_execution_record_for_config")(func, config)
            seams.use("ministack.services.lambda_svc:invoke_async_with_retry")(record, json.loads(payload))

    def _execute(self, old: Any, func: dict[str, Any], event: Any) -> Any:
        """Call a function. If it is throttled and the call is asynchronous, retry for hours."""
        deadline, pause = time.monotonic() + self._cloud.scaled(_HOURS), _PAUSE
        result = old(func, event)
        while result.get("throttle") and _is_asynchronous.get() and time.monotonic() < deadline:
            time.sleep(self._cloud.scaled(pause))
            pause = min(2 * pause, _LONGEST_PAUSE)
            result = old(func, event)
        return result

    def _send_message(self, old: Any, data: dict[str, Any], qurl: str) -> Any:
        """Store a message, with its delay at the cloud's speed; look for it in time."""
        answer = old(data, qurl)
        messages = seams.use("ministack.services.sqs:_get_q")(data.get("QueueUrl", qurl))["messages"]
        (message,) = (each for each in messages if each["id"] == answer["MessageId"])
        delay = self._cloud.scaled(message["visible_at"] - message["sent_at"])
        message["visible_at"] = message["sent_at"] + delay
        if delay:
            timer = threading.Timer(delay, seams.use("ministack.core.concurrency:esm_wake").set)
            timer.daemon = True
            timer.start()
        return answer

    def _receive_for_mapping(self, old: Any, queue_url: str, max_number: int) -> Any:
        """Return messages for an event source mapping, if the role of its function may receive and delete them."""
        name = queue_url.rpartition("/")[2]
        for mapping in seams.use("ministack.services.lambda_svc:_esms").values():
            arn = mapping["EventSourceArn"]
            if arn.rpartition(":")[2] == name:
                role = _role_of(mapping)
                if self._missing(role, arn) or not self._iam.may_receive_with_key(role, arn):
                    return []
        return old(queue_url, max_number)

    def _check_mapping(self, mapping_id: str, _: dict[str, Any]) -> None:
        """Refuse a mapping in a template if the role of its function may not receive. Raises ValueError."""
        mapping = seams.use("ministack.services.lambda_svc:_esms")[mapping_id]
        for action in self._missing(_role_of(mapping), mapping["EventSourceArn"]):
            call = action.partition(":")[2]
            raise ValueError(f"The function execution role does not have permissions to call {call} on SQS")

    def _missing(self, role: str, queue_arn: str) -> list[str]:
        return [action for action in _OF_MAPPINGS if not self._iam.allows(role, action, queue_arn)]

    def _on_failure(self, old: Any, target_arn: str, func_name: str, event: Any, result: Any) -> None:
        """Send the record of a failed call to its destination, if the function's role may."""
        functions = seams.use("ministack.services.lambda_svc:_functions")
        role = (functions.get(func_name) or {}).get("config", {}).get("Role", "")
        if self._iam.allows(role, "sqs:SendMessage", target_arn) and self._iam.may_send_with_key(role, target_arn):
            old(target_arn, func_name, event, result)


def _role_of(mapping: dict[str, Any]) -> str:
    """Return the role of a mapping's function."""
    function = seams.use("ministack.services.lambda_svc:_functions").get(mapping["FunctionName"])
    return str((function or {}).get("config", {}).get("Role", ""))


def _envelope(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event that EventBridge Scheduler sends for a schedule without Input: its detail is a text.

    https://github.com/aws/aws-lambda-dotnet/issues/1864
    """
    return {
        "version": "0",
        "id": event["EventId"],
        "detail-type": event["DetailType"],
        "source": event["Source"],
        "account": event["Account"],
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event["Time"])),
        "region": event["Region"],
        "resources": event["Resources"],
        "detail": event["Detail"],
    }


def _invoke_asynchronously(old: Any, func: dict[str, Any], event: Any) -> None:
    token = _is_asynchronous.set(True)
    try:
        old(func, event)  # it starts a thread, which inherits this context
    finally:
        _is_asynchronous.reset(token)


def publish(source: str, detail_type: str, detail: dict[str, Any], resource: str) -> None:
    """Put an event of an AWS service on the default bus."""
    entry = {"Source": source, "DetailType": detail_type, "Detail": json.dumps(detail), "Resources": [resource]}
    seams.use("ministack.services.eventbridge:_put_events")({"Entries": [entry]}, allow_aws_source=True)
