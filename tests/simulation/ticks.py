"""SQS and Lambda for the ticks of one stack: the queue of the template, and the mapping that calls the poller."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.documents import resources
from tests.simulation.clock import Clock
from tests.simulation.events import ticks
from tests.simulation.machine import Done, TaskFailed

if TYPE_CHECKING:
    from tests.simulation.world import Delivery

_MINUTE = 60.0


class Ticks:
    """Delivers each tick once, twice or not at all, soon or late; a failed one again, as long as the queue keeps it."""

    def __init__(self, clock: Clock, delivery: "Delivery", poll: Callable[[Any, Done], None]) -> None:
        """`delivery` says what becomes of messages; `poll` calls the poller with an event, then a function."""
        self._clock, self._delivery, self._poll = clock, delivery, poll
        queue, mapping = resources("AWS::SQS::Queue")["Ticks"], resources("AWS::Lambda::EventSourceMapping")
        self._kept, self._hidden = float(queue["MessageRetentionPeriod"]), float(queue["VisibilityTimeout"])
        self._at_once = mapping["TicksMapping"]["ScalingConfig"]["MaximumConcurrency"]
        self._together = mapping["TicksMapping"]["BatchSize"]
        self._waiting: list[dict[str, Any]] = []
        self._running = 0

    def take(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer SendMessageBatch."""
        draws, delivery = self._clock.random, self._delivery
        for entry in asked["Entries"]:
            message = {"body": entry["MessageBody"], "sent_at": self._clock.now}
            times = 0 if draws.random() < delivery.dropped else 2 if draws.random() < delivery.twice else 1
            for _ in range(times):
                more = draws.uniform(0, _MINUTE) if draws.random() < delivery.late else draws.random()
                self._clock.after(entry["DelaySeconds"] + more, partial(self._arrive, message))
        return {
            "Successful": [{"Id": each["Id"], "MessageId": "m", "MD5OfMessageBody": "-"} for each in asked["Entries"]]
        }

    def _arrive(self, message: dict[str, Any]) -> None:
        self._waiting.append(message)
        self._receive()

    def _receive(self) -> None:
        """Call the poller with the ticks that wait, unless it runs as often as it may."""
        self._waiting = [each for each in self._waiting if self._clock.now < each["sent_at"] + self._kept]
        if not self._waiting or self._running >= self._at_once:
            return
        batch, self._waiting = self._waiting[: self._together], self._waiting[self._together :]
        self._running += 1

        def done(_: Any, failure: TaskFailed | None) -> None:
            self._running -= 1
            for message in batch if failure else ():
                self._clock.after(self._hidden, partial(self._arrive, message))
            self._receive()

        self._poll(ticks([each["body"] for each in batch]), done)
