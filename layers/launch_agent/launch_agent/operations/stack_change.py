"""What CloudFormation asks of a custom resource, and the answer that it waits for
(https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requests.html).
"""

from typing import Any

from pydantic import Field

from launch_agent.model import Wire

_PHYSICAL_ID = "launch-agent"
"""Always the same: another would have CloudFormation delete the former resource."""


class StackChange(Wire):
    """One request: the stack is created, changed or deleted."""

    kind: str = Field(alias="RequestType")
    request_id: str = Field(alias="RequestId")
    response_url: str = Field(alias="ResponseURL", repr=False)
    """Where to answer. Who has it can answer."""
    stack_id: str = Field(alias="StackId")
    logical_id: str = Field(alias="LogicalResourceId")
    physical_id: str = Field(alias="PhysicalResourceId", default=_PHYSICAL_ID)
    properties: dict[str, Any] = Field(alias="ResourceProperties", default_factory=dict, repr=False)
    """The resource's properties in the template. CloudFormation sends every value as text."""

    @property
    def is_deletion(self) -> bool:
        """Whether the stack is deleted, or an update that brought the resource is rolled back."""
        return self.kind == "Delete"

    def answer(self, failure: str) -> dict[str, str]:
        """Return the answer that lets the stack continue or, with a failure, makes it fail for this reason."""
        return {
            **({"Status": "FAILED", "Reason": failure} if failure else {"Status": "SUCCESS"}),
            "RequestId": self.request_id,
            "StackId": self.stack_id,
            "LogicalResourceId": self.logical_id,
            "PhysicalResourceId": self.physical_id,
        }
