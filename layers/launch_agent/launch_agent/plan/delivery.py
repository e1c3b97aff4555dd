"""How a container gets its API key, and variables that do not fit into the request: by an input channel.

DescribeTrainingJob shows the request, and only the address of the channel. If the container's command is known, it
starts through sh, which sets variables from a file in the channel. If not, the wandb SDK finds the API key in the file
that NETRC names.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from launch_agent.model import Model, shown
from launch_agent.plan.agent import Agent
from launch_agent.plan.fault import Fault
from launch_agent.plan.queue_block import QueueBlock
from launch_agent.plan.run_environment import API_KEY, BASE_URL, MAX_VALUE, MOST_VARIABLES, final_environment
from launch_agent.plan.secret_references import has_reference, secret_faults
from launch_agent.plan.training_request import TrainingRequest
from launch_agent.run_queue.items import RunSpec
from launch_agent.training.container import (
    CHANNEL,
    ENVIRONMENT,
    NETRC,
    SECRETS,
    START,
    channel,
    environment_file,
    netrc,
    path_in_container,
)

_MOST_CHANNELS = 20
_MOST_WORDS = 100
_WORD = re.compile(r"[^\n\r\x85\u2028\u2029]{0,256}")
"""The limits of ContainerEntrypoint and ContainerArguments. An item matches `.*`, so it is a single line."""
_LONGEST_VARIABLE = 131_071
"""In bytes, with name and =: MAX_ARG_STRLEN of Linux without the NUL at the end."""
_LARGEST_ENVIRONMENT = 1_500_000
"""In bytes. Linux allows a quarter of the stack, which is 2 MB by default, for the environment and the arguments."""
_CHANNELS, _ALGORITHM = "InputDataConfig", "AlgorithmSpecification"
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_PIECE = re.compile(r"WANDB_\w+_\d+")


class Delivery(Model):
    """A plan has this if the training job gets an input channel."""

    through_sh: bool = False
    """Whether the container starts through sh."""
    image_entry_point: tuple[str, ...] = ()
    """The image's own entry point, which is started if the request names none."""


class Start(NamedTuple):
    """What starts a training job: the request, and the files in its channel, which have to be stored before it."""

    request: dict[str, Any]
    files: dict[str, str]


def delivery_of(request: TrainingRequest, block: QueueBlock, agent: Agent) -> Delivery | None:
    """Return how the container gets its API key and variables that do not fit; None if the request has them all."""
    if agent.config.api_key_delivery == "environment" or not request.algorithm.takes_channel:
        return None
    needs_key = needs_api_key(request)
    if not needs_key and _fits(request.body["Environment"]) and not _secrets(request.body["Environment"]):
        return None
    entry_point = _entry_point(request, agent) if block.settings.start_through_sh else None
    if entry_point is None:
        return Delivery() if needs_key or _secrets(request.body["Environment"]) else None
    return Delivery(through_sh=True, image_entry_point=entry_point)


def needs_api_key(request: TrainingRequest) -> bool:
    """Whether the container gets an API key: it calls wandb.init, or its queue has a key."""
    return bool(request.own_environment.get(API_KEY)) or not request.algorithm.is_provided


def gets_agents_key(request: TrainingRequest, spec: RunSpec, agent: Agent) -> bool:
    """Whether the container gets the launch agent's own API key, as there is no other for it."""
    others = request.own_environment.get(API_KEY) or spec.api_key or agent.deployment.run_api_key_secret
    return needs_api_key(request) and not others


def _entry_point(request: TrainingRequest, agent: Agent) -> tuple[str, ...] | None:
    """Return the entry point of the image if the request names none, else an empty one.

    None if it is not known, or if SageMaker does not accept it after START.
    """
    specification = request.algorithm.specification
    own = specification.get("ContainerEntrypoint")
    of_image = () if own else agent.entry_point_of(str(specification.get("TrainingImage")))
    command = own or of_image
    if not isinstance(command, list | tuple) or len(START) + len(command) > _MOST_WORDS:
        return None
    if not all(isinstance(word, str) and _WORD.fullmatch(word) for word in command):
        return None
    return of_image


def _fits(environment: object) -> bool:
    return not isinstance(environment, Mapping) or not _moved(final_environment(environment, api_key=None, again=True))


def _secrets(environment: object) -> dict[str, str]:
    """Return the variables that name secrets."""
    given = environment if isinstance(environment, Mapping) else {}
    return {name: value for name, value in given.items() if has_reference(value) and _NAME.fullmatch(name)}


