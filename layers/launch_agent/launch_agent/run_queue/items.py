"""Run queue items, and the run spec in each."""

import hashlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError

from launch_agent.errors import InvalidRunSpec
from launch_agent.model import Model, Wire, faults_of, json_fault
from launch_agent.run_queue.commands import CodePath, Command

RESOURCE = "sagemaker"
"""The resource of the queues whose items are run here, and the key of its block in a queue's configuration."""

SCHEDULER_URI = "placeholder-uri-scheduler"
"""The `uri` of the run spec of a sweep scheduler."""

MAX_POPS = 10
"""The most items that one request leases."""
_RUN_ID_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_MAX_RUN_ID = 128
_NOT_IN_RUN_IDS = ":;,#?/'\\%"
_LONG_NAME = 512
"""The longest name that fits into an environment variable of the container, in characters."""


class Slot(StrEnum):
    """The limit that an item counts against: `max_jobs` or `max_schedulers`."""

    JOB = "job"
    SCHEDULER = "scheduler"


class ItemRef(Model):
    """What every later step needs to know of a run queue item: its id, queue and entity, and the id of its run."""

    id: str
    queue: str
    entity: str
    run_id: str


class RunPath(NamedTuple):
    """Where a run is in W&B."""

    entity: str
    project: str
    run_id: str


class QueueItem(Wire):
    """One leased run queue item. Its run spec may be any JSON value: it is parsed after the acknowledgement."""

    id: str = Field(alias="runQueueItemId", min_length=1)
    run_spec: Any = Field(alias="runSpec", default=None)

    @property
    def slot(self) -> Slot:
        """Whether it is a sweep scheduler or a job, even if the rest of the run spec is not valid."""
        spec = self.run_spec if isinstance(self.run_spec, Mapping) else {}
        return Slot.SCHEDULER if spec.get("uri") == SCHEDULER_URI else Slot.JOB

    @property
    def run_id(self) -> str:
        """The run id in the spec, else one derived from the item's id, so that every retry has the same run id.

        If the run id in the spec is not legal, this is the derived id; `parse_run_spec` refuses such a run spec.
        """
        spec = self.run_spec if isinstance(self.run_spec, Mapping) else {}
        asked = spec.get("run_id")
        return asked if isinstance(asked, str) and is_run_id(asked) else derived_run_id(self.id)


def derived_run_id(run_queue_item_id: str) -> str:
    """Return eight lower-case letters and digits, as in W&B's own run ids. The same item has the same id."""
    number = int.from_bytes(hashlib.sha256(run_queue_item_id.encode()).digest())
    return "".join(_RUN_ID_ALPHABET[number // 36**place % 36] for place in range(8))


def is_run_id(text: str) -> bool:
    r"""Whether W&B accepts a text as a run id.

    The client refuses an empty id, spaces at either end, and : ; , # ? / ' (`wandb/sdk/wandb_settings.py`,
    `validate_run_id`). The documentation of `wandb.init` also names \ and %. Characters that are not printable, and
    more than 128 characters, are refused here.
    """
    return (
        0 < len(text) <= _MAX_RUN_ID
        and text.isprintable()
        and text == text.strip()
        and not set(text).intersection(_NOT_IN_RUN_IDS)
    )


def _run_id(text: str) -> str:
    if not is_run_id(text):
        raise ValueError(
            f"a run id has at most {_MAX_RUN_ID} printable characters, no spaces at either end, and none of "
            f"{' '.join(_NOT_IN_RUN_IDS)}"
        )
    return text


def _absent_if_empty(value: object) -> object:
    return None if value == "" else value


Text = Annotated[str, Field(max_length=_LONG_NAME)]
Name = Annotated[Text, Field(min_length=1)]
RunId = Annotated[Annotated[str, AfterValidator(_run_id)] | None, BeforeValidator(_absent_if_empty)]


class Docker(Wire):
    """The `docker` block of a run spec."""

    docker_image: Text | None = None


class Overrides(Wire):
    """The job's settings that the person who queued the run changed."""

    args: list[str] | None = None
    entry_point: Command | None = None
    run_config: dict[str, Any] | None = None
    artifacts: dict[str, Any] | None = None
    files: dict[str, Any] | None = None
    dockerfile: CodePath | None = None
    working_dir: CodePath | None = None


class RunSpec(Wire):
    """A run spec: what to run, with the queue's configuration merged into `resource_args`."""

    entity: Name
    project: Name
    run_id: RunId = None
    job: Text | None = None
    docker: Docker = Field(default_factory=Docker)
    image_uri: Text | None = None
    uri: Text | None = None
    name: Text | None = None
    author: Text | None = None
    python_version: Text | None = None
    resource: Text | None = None
    resource_args: dict[str, Any] = Field(default_factory=dict)
    overrides: Overrides = Field(default_factory=Overrides)
    sweep_id: Text | None = None
    resume_count: int | None = Field(alias="_resume_count", default=None)
    api_key: SecretStr | None = Field(alias="_wandb_api_key", default=None)

    @property
    def image(self) -> str | None:
        """The image that the spec itself names."""
        return self.docker.docker_image or self.image_uri

    @property
    def is_own_scheduler(self) -> bool:
        """Whether it is a sweep scheduler that is a job of its own."""
        return self.uri == SCHEDULER_URI and bool(self.job or self.image)


def parse_run_spec(raw: object) -> RunSpec:
    """Parse the run spec of a queue item. Raises InvalidRunSpec with every fault."""
    if not isinstance(raw, Mapping):
        raise InvalidRunSpec(["The run spec is not a JSON object. Queue the run again."])
    fault = json_fault(raw)
    if fault:
        raise InvalidRunSpec([fault])
    try:
        return RunSpec.model_validate(raw)
    except ValidationError as error:
        raise InvalidRunSpec(list(faults_of(error))) from None


def next_pops(queues: Sequence[str], *, room: int, hits: int, rooms: Mapping[str, int] | None = None) -> list[str]:
    """Return the queue of each pop of the next requests, at most `room` of them, and at most `rooms` of each queue.

    `queues` are those not found empty, starting with the next in turn. `hits` is how many items the last requests
    returned: so a full queue takes few requests, and an empty one takes a single pop.
    """
    size = min(room, max(len(queues), 2 * hits))
    left = {queue: size if rooms is None else rooms.get(queue, size) for queue in queues}
    turns = (queue for turn in range(size) for queue in queues if turn < left[queue])
    return list(islice(turns, size))
