"""What planning needs to know of the launch agent."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from launch_agent.deployment import Deployment
from launch_agent.plan.request_shape import Shape

if TYPE_CHECKING:  # its YAML parser slows down cold starts, and most functions do not read the configuration
    from launch_agent.run_queue.launch_config import LaunchConfig


class Agent(NamedTuple):
    """Where the launch agent is deployed, its configuration, and the shape of the requests that SageMaker accepts."""

    deployment: Deployment
    config: "LaunchConfig"
    shape: Shape
    entry_point_of: Callable[[str], tuple[str, ...] | None] = lambda _: ()
    """Returns the entry point in the configuration of an image; None if it is not known."""
    prices_of: Callable[[set[str]], Mapping[str, float]] = lambda _: {}
    """Returns the prices of an hour in US dollars, by instance type; those that are not known are missing."""
