"""What a sweep scheduler is asked to do."""

from typing import Any

from launch_agent.model import Model


class Order(Model):
    """What a scheduler queues runs with. The same at every step of the sweep."""

    sweep_id: str
    entity: str
    project: str
    queue: str
    queue_entity: str
    author: str | None = None
    job: str | None = None
    image_uri: str | None = None
    workers: int
    priority: int
    launch: dict[str, Any]
    """The sweep's `launch` block: run spec fields for every run."""
    command: tuple[Any, ...] = ()
    program: str | None = None
    run_cap: int | None = None
    runs_before: int = 0
    """How many runs of the sweep count for the run cap already."""
