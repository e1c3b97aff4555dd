"""The checks of `check_setup`: each asks AWS or W&B, and lets `operations/` say what is wrong."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from launch_agent.clients.endpoints import OF_BUILDS, OF_FUNCTIONS, OF_TICKS
from launch_agent.clients.queues import Queues
from launch_agent.clients.service_model import create_training_job_shape
from launch_agent.errors import AwsRefused, InvalidLaunchConfig, WandbKeyRejected, WandbUnavailable
from launch_agent.operations import queue_setup, setup
from launch_agent.plan.agent import Agent
from launch_agent.plan.buckets import Unplaced, bucket_faults
from launch_agent.plan.queue_block import sagemaker_args
from launch_agent.run_queue.configured_queue import ConfiguredQueue, has_variable
from launch_agent.run_queue.launch_config import LaunchConfig
from launch_agent.settings import SetupEnvironment
from launch_agent.wiring import Clients


class Check(NamedTuple):
    """One thing to check. `faults` returns what is wrong with it, and can raise LaunchError."""

    what: str
    faults: Callable[[], Iterable[str]]
    fails_deployment: bool = True
    queue: str = ""


class SetupChecks:
    """The checks of one stack."""

    def __init__(self, clients: Clients, deployed: SetupEnvironment, *, create_queues: bool) -> None:
        """Nothing is sent yet. `create_queues` is whether to create the queues that do not exist."""
        self._clients, self._env, self._setup = clients, clients.env, deployed
        self._needs, self._create_queues = deployed.needs(clients.env.region), create_queues
        self._config: LaunchConfig | None = None
        self._queues: Queues | None = None
        self._found: dict[str, ConfiguredQueue] = {}
        self._others: list[str] = []

    def all(self) -> Iterator[Check]:
        """Yield the checks. Make each before the next: the first ones find what others are about."""
        yield Check("launch-config.yaml", self._launch_config)
        if self._setup.vpc_id:
            yield Check(f"endpoints in {self._setup.vpc_id}", self._endpoints)
        yield Check("W&B", self._wandb)
        for name in self._config.queues if self._config and self._queues else ():
            yield Check(f"run queue {name}", partial(self._queue, name), queue=name)
        for arn in self._needs.role_arns:
            yield Check(f"role {arn.rpartition('/')[2]}", partial(self._role, arn))
        yield Check(f"bucket {self._needs.bucket}", self._bucket)
        for parameter, arn in self._setup.keys.items():
            yield Check(f"key of {parameter}", partial(self._key, parameter, arn))
        if self._env.image_repository:
            yield Check("image repository", self._repository)
            yield Check("quota of builds", self._build_quota, fails_deployment=False)
        for queue in self._found.values():
            for what, faults in self._of_queue(queue).items():
                yield Check(f"{what} of run queue {queue.name}", faults, fails_deployment=False, queue=queue.name)

    def _of_queue(self, queue: ConfiguredQueue) -> dict[str, Callable[[], Iterable[str]]]:
        """Return the checks of a queue's configuration, as far as it has what they are about."""
        checks: dict[str, Callable[[], Iterable[str]]] = {"configuration": partial(self._configuration, queue)}
        if queue_setup.instances_of(queue):
            checks["quota"] = partial(self._quotas, queue)
        if any(queue_setup.vpc_of(queue)):
            checks["network"] = partial(self._network, queue)
        return checks

    def _launch_config(self) -> Iterator[str]:
        try:
            self._config = self._clients.config
        except InvalidLaunchConfig as error:
            yield str(error)
            return
        yield from setup.destination_faults(self._config.image_destination, self._env.image_repository)

    def _endpoints(self) -> Iterator[str]:
        """Builds are in the same subnets, so the function looks for what they need too."""
        builds = OF_BUILDS if self._env.image_repository else {}
        ticks = OF_TICKS if self._setup.poll_interval_seconds < 60 else {}
        found = self._clients.endpoints.unreachable({**OF_FUNCTIONS, **builds, **ticks})
        yield from setup.endpoint_faults(found, self._env.region)

    def _wandb(self) -> Iterator[str]:
        try:
            entity = (self._config and self._config.entity) or self._clients.wandb.default_entity()
            queues = Queues(self._clients.graphql, entity)
            if not queues.is_visible():
                yield setup.entity_hidden(entity)
                return
            found = queues.all()
        except WandbKeyRejected as error:
            yield setup.key_rejected(str(error), self._env.wandb_api_key_secret)
            return
        except WandbUnavailable as error:
            yield setup.wandb_unreachable(str(error))
            return
        self._queues, self._found = queues, self._with_created(queues, found)

    def _with_created(self, queues: Queues, found: dict[str, ConfiguredQueue]) -> dict[str, ConfiguredQueue]:
        names = self._config.queues if self._config else []
        missing = [name for name in names if name not in found] if self._create_queues else []
        for name in missing:
            queues.create(name, *setup.queue_configuration(self._setup.queue_configuration))
        found = queues.all() if missing else found
        self._others = [name for name in found if name not in names]
        return {name: found[name] for name in names if name in found}

    def _queue(self, name: str) -> Iterator[str]:
        queue = self._found.get(name)
        if queue is None and self._queues:
            yield setup.queue_missing(self._queues.entity, [*self._found, *self._others])
        elif queue:
            yield from queue_setup.resource_faults(queue)

    def _role(self, arn: str) -> Iterator[str]:
        yield from setup.role_faults(self._clients.roles.find(arn))

    def _bucket(self) -> Iterator[str]:
        region = self._clients.buckets.find(self._needs.bucket)
        if region is Unplaced.HIDDEN:
            raise AwsRefused(f"S3 does not say where the bucket {self._needs.bucket} is.")
        yield from setup.bucket_faults(None if region is Unplaced.NOT_THERE else region, self._needs)

    def _key(self, parameter: str, arn: str) -> Iterator[str]:
        yield from setup.key_faults(self._clients.keys.find(arn), parameter, self._needs.region)

    def _repository(self) -> Iterator[str]:
        try:
            self._clients.image_repository.check()
        except InvalidLaunchConfig as error:
            yield str(error)

    def _build_quota(self) -> Iterator[str]:
        quota = setup.build_quota(self._setup.build_compute_type)
        yield from setup.build_quota_faults(quota, self._quota("codebuild", quota))

    def _quotas(self, queue: ConfiguredQueue) -> Iterator[str]:
        for instances in queue_setup.instances_of(queue):
            yield from queue_setup.quota_faults(instances, self._quota("sagemaker", instances.quota))

    def _quota(self, service: str, name: str) -> float:
        value = self._clients.quotas.find(service, name)
        if value is None:
            raise AwsRefused(f'Service Quotas has no quota "{name}" in this region.')
        return value

    def _network(self, queue: ConfiguredQueue) -> Iterator[str]:
        yield from queue_setup.vpc_faults(self._clients.subnets.find(*queue_setup.vpc_of(queue)))

    def _configuration(self, queue: ConfiguredQueue) -> Iterator[str]:
        agent = Agent(self._env.deployment, LaunchConfig(queues=[queue.name]), create_training_job_shape())
        faults = queue_setup.queue_faults(queue, self._needs, agent)
        yield from faults
        request = sagemaker_args(queue.default_config)
        if not faults and not has_variable(request):
            yield from bucket_faults(request, self._needs.region, self._region_of)

    def _region_of(self, bucket: str) -> str | Unplaced:
        """Return where a bucket is. The stack's own is checked separately."""
        return self._needs.region if bucket == self._needs.bucket else self._clients.buckets.find(bucket)
