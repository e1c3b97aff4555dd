"""How a container gets its API key: by an input channel, so that DescribeTrainingJob does not show it."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from launch_agent.model import Model
from launch_agent.plan.agent import Agent
from launch_agent.plan.fault import Fault
from launch_agent.plan.run_environment import API_KEY, BASE_URL, final_environment
from launch_agent.plan.training_request import TrainingRequest
from launch_agent.run_queue.items import RunSpec
from launch_agent.training.container import CHANNEL, NETRC, channel, netrc, path_in_container

_MOST_CHANNELS = 20
_CHANNELS = "InputDataConfig"


class Delivery(Model):
    """A plan has this if the training job gets an input channel with its credentials."""


class Start(NamedTuple):
    """What starts a training job: the request, and the files in its channel, which have to be stored before it."""

    request: dict[str, Any]
    files: dict[str, str]


def delivery_of(request: TrainingRequest, agent: Agent) -> Delivery | None:
    """Return how the container gets its API key; None if it gets none, or in its environment."""
    if agent.config.api_key_delivery == "environment" or not request.algorithm.takes_channel:
        return None
    return Delivery() if _needs_key(request) else None


def gets_agents_key(request: TrainingRequest, spec: RunSpec, agent: Agent) -> bool:
    """Whether the container gets the launch agent's own API key, as nobody has another for it."""
    others = request.own_environment.get(API_KEY) or spec.api_key or agent.deployment.run_api_key_secret
    return _needs_key(request) and not others


def _needs_key(request: TrainingRequest) -> bool:
    return bool(request.own_environment.get(API_KEY)) or not request.algorithm.is_provided


def delivery_faults(request: TrainingRequest, spec: RunSpec, agent: Agent) -> Iterator[Fault]:
    """Yield why the container cannot get its API key."""
    if gets_agents_key(request, spec, agent) and not agent.config.allow_agent_key:
        yield Fault(
            "",
            "the run has no W&B API key for its container, and allow_agent_key in launch-config.yaml is false. Queue "
            "the run with a key, or deploy the stack with the parameter RunApiKeySecretArn.",
        )
    own = request.body.get(_CHANNELS)
    if delivery_of(request, agent) is None or not isinstance(own, list):
        return
    if len(own) == _MOST_CHANNELS:
        yield Fault(
            _CHANNELS,
            f"{_CHANNELS} has {_MOST_CHANNELS} channels, the most that SageMaker allows, and the launch agent needs "
            "one for the container's API key. Remove one.",
        )
    if any(isinstance(each, Mapping) and each.get("ChannelName") == CHANNEL for each in own):
        yield Fault("", f'{_CHANNELS} has a channel "{CHANNEL}". The launch agent uses this name. Rename the channel.')


def start_of(
    request: Mapping[str, Any], delivery: Delivery | None, *, folder: str, api_key: str | None, again: bool
) -> Start:
    """Return how to start the job of a planned request, with its channel in `folder` in S3 if it needs one.

    `again` is whether an earlier training job may have begun the run.
    """
    planned = request["Environment"]
    if delivery is None:
        return Start({**request, "Environment": final_environment(planned, api_key=api_key, again=again)}, {})
    environment = final_environment(planned, api_key=None, again=again)
    return Start(
        {
            **request,
            "Environment": {"NETRC": path_in_container(NETRC), **environment},
            _CHANNELS: [*request.get(_CHANNELS, []), channel(folder)],
        },
        {NETRC: netrc(environment[BASE_URL], api_key or "")},
    )
