"""The AWS account in which a command works: whose credentials there are, and the stack as CloudFormation has it."""

from collections.abc import Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from launch_agent.clients.aws import CONFIG
from operate.errors import CannotOperate

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef


class Account:
    """The account and region of the operator's credentials. Every method may raise botocore's errors."""

    def __init__(self, region: str | None) -> None:
        """Take the region; without one, the operator's own settings say which. Raises CannotOperate without any."""
        session = boto3.Session(region_name=region)
        if not session.region_name:
            raise CannotOperate("There is no AWS region. Set AWS_REGION, or choose one with `aws configure`.")
        self.region: str = session.region_name
        # The clients of the launch_agent package have no region of their own.
        boto3.setup_default_session(region_name=self.region)
        self.client: Any = partial(session.client, config=CONFIG)

    @cached_property
    def caller(self) -> Mapping[str, str]:
        """Who the operator is: `Account` and `Arn`."""
        identity: Mapping[str, str] = self.client("sts").get_caller_identity()
        return identity

    @property
    def id(self) -> str:
        """The account's id."""
        return self.caller["Account"]

    def stack(self, name: str) -> "StackTypeDef | None":
        """Return a stack; None when there is none, or only the remains of a deployment that failed at once."""
        try:
            stack: StackTypeDef = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in error.response.get("Error", {}).get("Message", ""):
                return None
            raise
        return None if stack["StackStatus"] in ("REVIEW_IN_PROGRESS", "DELETE_COMPLETE") else stack

    def outputs(self, name: str) -> dict[str, str]:
        """Return a stack's outputs. Raises CannotOperate when there is no such stack."""
        return {each["OutputKey"]: each["OutputValue"] for each in self.deployed(name).get("Outputs", [])}

    def deployed(self, name: str) -> "StackTypeDef":
        """Return a stack. Raises CannotOperate when there is none."""
        stack = self.stack(name)
        if stack is None:
            raise CannotOperate(
                f"There is no stack {name} in account {self.id}, region {self.region}. Name another stack with STACK=, "
                "or another region with AWS_REGION."
            )
        return stack

    def kept(self, stack_id: str) -> dict[str, str]:
        """Return what a deleted stack has left: the type of each resource, by its physical id."""
        pages = self.client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=stack_id)
        events = [event for page in pages for event in page["StackEvents"]]
        return {
            event["PhysicalResourceId"]: event["ResourceType"].removeprefix("AWS::")
            for event in events
            if event["ResourceStatus"] == "DELETE_SKIPPED"
        }
