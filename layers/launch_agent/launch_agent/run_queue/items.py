"""What W&B hands out: a run queue item and the run spec in it."""

import hashlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr, ValidationError

from launch_agent.errors import InvalidRunSpec
from launch_agent.model import Model, Wire, faults_of

SCHEDULER_URI = "placeholder-uri-scheduler"
"""The `uri` by which W&B marks the item of a sweep scheduler."""

_MAX_POPS = 10
_RUN_ID_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


class Slot(StrEnum):
    """Which of the launch agent's two limits an item counts against: `max_jobs` or `max_schedulers`."""

    JOB = "job"
    SCHEDULER = "scheduler"


class ItemRef(Model):
    """A run queue item as every later step refers to it, and the run it becomes."""

    id: str
    queue: str
    entity: str
    run_id: str


class QueueItem(Wire):
    """One leased run queue item. Its run spec may be anything: it is parsed once the item is acknowledged."""

    id: str = Field(alias="runQueueItemId", min_length=1)
    run_spec: Any = Field(alias="runSpec", default=None)

    @property
    def slot(self) -> Slot:
        """Tell a sweep scheduler from a job, whatever else is in the run spec."""
        spec = self.run_spec if isinstance(self.run_spec, Mapping) else {}
        return Slot.SCHEDULER if spec.get("uri") == SCHEDULER_URI else Slot.JOB

    @property
    def run_id(self) -> str:
        """The run id the spec asks for, else one derived from the item, so that every retry names the same run."""
        spec = self.run_spec if isinstance(self.run_spec, Mapping) else {}
        asked = spec.get("run_id")
        return asked if isinstance(asked, str) and asked else derived_run_id(self.id)


def derived_run_id(run_queue_item_id: str) -> str:
    """Return eight lower-case letters and digits, as W&B makes run ids, the same for the same item."""
    number = int.from_bytes(hashlib.sha256(run_queue_item_id.encode()).digest())
    return "".join(_RUN_ID_ALPHABET[number // 36**place % 36] for place in range(8))


def _absent_if_null(value: object) -> object:
    return {} if value is None else value


class Docker(Wire):
    """The `docker` block of a run spec."""

    docker_image: str | None = None


class Overrides(Wire):
    """What the person who queued the run changed of the job."""

    args: list[str] | None = None
    entry_point: list[str] | None = None
    run_config: dict[str, Any] | None = None
    artifacts: dict[str, Any] | None = None
    files: dict[str, Any] | None = None
    dockerfile: str | None = None
    working_dir: str | None = None


class RunSpec(Wire):
    """A run spec, W&B's order for one run, with the queue's configuration merged into `resource_args`."""

    entity: str = Field(min_length=1)
    project: str = Field(min_length=1)
    job: str | None = None
    docker: Annotated[Docker, BeforeValidator(_absent_if_null)] = Docker()
    image_uri: str | None = None
    uri: str | None = None
    name: str | None = None
    author: str | None = None
    python_version: str | None = None
    resource: str | None = None
    resource_args: Annotated[dict[str, Any], BeforeValidator(_absent_if_null)] = Field(default_factory=dict)
    overrides: Annotated[Overrides, BeforeValidator(_absent_if_null)] = Overrides()
    sweep_id: str | None = None
    resume_count: int | None = Field(alias="_resume_count", default=None)
    api_key: SecretStr | None = Field(alias="_wandb_api_key", default=None)

    @property
    def image(self) -> str | None:
        """The image the spec itself names, without a job."""
        return self.docker.docker_image or self.image_uri


def parse_run_spec(raw: object) -> RunSpec:
    """Parse a run spec as popped from the queue. Raises InvalidRunSpec with every fault."""
    if not isinstance(raw, Mapping):
        raise InvalidRunSpec(["The run spec is not a JSON object. Queue the run again."])
    try:
        return RunSpec.model_validate(raw)
    except ValidationError as error:
        raise InvalidRunSpec(list(faults_of(error))) from None


def next_pops(queues: Sequence[str], *, room: int, hits: int) -> list[str]:
    """Choose which queues to pop from next, in turn, in one request.

    `queues` are those not found empty, the next in turn first; `hits` is what the last request gave, so that a full
    queue is drained in few requests and an empty one costs a single pop.
    """
    size = min(room, _MAX_POPS, max(len(queues), 2 * hits))
    return [queues[index % len(queues)] for index in range(size)]
