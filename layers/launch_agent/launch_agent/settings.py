"""The environment variables of the functions. Only this module reads them."""

import os
from datetime import timedelta
from typing import Any, Self

from pydantic import Json

from launch_agent.deployment import Deployment
from launch_agent.model import Model
from launch_agent.operations.setup import Needs


class Settings(Model):
    """Environment variables. The name of each is its field's name in capitals."""

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment. Raises ValidationError if a variable is missing or not valid."""
        names = {name: name.upper() for name in cls.model_fields}
        return cls.model_validate({name: os.environ[key] for name, key in names.items() if key in os.environ})


class Environment(Settings):
    """The environment variables of every function."""

    account_id: str
    build_bucket: str
    capacity_wait_hours: float
    credentials_bucket: str
    https_proxy: str
    image_repository: str
    no_proxy: str
    partition: str
    region: str
    run_api_key_secret: str
    run_details_table: str
    run_secret_arns: str
    runs_table: str
    stack_name: str
    wandb_api_key_secret: str
    wandb_base_url: str
    wandb_init_grace_seconds: float

    @property
    def capacity_wait(self) -> timedelta:
        """How long a run waits for capacity at most."""
        return timedelta(hours=self.capacity_wait_hours)

    @property
    def wandb_init_grace(self) -> timedelta:
        """How long a run may take to appear in W&B after its training job has ended."""
        return timedelta(seconds=self.wandb_init_grace_seconds)

    @property
    def deployment(self) -> Deployment:
        """The account, region and name of this stack."""
        return Deployment.model_validate(self.model_dump(include=set(Deployment.model_fields)))


class StateMachine(Settings):
    """The environment variable of functions that work with executions.

    The state machine refers to the other functions; if they referred to it, the template would have a cycle.
    """

    state_machine_arn: str


class Polls(Settings):
    """The environment variables of `poll_queues`: how often it polls."""

    poll_interval_seconds: int
    ticks_queue_url: str
    """Empty if it polls once a minute."""

    @property
    def delays(self) -> range:
        """When the polls between two of the schedule happen, in seconds after the first."""
        return range(self.poll_interval_seconds, 60, self.poll_interval_seconds)


class SetupEnvironment(Settings):
    """The environment variables of `check_setup`: what the stack was deployed with."""

    build_compute_type: str
    data_kms_key_arn: str
    poll_interval_seconds: int
    queue_configuration: Json[dict[str, Any]]
    """The configuration that the stack suggests for its queues."""
    secret_kms_key_arn: str
    training_in_vpc: bool
    training_role_arns: str
    """Empty if the stack creates the role in its suggestion."""
    volume_kms_key_arn: str
    vpc_id: str
    """Empty if the functions are in no VPC."""

    @property
    def keys(self) -> dict[str, str]:
        """The ARN of each KMS key, by its template parameter."""
        keys = {
            "DataKmsKeyArn": self.data_kms_key_arn,
            "SecretKmsKeyArn": self.secret_kms_key_arn,
            "VolumeKmsKeyArn": self.volume_kms_key_arn,
        }
        return {parameter: arn for parameter, arn in keys.items() if arn}

    def needs(self, region: str) -> Needs:
        """Return what runs depend on."""
        named = [arn for arn in self.training_role_arns.split(",") if arn]
        return Needs(
            region=region,
            role_arns=tuple(named or [self.queue_configuration["RoleArn"]]),
            makes_role=not named,
            bucket=self.queue_configuration["OutputDataConfig"]["S3OutputPath"].split("/")[2],
            volume_key_arn=self.volume_kms_key_arn,
            training_in_vpc=self.training_in_vpc,
        )
