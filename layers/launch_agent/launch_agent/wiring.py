"""Every setting and every client of a stack, created on first use.

Client modules are imported on first use too, so that a function's cold start imports only what the function needs.
"""

from functools import cached_property
from typing import TYPE_CHECKING

from launch_agent.settings import Environment, Polls, StateMachine

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from launch_agent.clients.artifacts import Artifacts
    from launch_agent.clients.buckets import Buckets
    from launch_agent.clients.build_bucket import BuildBucket
    from launch_agent.clients.codebuild import Builds
    from launch_agent.clients.credentials_bucket import CredentialsBucket
    from launch_agent.clients.endpoints import Endpoints
    from launch_agent.clients.events import Events
    from launch_agent.clients.executions import Executions
    from launch_agent.clients.graphql import GraphqlClient
    from launch_agent.clients.image_claims import ImageClaims
    from launch_agent.clients.image_configs import ImageConfigs
    from launch_agent.clients.image_repository import ImageRepository
    from launch_agent.clients.instance_limits import InstanceLimits
    from launch_agent.clients.keys import Keys
    from launch_agent.clients.logs import TrainingLogs
    from launch_agent.clients.metrics import Metrics
    from launch_agent.clients.model_artifacts import ModelArtifacts
    from launch_agent.clients.prices import PriceList
    from launch_agent.clients.quotas import Quotas
    from launch_agent.clients.roles import Roles
    from launch_agent.clients.runs import Runs
    from launch_agent.clients.sagemaker import SageMaker
    from launch_agent.clients.secrets import RunSecrets, WandbApiKey
    from launch_agent.clients.subnets import Subnets
    from launch_agent.clients.task_tokens import TaskTokens
    from launch_agent.clients.ticks import Ticks
    from launch_agent.clients.wandb import Wandb
    from launch_agent.clients.wandb_runs import WandbRuns
    from launch_agent.clients.wandb_sweeps import WandbSweeps
    from launch_agent.run_queue.launch_config import LaunchConfig