def _moved(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that do not fit into a request. Pieces of long values leave it first."""
    long = {name for name, value in environment.items() if isinstance(value, str) and len(value) > MAX_VALUE}
    short = sorted((name for name in environment if name not in long), key=lambda name: bool(_PIECE.fullmatch(name)))
    moved = {*long, *short[MOST_VARIABLES:]}
    return {
        name: value
        for name, value in environment.items()
        if name in moved and isinstance(value, str) and _NAME.fullmatch(name)
    }


def delivery_faults(
    request: TrainingRequest, delivery: Delivery | None, spec: RunSpec, agent: Agent
) -> Iterator[Fault]:
    """Yield why the container cannot get its API key, or its variables."""
    if gets_agents_key(request, spec, agent) and not agent.config.allow_agent_key:
        yield Fault(
            "",
            "the run has no W&B API key for its container, and allow_agent_key in launch-config.yaml is false. Queue "
            "the run with a key, or deploy the stack with the parameter RunApiKeySecretArn.",
        )
    if isinstance(request.body["Environment"], Mapping):
        allowed = agent.deployment.run_secret_arns
        yield from secret_faults(request.body["Environment"], allowed, can_deliver=delivery is not None)
    if delivery is None:
        return
    own = request.body.get(_CHANNELS)
    if isinstance(own, list) and len(own) == _MOST_CHANNELS:
        yield Fault(
            _CHANNELS,
            f"{_CHANNELS} has {_MOST_CHANNELS} channels, the most that SageMaker allows, and the launch agent needs "
            "one for the container's API key. Remove one.",
        )
    if isinstance(own, list) and any(isinstance(each, Mapping) and each.get("ChannelName") == CHANNEL for each in own):
        yield Fault("", f'{_CHANNELS} has a channel "{CHANNEL}". The launch agent uses this name. Rename the channel.')
    if delivery.through_sh and isinstance(request.body["Environment"], Mapping):
        yield from _too_large(request.body["Environment"])


def _too_large(environment: Mapping[str, Any]) -> Iterator[Fault]:
    sizes = {name: len(f"{name}={value}".encode()) for name, value in environment.items()}
    for name, size in sizes.items():
        if size > _LONGEST_VARIABLE:
            yield Fault(
                f"Environment.{shown(name)}",
                f"the variable {shown(name)} has {size:,} bytes, and Linux allows {_LONGEST_VARIABLE:,}. Put large "
                "data into a file or an artifact that the code reads.",
            )
    if sum(sizes.values()) > _LARGEST_ENVIRONMENT:
        yield Fault(
            "Environment",
            f"the variables of the container have {sum(sizes.values()):,} bytes, and it can start with "
            f"{_LARGEST_ENVIRONMENT:,}. Put large data into a file or an artifact that the code reads.",
        )


def start_of(
    request: Mapping[str, Any],
    delivery: Delivery | None,
    *,
    folder: str,
    api_key: str | None,
    again: bool,
    fill: Callable[[str], str] = str,
) -> Start:
    """Return how to start the job of a planned request, with its channel in `folder` in S3 if it needs one.

    `again` is whether an earlier training job may have begun the run. `fill` replaces the references to secrets in the
    value of a variable.
    """
    planned = request["Environment"]
    if delivery is None:
        return Start({**request, "Environment": final_environment(planned, api_key=api_key, again=again)}, {})
    environment = final_environment(planned, api_key=None, again=again)
    key: dict[str, str] = {API_KEY: api_key} if api_key else {}
    files = {NETRC: netrc(str(environment.get(BASE_URL)), api_key)} if api_key else {}
    if api_key:
        environment = {"NETRC": path_in_container(NETRC), **environment}
    secrets = {name: fill(value) for name, value in _secrets(environment).items()}
    environment = {name: value for name, value in environment.items() if name not in secrets}
    algorithm = request[_ALGORITHM]
    if not delivery.through_sh:
        environment |= {f"{name}_FILE": path_in_container(f"{SECRETS}/{name}") for name in secrets}
        files |= {f"{SECRETS}/{name}": value for name, value in secrets.items()}
    else:
        moved = {**_moved(environment), **secrets}
        environment = {name: value for name, value in environment.items() if name not in moved}
        files[ENVIRONMENT] = environment_file({**moved, **key})
        algorithm = _through_sh(algorithm, delivery.image_entry_point)
    own = request.get(_CHANNELS, [])
    channels = [*own, channel(folder)] if isinstance(own, list) else own
    return Start({**request, _ALGORITHM: algorithm, "Environment": environment, _CHANNELS: channels}, files)


def _through_sh(algorithm: Mapping[str, Any], image_entry_point: tuple[str, ...]) -> dict[str, Any]:
    """Return a specification that starts the same command after START.

    SageMaker gives an image `train` as its argument if the request has neither an entry point nor arguments
    (https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-dockerfile.html).
    """
    own = algorithm.get("ContainerEntrypoint")
    train = {} if own or algorithm.get("ContainerArguments") else {"ContainerArguments": ["train"]}
    return {**algorithm, **train, "ContainerEntrypoint": [*START, *(own or image_entry_point)]}
