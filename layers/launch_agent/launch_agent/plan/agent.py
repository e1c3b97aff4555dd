"""The launch agent that plans."""

from typing import TYPE_CHECKING, NamedTuple

from launch_agent.deployment import Deployment
from launch_agent.plan.request_shape import Shape

if TYPE_CHECKING:  # its YAML parser costs a cold start, and most functions read no configuration
    from launch_agent.run_queue.launch_config import LaunchConfig


class Agent(NamedTuple):
    """Where the launch agent is deployed, how it is configured, and the shape of the requests SageMaker accepts."""

    deployment: Deployment
    config: "LaunchConfig"
    shape: Shape
