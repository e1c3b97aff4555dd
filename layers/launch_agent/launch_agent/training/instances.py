"""The instances of a training job, as requests and DescribeTrainingJob have them."""

from typing import NamedTuple

from pydantic import Field

from launch_agent.model import Wire


class Instances(NamedTuple):
    """Instances of one type."""

    type: str
    number: int


class _Entry(Wire):
    instance_type: str = Field(alias="InstanceType", default="")
    instance_count: int = Field(alias="InstanceCount", default=0)


class Resources(Wire):
    """ResourceConfig (https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ResourceConfig.html)."""

    instance_type: str = Field(alias="InstanceType", default="")
    instance_count: int = Field(alias="InstanceCount", default=0)
    selected_type: str = Field(alias="SelectedInstanceType", default="")
    selected_count: int = Field(alias="SelectedInstanceCount", default=0)
    groups: tuple[_Entry, ...] = Field(alias="InstanceGroups", default=())

    @property
    def instances(self) -> tuple[Instances, ...]:
        """The instances, by type. Empty while SageMaker has not chosen one of InstancePreferences."""
        entries = [(group.instance_type, group.instance_count) for group in self.groups]
        entries.append((self.selected_type or self.instance_type, self.selected_count or self.instance_count))
        return tuple(Instances(kind, count) for kind, count in entries if kind and count)
