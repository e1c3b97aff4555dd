"""The AWS account that a command uses: the caller's identity, and the stacks that CloudFormation has."""

from collections.abc import Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from launch_agent.clients.aws import CONFIG
from launch_agent.clients.aws import session as package_session
from operate.errors import CannotOperate

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef


class Account:
    """The account and region of the operator's credentials. Every method can raise botocore's errors."""

    def __init__(self, region: str | None) -> None:
        """Use `region` or, if it is None, the operator's default region. Raises CannotOperate if there is neither."""
        session = boto3.Session(region_name=region)
        if not session.region_name:
            raise CannotOperate("No AWS region is set. Set AWS_REGION, or choose a region with `aws configure`.")
        self.region: str = session.region_name
        package_session().set_config_variable("region", self.region)
        self.client: Any = partial(session.client, config=CONFIG)

    @cached_property
    def caller(self) -> Mapping[str, str]:
        """The operator's identity: `Account` and `Arn`."""
        identity: Mapping[str, str] = self.client("sts").get_caller_identity()
        return identity

    @property
    def id(self) -> str:
        return self.caller["Account"]

    def stack(self, name: str) -> "StackTypeDef | None":
        """Return a stack; None if it does not exist, or has only an unexecuted change set."""
        try:
            stack: StackTypeDef = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in error.response.get("Error", {}).get("Message", ""):
                return None
            raise
        return None if stack["StackStatus"] in ("REVIEW_IN_PROGRESS", "DELETE_COMPLETE") else stack

    def outputs(self, name: str) -> dict[str, str]:
        """Return a stack's outputs. Raises CannotOperate if the stack does not exist."""
        return {each["OutputKey"]: each["OutputValue"] for each in self.deployed(name).get("Outputs", [])}

    def deployed(self, name: str) -> "StackTypeDef":
        """Return a stack. Raises CannotOperate if it does not exist."""
        stack = self.stack(name)
        if stack is None:
            raise CannotOperate(
                f"The stack {name} does not exist in account {self.id}, region {self.region}. Name another stack with "
                "STACK=, or another region with AWS_REGION."
            )
        return stack

    def kept(self, stack_id: str) -> dict[str, str]:
        """Return the resources that a deleted stack left behind: each one's type, by its physical id."""
        pages = self.client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=stack_id)
        events = [event for page in pages for event in page["StackEvents"]]
        return {
            event["PhysicalResourceId"]: event["ResourceType"].removeprefix("AWS::")
            for event in events
            if event["ResourceStatus"] == "DELETE_SKIPPED"
        }