class Clients:
    """The clients. Each is created on first use and kept as long as the execution environment.

    The constructor of a step gets the clients that every call needs, as a function has full CPU while it starts.
    """

    def new(self) -> "Clients":
        """Return new clients of the same stack, which have read nothing yet."""
        clients = Clients()
        clients.env = self.env
        return clients

    @cached_property
    def env(self) -> Environment:
        """The environment variables of every function. Raises ValidationError if one is missing or not valid."""
        return Environment.from_environment()

    @cached_property
    def state_machine_arn(self) -> str:
        """The ARN of the state machine. Raises ValidationError in a function that does not have the variable."""
        return StateMachine.from_environment().state_machine_arn

    @cached_property
    def polls(self) -> Polls:
        """How often the queues are polled. Raises ValidationError in a function that does not have the variables."""
        return Polls.from_environment()

    @cached_property
    def ticks(self) -> "Ticks":
        """The queue of the polls between those of the schedule."""
        from launch_agent.clients.ticks import Ticks

        return Ticks(self.polls.ticks_queue_url)

    @cached_property
    def config(self) -> "LaunchConfig":
        """launch-config.yaml. Raises InvalidLaunchConfig."""
        from launch_agent.run_queue.launch_config import read_launch_config

        return read_launch_config()

    @cached_property
    def pool(self) -> "Executor":
        """Threads for calls that do not depend on each other."""
        from launch_agent.clients.parallel import new_pool

        return new_pool()

    @cached_property
    def agent_api_key(self) -> "WandbApiKey":
        """The launch agent's own W&B API key."""
        from launch_agent.clients.secrets import WandbApiKey

        return WandbApiKey(self.env.wandb_api_key_secret)

    @cached_property
    def container_api_key(self) -> "WandbApiKey":
        """The W&B API key for containers whose run brings none: that in RunApiKeySecretArn, else the agent's own."""
        from launch_agent.clients.secrets import WandbApiKey

        secret = self.env.run_api_key_secret
        return WandbApiKey(secret) if secret else self.agent_api_key

    @cached_property
    def run_secrets(self) -> "RunSecrets":
        """The secrets that queues name for their containers."""
        from launch_agent.clients.secrets import RunSecrets

        return RunSecrets()

    @cached_property
    def graphql(self) -> "GraphqlClient":
        """The W&B server."""
        from launch_agent.clients.graphql import GraphqlClient

        return GraphqlClient(self.env.wandb_base_url, self.agent_api_key)

    @cached_property
    def wandb(self) -> "Wandb":
        """W&B's run queues, launch agents and runs."""
        from launch_agent.clients.wandb import Wandb

        return Wandb(self.graphql)

    @cached_property
    def wandb_runs(self) -> "WandbRuns":
        """W&B's runs."""
        from launch_agent.clients.wandb_runs import WandbRuns

        return WandbRuns(self.graphql)

    @cached_property
    def model_artifacts(self) -> "ModelArtifacts":
        """The model artifacts of runs."""
        from launch_agent.clients.model_artifacts import ModelArtifacts

        return ModelArtifacts(self.graphql)

    @cached_property
    def wandb_sweeps(self) -> "WandbSweeps":
        """W&B's sweeps."""
        from launch_agent.clients.wandb_sweeps import WandbSweeps

        return WandbSweeps(self.graphql)

    @cached_property
    def artifacts(self) -> "Artifacts":
        """W&B's artifacts."""
        from launch_agent.clients.artifacts import Artifacts

        return Artifacts(self.graphql)

    @cached_property
    def runs(self) -> "Runs":
        """The runs, open and closed."""
        from launch_agent.clients.runs import Runs

        return Runs(self.env.runs_table, self.env.run_details_table)

    @cached_property
    def events(self) -> "Events":
        """The events of this application."""
        from launch_agent.clients.events import Events

        return Events()

    @cached_property
    def metrics(self) -> "Metrics":
        """The metrics in CloudWatch."""
        from launch_agent.clients.metrics import Metrics

        return Metrics(self.env.stack_name)

    @cached_property
    def executions(self) -> "Executions":
        """The executions of the state machine."""
        from launch_agent.clients.executions import Executions

        return Executions()

    @cached_property
    def task_tokens(self) -> "TaskTokens":
        """The task tokens that executions wait for."""
        from launch_agent.clients.task_tokens import TaskTokens

        return TaskTokens()

    @cached_property
    def sagemaker(self) -> "SageMaker":
        """Training jobs."""
        from launch_agent.clients.sagemaker import SageMaker

        return SageMaker(self.env.stack_name)

    @cached_property
    def prices(self) -> "PriceList":
        """The prices of training instances."""
        from launch_agent.clients.prices import PriceList

        return PriceList(self.env.runs_table, partition=self.env.partition, region=self.env.region)

    @cached_property
    def training_logs(self) -> "TrainingLogs":
        """The logs of training jobs."""
        from launch_agent.clients.logs import TrainingLogs

        return TrainingLogs()

    @cached_property
    def image_repository(self) -> "ImageRepository":
        """The repository of built images."""
        from launch_agent.clients.image_repository import ImageRepository

        return ImageRepository(self.env.image_repository)

    @cached_property
    def image_configs(self) -> "ImageConfigs":
        """The configuration of images."""
        from launch_agent.clients.image_configs import ImageConfigs

        return ImageConfigs()

    @cached_property
    def instance_limits(self) -> "InstanceLimits":
        """Which runs use the instances that launch-config.yaml limits."""
        from launch_agent.clients.instance_limits import InstanceLimits

        return InstanceLimits(self.env.runs_table, lambda item_id: self.runs.open_run(item_id) is not None)

    @cached_property
    def image_claims(self) -> "ImageClaims":
        """The claims of images: which run queue item builds which image."""
        from launch_agent.clients.image_claims import ImageClaims

        return ImageClaims(self.env.runs_table)

    @cached_property
    def credentials_bucket(self) -> "CredentialsBucket":
        """What training jobs download before their containers start."""
        from launch_agent.clients.credentials_bucket import CredentialsBucket

        return CredentialsBucket(self.env.credentials_bucket)

    @cached_property
    def build_bucket(self) -> "BuildBucket":
        """Build plans, and the notes that builds write."""
        from launch_agent.clients.build_bucket import BuildBucket

        return BuildBucket(self.env.build_bucket)

    @cached_property
    def buckets(self) -> "Buckets":
        """Where S3's buckets are."""
        from launch_agent.clients.buckets import Buckets

        return Buckets()

    @cached_property
    def builds(self) -> "Builds":
        """Builds of images."""
        from launch_agent.clients.codebuild import Builds

        return Builds()

    @cached_property
    def roles(self) -> "Roles":
        """Roles in IAM."""
        from launch_agent.clients.roles import Roles

        return Roles()

    @cached_property
    def keys(self) -> "Keys":
        """KMS keys."""
        from launch_agent.clients.keys import Keys

        return Keys()

    @cached_property
    def quotas(self) -> "Quotas":
        """The account's quotas."""
        from launch_agent.clients.quotas import Quotas

        return Quotas()

    @cached_property
    def endpoints(self) -> "Endpoints":
        """The endpoints of AWS's services."""
        from launch_agent.clients.endpoints import Endpoints

        return Endpoints(self.pool, self.env.deployment.account_id)

    @cached_property
    def subnets(self) -> "Subnets":
        """Subnets and security groups."""
        from launch_agent.clients.subnets import Subnets

        return Subnets()
