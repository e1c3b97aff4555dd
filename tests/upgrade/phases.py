"""The phases in which an upgrade can find a run: how the simulated world gets there, and how it must end from there."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from local.wandb import Behaviour
from local.wandb.queues import RunQueueItem
from tests.simulation.faults import Fault, Faults, FaultsAt, NoFaults, Site, WandbOutage
from tests.simulation.machine import Done, Execution, TaskFailed
from tests.simulation.training import Script
from tests.simulation.world import HOUR, JOB, Delivery, World


class Phase(NamedTuple):
    """What users do, when to stop the clock, what goes wrong until then, and how all runs end in the end."""

    act: Callable[[World], object]
    reached: Callable[[World], bool]
    verdicts: dict[str, int]
    faults: Callable[[], Faults] = NoFaults
    different: Callable[[], Mapping[str, Any]] = dict
    then: Callable[[World, list[RunQueueItem]], object] = lambda *_: None
    """What somebody does after the upgrade."""


def reach(made: World, phase: Phase) -> None:
    """Let time pass until a phase is reached."""
    phase.act(made)
    end = made.clock.now + HOUR
    while not phase.reached(made):
        made.clock.run(0.05)
        assert made.clock.now < end, "the phase is never reached"


def _run(made: World) -> None:
    made.push()


def _code(made: World) -> None:
    made.push(job=JOB)


def _code_twice(made: World) -> None:
    """Queue two runs that need the same image."""
    made.push(job=JOB)
    made.push(job=JOB)


def _code_and_run(made: World) -> None:
    made.push(job=JOB)
    made.push()


def _items(made: World) -> list[RunQueueItem]:
    return list(made.server.state.items.values())


def _executions(made: World) -> list[Execution]:
    (stack,) = made.stacks.values()
    return list(stack.machine.executions.values())


def _tries_again(state: str) -> Callable[[World], bool]:
    """Whether every execution waits in a state to be tried again."""
    return lambda made: (
        bool(_executions(made))
        and all(each.state == state and each.tries and each.status == "RUNNING" for each in _executions(made))
    )


def _statuses(*statuses: str) -> Callable[[World], bool]:
    """Whether the training jobs have these statuses, in the order in which they were made."""
    return lambda made: tuple(job.shown["SecondaryStatus"] for job in made.training.jobs.values()) == statuses


def _record(made: World) -> dict[str, Any]:
    """Return the record of the only item."""
    found = [record for item in _items(made) for record in made.records(item.id)]
    return found[0] if len(found) == 1 else {}


def _no_room_for_builds(made: World) -> None:
    """Queue code while AWS CodeBuild starts no build."""

    def refuse(arguments: dict[str, Any], done: Done) -> str:
        made.clock.after(0, lambda: done(None, TaskFailed("CodeBuild.AccountLimitExceededException", "no room")))
        return ""

    made.builds.start = refuse  # type: ignore[method-assign]  # this is the point
    made.push(job=JOB)


def _stopped_in_wandb(made: World) -> None:
    item = made.push()

    def stop() -> None:
        made.stop_in_wandb(item)
        if not made.jobs(item):
            made.clock.after(1, stop)

    made.clock.after(90, stop)


def _stopped_in_console(made: World) -> None:
    item = made.push()

    def stop() -> None:
        if _statuses("Training")(made):
            made.stop_in_console(item)
        else:
            made.clock.after(1, stop)

    stop()


def _refused(made: World) -> RunQueueItem:
    """Queue a run whose role SageMaker refuses."""
    made.training.refuses = "ValidationException"
    return made.push()


def _redriven(made: World) -> None:
    """Redrive a failed execution while another run has the only slot."""
    item = _refused(made)

    def look() -> None:
        if not _has_failed(made):
            made.clock.after(1, look)
            return
        made.training.refuses = ""
        other = made.push()

        def redrive() -> None:
            if made.jobs(other):
                made.redrive(item)
            else:
                made.clock.after(1, redrive)

        redrive()

    look()


def _lease_is_lost(made: World) -> None:
    """Queue a run whose lease ends before it is acknowledged; W&B has the item back."""
    item = made.push()

    def look() -> None:
        if _tries_again("Plan run")(made):
            made.server.state.behaviour = Behaviour(late_ack=False)
            item.leased_until = 0.0
        else:
            made.clock.after(0.01, look)

    look()


def _has_failed(made: World) -> bool:
    return any(each.status == "FAILED" for each in _executions(made)) and _record(made).get("state") == {"S": "closed"}


def _redrive_all(made: World, items: list[RunQueueItem]) -> None:
    for item in items:
        made.redrive(item)
    made.clock.run(1)


def _code_again(made: World, _: list[RunQueueItem]) -> None:
    made.push(job=JOB)


class _DiesAtItsSecondWrite:
    """`plan_run` acknowledges, which is its first write to a table, and ends at the next, which stores the plan."""

    def __init__(self, fault: Fault) -> None:
        """Take whether it ends before or after."""
        self._fault, self._writes = fault, 0

    def at(self, site: Site) -> Fault | None:
        """Count writes, and fail from the second on."""
        if site.function != "plan_run" or site.operation not in ("UpdateItem", "TransactWriteItems"):
            return None
        self._writes += 1
        return self._fault if self._writes > 1 else None


class _OutageOnceEnded(WandbOutage):
    """W&B is unavailable from the first report on."""

    def at(self, site: Site) -> Fault | None:
        """Begin with what `report_outcome` asks of W&B."""
        self.is_active = self.is_active or (site.function == "report_outcome" and site.service == "wandb")
        return super().at(site)


def _away_once_ended() -> Faults:
    return _OutageOnceEnded(NoFaults(), Fault.BROKEN)


def _fails(function: str, service: str, operation: str, fault: Fault, *, times: int = 1_000) -> Callable[[], Faults]:
    return lambda: FaultsAt(Site(function, service, operation), fault, times=times)


def _fails_at_first() -> Callable[[dict[str, Any]], Script]:
    """Have SageMaker fail the first training job; the others train long."""
    scripts = iter([Script(0, failure="InternalServerError: sorry")])
    return lambda _: next(scripts, Script(training=HOUR))


PHASES: dict[str, Phase] = {
    "leased": Phase(
        _run, _tries_again("Plan run"), {"finished": 1}, _fails("plan_run", "wandb", "AckItem", Fault.BROKEN)
    ),
    "acknowledged": Phase(
        _run,
        _tries_again("Plan run"),
        {"finished": 1},
        lambda: _DiesAtItsSecondWrite(Fault.KILLED_BEFORE),
    ),
    "planned": Phase(
        _run,
        _tries_again("Plan run"),
        {"finished": 1},
        lambda: _DiesAtItsSecondWrite(Fault.KILLED_AFTER),
    ),
    "returned": Phase(
        _lease_is_lost,
        lambda made: _record(made).get("state") == {"S": "returned"},
        {"finished": 1},
        _fails("plan_run", "wandb", "AckItem", Fault.BROKEN, times=2),
    ),
    "build planned": Phase(
        _code,
        _tries_again("Plan run"),
        {"finished": 1},
        _fails("plan_run", "s3", "PutObject", Fault.KILLED_AFTER),
    ),
    "build ordered": Phase(_no_room_for_builds, _tries_again("Build image"), {"finished": 1}),
    "building": Phase(
        _code_twice,
        lambda made: (
            [each.state for each in _executions(made)] == ["Build image", "Plan run"]
            and bool(_executions(made)[1].tries)
        ),
        {"finished": 3},
        then=_code_again,
    ),
    "waiting for capacity": Phase(_code, _tries_again("Train"), {"finished": 1}, different=lambda: {"quota": 0}),
    "training": Phase(
        _code_and_run,
        _statuses("Failed", "Training", "Training"),
        {"finished": 2},
        different=lambda: {"script": _fails_at_first()},
    ),
    "being stopped": Phase(_stopped_in_wandb, lambda made: "stop_requested_at" in _record(made), {"stopped": 1}),
    "reporting": Phase(_run, _tries_again("Report outcome"), {"finished": 1}, _away_once_ended),
    "ended": Phase(
        _stopped_in_console,
        lambda made: _record(made).get("state") == {"S": "ended"} and _statuses("Stopped")(made),
        {"stopped": 1},
        _fails("sweep_runs", "wandb", "RunState", Fault.BROKEN),
    ),
    "reporting a failed build": Phase(
        _code,
        _tries_again("Report failure"),
        {"not launched": 1},
        _away_once_ended,
        lambda: {"builds_fail": lambda: True},
    ),
    "failed": Phase(_refused, _has_failed, {"finished": 1}, then=_redrive_all),
    "redriven": Phase(
        _redriven,
        lambda made: any(each.state == "Launch failed" and each.tries for each in _executions(made)),
        {"finished": 2},
        different=lambda: {"max_jobs": 1},
    ),
    "aborted": Phase(
        _stopped_in_console,
        lambda made: any(each.status == "ABORTED" for each in _executions(made)),
        {"finished": 1},
        different=lambda: {"delivery": Delivery(dropped=1)},
        then=_redrive_all,
    ),
    "finished": Phase(_run, lambda made: made.verdicts() == {"finished": 1} and made.is_idle, {"finished": 1}),
}
