"""The environment of the functions, and the configuration file beside the package. Only this module reads them."""

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Self

from launch_agent.deployment import Deployment
from launch_agent.errors import InvalidLaunchConfig
from launch_agent.model import Model
from launch_agent.run_queue.launch_config import FILE_NAME, LaunchConfig, parse_launch_config


class Settings(Model):
    """Environment variables: each field is one, in capitals."""

    @classmethod
    def from_environment(cls) -> Self:
        """Read the fields from the environment. Raises ValidationError when one is missing or wrong."""
        names = {name: name.upper() for name in cls.model_fields}
        return cls.model_validate({name: os.environ[key] for name, key in names.items() if key in os.environ})


class Environment(Settings):
    """What every function is told."""

    account_id: str
    build_bucket: str
    capacity_wait_hours: float
    image_repository: str
    partition: str
    region: str
    run_details_table: str
    runs_table: str
    stack_name: str
    wandb_api_key_secret: str
    wandb_base_url: str
    wandb_init_grace_seconds: float

    @property
    def capacity_wait(self) -> timedelta:
        """How long a run may wait for capacity."""
        return timedelta(hours=self.capacity_wait_hours)

    @property
    def wandb_init_grace(self) -> timedelta:
        """How long a run may still appear in W&B after its training job has ended."""
        return timedelta(seconds=self.wandb_init_grace_seconds)

    @property
    def deployment(self) -> Deployment:
        """Where this stack is."""
        return Deployment.model_validate(self.model_dump(include=set(Deployment.model_fields)))


class StateMachine(Settings):
    """What only functions that work with executions are told: the state machine names the others, and not they it."""

    state_machine_arn: str


def read_launch_config() -> LaunchConfig:
    """Read launch-config.yaml, which its own layer puts on the import path. Raises InvalidLaunchConfig."""
    for folder in sys.path:
        path = Path(folder, FILE_NAME)
        if path.is_file():
            return parse_launch_config(path.read_bytes())
    raise InvalidLaunchConfig(f"{FILE_NAME} is not on the import path. The stack's configuration layer brings it.")
