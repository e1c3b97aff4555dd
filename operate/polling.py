"""Polls of the run queues: one at once, and the schedule of the others."""

import time

from botocore.exceptions import ClientError

from launch_agent.clients.aws import error_code
from operate.errors import CannotOperate
from operate.setup import invoke
from operate.verify.stack import Stack

_REGISTRATION_SECONDS = 60


def poll(stack: Stack) -> str:
    """Poll once; return the status that W&B shows. It takes the items that the schedule would take within a minute.

    While a scheduled poll registers the launch agent, waits up to a minute for it. Raises CannotOperate if that takes
    longer, if the poll fails, or if polling was stopped in W&B.
    """
    deadline = time.monotonic() + _REGISTRATION_SECONDS
    while (status := str(invoke(stack, "PollQueuesFunctionName", {})["status"])) == "REGISTERING":
        if time.monotonic() > deadline:
            raise CannotOperate("Another poll is registering the launch agent with W&B. Try again in a minute.")
        time.sleep(1)
    if status == "KILLED":
        raise CannotOperate(
            f"Polling was stopped in W&B. Resume the launch agent {stack.name} there, or deploy a changed "
            "launch-config.yaml."
        )
    return status


def check_schedule(stack: Stack) -> None:
    """Raise CannotOperate if the queues are not polled regularly."""
    resource = {"StackName": stack.name, "LogicalResourceId": "PollQueuesFunctionEveryMinute"}
    found = stack.account.client("cloudformation").describe_stack_resource(**resource)["StackResourceDetail"]
    name = found["PhysicalResourceId"]
    where = f"The schedule {name} for polling the run queues"
    try:
        state = stack.account.client("scheduler").get_schedule(Name=name)["State"]
    except ClientError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        raise CannotOperate(f"{where} does not exist. Destroy the stack and deploy it again.") from None
    if state != "ENABLED":
        raise CannotOperate(f"{where} is {state.lower()}. Enable it in the EventBridge Scheduler console.")
