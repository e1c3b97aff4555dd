"""A training container, as SageMaker starts it: the channel with its credentials, the files in it, and the command.

SageMaker downloads a File-mode channel with the role of the training job before the container starts, on every host,
and again after an interruption. DescribeTrainingJob shows only where it is
(https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html).
"""

import re
import shlex
from collections.abc import Mapping, Sequence

CHANNEL = "launch_agent"
"""The name of the input channel. SageMaker's images make a variable of it, SM_CHANNEL_LAUNCH_AGENT."""

NETRC = "netrc"
ENVIRONMENT = "environment"
SECRETS = "secrets"
"""A folder, with a file for each variable that has a secret, if the container does not start through sh."""
_FOLDER = f"/opt/ml/input/data/{CHANNEL}"
_PLAIN = re.compile(r"[\w.-]+", re.ASCII)


START = ("/bin/sh", "-c", f'set -a; . {_FOLDER}/{ENVIRONMENT}; exec "$@"', "sh")
"""Before a command, it sets the variables in the file of the channel, and then becomes the command. It is POSIX sh:
https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_26_03
"""


def without_start(command: Sequence[str]) -> Sequence[str]:
    """Return a command without START."""
    return command[len(START) :] if tuple(command[: len(START)]) == START else command


def environment_file(variables: Mapping[str, str]) -> str:
    """Return the file that START reads."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())


def path_in_container(name: str) -> str:
    """Return the path of one of the channel's files in the container."""
    return f"{_FOLDER}/{name}"


def channel(uri: str) -> dict[str, object]:
    """Return the input channel for a folder in S3, as CreateTrainingJob takes it."""
    where = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": CHANNEL, "InputMode": "File", "DataSource": {"S3DataSource": where}}


def netrc(base_url: str, api_key: str) -> str:
    """Return a netrc file with the API key for a W&B server.

    The wandb SDK looks for the host with its port (`read_netrc_auth` in `wandb/sdk/lib/wbauth/wbnetrc.py`), and
    `requests`, which earlier versions used, without it.
    """
    host = re.split(r"[/?#]", base_url.partition("://")[2] or base_url)[0].rpartition("@")[2]
    password = api_key if _PLAIN.fullmatch(api_key) else '"{}"'.format(re.sub(r'(["\\])', r"\\\1", api_key))
    machines = dict.fromkeys([host, re.sub(r":\d*$", "", host)])
    return "".join(f"machine {machine} login user password {password}\n" for machine in machines)
