"""What W&B hands out: a run queue item and the run spec in it."""

import hashlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError

from launch_agent.errors import InvalidRunSpec
from launch_agent.model import Model, Wire, faults_of, json_fault
from launch_agent.run_queue.commands import CodePath, Command

SCHEDULER_URI = "placeholder-uri-scheduler"
"""The `uri` by which W&B marks the item of a sweep scheduler."""

MAX_POPS = 10
"""How many items one request leases at most."""
_RUN_ID_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_MAX_RUN_ID = 128
_NOT_IN_RUN_IDS = ":;,#?/'\\%"
_LONG_NAME = 512
"""The longest name that fits into an environment variable of the container, in characters."""


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
        """The run id the spec asks for, else one derived from the item, so that every retry names the same run.

        An illegal one gives the derived id too; `parse_run_spec` refuses such a run spec.
        """
        spec = self.run_spec if isinstance(self.run_spec, Mapping) else {}
        asked = spec.get("run_id")
        return asked if isinstance(asked, str) and is_run_id(asked) else derived_run_id(self.id)


def derived_run_id(run_queue_item_id: str) -> str:
    """Return eight lower-case letters and digits, as W&B makes run ids, the same for the same item."""
    number = int.from_bytes(hashlib.sha256(run_queue_item_id.encode()).digest())
    return "".join(_RUN_ID_ALPHABET[number // 36**place % 36] for place in range(8))


def is_run_id(text: str) -> bool:
    r"""Whether W&B accepts a text as the id of a run.

    The client refuses an empty id, spaces at its ends, and : ; , # ? / ' (`wandb/sdk/wandb_settings.py`,
    `validate_run_id`); the documentation of `wandb.init` names \ and % too. Characters that do not print, and more than
    128 of them, are refused here.
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
            f"a run id has at most {_MAX_RUN_ID} printable characters, no spaces at its ends, and none of "
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
    """What the person who queued the run changed of the job."""

    args: list[str] | None = None
    entry_point: Command | None = None
    run_config: dict[str, Any] | None = None
    artifacts: dict[str, Any] | None = None
    files: dict[str, Any] | None = None
    dockerfile: CodePath | None = None
    working_dir: CodePath | None = None


class RunSpec(Wire):
    """A run spec, W&B's order for one run, with the queue's configuration merged into `resource_args`."""

    entity: Name
    project: Name
    run_id: RunId = None
    job: Text | None = None
    docker: Docker = Docker()
    image_uri: Text | None = None
    uri: Text | None = None
    name: Text | None = None
    author: Text | None = None
    python_version: Text | None = None
    resource: Text | None = None
    resource_args: dict[str, Any] = Field(default_factory=dict)
    overrides: Overrides = Overrides()
    sweep_id: Text | None = None
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
    fault = json_fault(raw)
    if fault:
        raise InvalidRunSpec([fault])
    try:
        return RunSpec.model_validate(raw)
    except ValidationError as error:
        raise InvalidRunSpec(list(faults_of(error))) from None


def next_pops(queues: Sequence[str], *, room: int, hits: int) -> list[str]:
    """Choose which queues to pop from next, in turn, in one request.

    `queues` are those not found empty, the next in turn first; `hits` is what the last request gave, so that a full
    queue is drained in few requests and an empty one costs a single pop.
    """
    size = min(room, MAX_POPS, max(len(queues), 2 * hits))
    return [queues[index % len(queues)] for index in range(size)]
