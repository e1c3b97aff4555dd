"""Where this scheduler does better than `wandb scheduler`, and the promises for every sweep."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch_agent.sweeps.record import SweepEnd, SweepRecord, SweepRun
from launch_agent.sweeps.scheduler import Seen, crashed, look, noted, obey, register, state_to_write, stopped, wind_down
from launch_agent.training.training_job import Verdict
from tests.sweeps.server import EXIT, FINISHED, NOTHING, Died, Scheduler, Server, order, runs

RUNNING = Seen("RUNNING")
RUN = {"type": "run", "run_id": "run1", "args": {"lr": {"value": 0.1}}}


def live(*names: str, **different: Any) -> SweepRecord:
    """Return a record with these live runs, one for each worker."""
    live_runs = tuple(SweepRun(run_id=name, worker=n, item_id=f"item-{name}") for n, name in enumerate(names))
    return SweepRecord(runs=live_runs, queued=frozenset(names), counted=len(names), **different)


def seen(state: str | None = "RUNNING", item: str | None = "CLAIMED", **states: str | None) -> Seen:
    """Return what W&B shows: the states of runs by id, and the same state of all their items."""
    return Seen(state, states, {f"item-{name}": item for name in states})


# --- faults of the reference
def test_two_commands_in_one_answer_queue_two_runs() -> None:
    step = obey(order(), SweepRecord(), {0: runs(2)}, RUNNING)
    assert [push.run_id for push in step.push] == ["run1", "run2"]
    assert look(order(), step.record, RUNNING).ask == (1,)


@pytest.mark.parametrize("item", ["FAILED", None])
def test_an_item_that_failed_or_was_deleted_frees_its_worker_and_its_run_does_not_stay_pending(
    item: str | None,
) -> None:
    step = look(order(workers=1), live("run1"), seen(item=item, run1="pending"))
    assert step.ask == (0,)
    assert step.fail == ("run1",)


def test_an_item_that_is_deleted_while_its_run_goes_on_changes_nothing() -> None:
    step = look(order(workers=1), live("run1"), seen(item=None, run1="running"))
    assert (step.ask, step.fail, step.record.runs) == ((), (), live("run1").runs)


def test_a_used_up_sweep_waits_for_its_runs_and_finishes() -> None:
    server = Server(runs(3), at_end=EXIT, states=lambda n: ["pending", *["running"] * 3 * n, "finished"])
    record = Scheduler(server, order()).run()
    assert record.end
    assert (record.end.verdict, server.state, server.stopped) == (Verdict.FINISHED, "FINISHED", set())
    assert set(server.runs.values()) == {"finished"}


def test_a_sweep_that_is_resumed_while_it_winds_down_goes_on() -> None:
    server = Server(runs(3), states=lambda _: ("pending", "running", "running", "finished"))
    scheduler = Scheduler(server, order(workers=1))
    scheduler.step()
    server.state = "PAUSED"
    scheduler.step()
    scheduler.step()
    assert len(server.queue) == 1
    server.state = "RUNNING"
    scheduler.run()
    assert len(server.queue) == 3
    assert server.written == []


@pytest.mark.parametrize("ends", [{"type": "stop"}, {"type": "pause"}])
def test_a_run_that_w_and_b_made_together_with_a_command_that_ends_the_sweep_does_not_stay_pending(
    ends: dict[str, Any],
) -> None:
    step = obey(order(workers=3), live("run1"), {1: [ends], 2: [RUN, {**RUN, "run_id": "run2"}]}, RUNNING)
    assert step.record.end
    assert (step.stop, step.fail, step.push) == (("run1",), ("run2",), ())


def test_after_a_command_that_ends_the_sweep_only_new_runs_are_failed() -> None:
    """Not runs that were queued, nor those of other commands, nor what has no id; nothing else is obeyed."""
    given: list[dict[str, Any]] = [
        {"type": "stop"},
        *({**RUN, "run_id": name} for name in ("run2", "run3")),
        {**RUN, "run_id": "run1"},
        {"type": "resume", "run_id": "run4"},
        {"type": "run", "run_id": None},
        {"type": "run", "run_id": ["run5"]},
        {"type": "pause"},
    ]
    step = obey(order(workers=3), live("run1"), {1: given}, RUNNING)
    assert (step.fail, step.push) == (("run2", "run3"), ())
    assert step.record.end == stopped("W&B stopped the sweep.")


@pytest.mark.parametrize("state", ["CANCELED", "CANCELLED", "STOPPED", "canceled"])
def test_a_canceled_sweep_stops_its_runs_at_once_in_every_spelling(state: str) -> None:
    step = look(order(), live("run1", "run2"), seen(state, run1="running", run2="pending"))
    assert step.stop == ("run1", "run2")
    assert step.record.end
    assert step.record.end.verdict is Verdict.STOPPED
    assert state_to_write(step.record.end, state) is None


def test_a_scheduler_whose_own_run_is_stopped_cancels_the_sweep() -> None:
    step = look(order(), live("run1"), seen(run1="running")._replace(is_stopped=True))
    assert step.stop == ("run1",)
    assert step.record.end
    assert state_to_write(step.record.end, "RUNNING") == "CANCELED"


def test_a_deleted_sweep_stops_its_runs() -> None:
    step = look(order(), live("run1", "run2"), seen(None, run1="running", run2="finished"))
    assert step.stop == ("run1",)
    assert step.record.end
    assert state_to_write(step.record.end, None) is None


@pytest.mark.parametrize(
    "command",
    [
        {"type": "dance"},
        {"type": None},
        {},
        {**RUN, "run_id": None},
        {**RUN, "run_id": "a/b"},
        {**RUN, "run_id": 3},
        {**RUN, "args": {"lr": 0.1}},
        {**RUN, "args": [1]},
    ],
)
def test_a_command_that_cannot_be_obeyed_is_written_as_crashed(command: dict[str, Any]) -> None:
    record = live("run1")
    step = obey(order(), record, {1: [{**RUN, "run_id": "run2"}, command]}, RUNNING)
    assert step.record.end
    assert step.record.end.verdict is Verdict.FAILED
    assert state_to_write(step.record.end, "RUNNING") == "CRASHED"
    assert (step.push, step.stop, step.fail) == ((), ("run1",), ("run2",))


def test_a_stop_of_one_run_stops_that_run_only() -> None:
    commands = [{"type": "stop", "run_id": "run1"}, {"type": "stop", "run_id": "unknown"}]
    step = obey(order(), live("run1", "run2"), {2: commands}, RUNNING)
    assert (step.stop, step.record.end) == (("run1",), None)


def test_a_stop_without_a_run_stops_the_sweep() -> None:
    step = obey(order(), live("run1"), {1: [{"type": "stop"}]}, RUNNING)
    assert step.stop == ("run1",)
    assert step.record.end == stopped("W&B stopped the sweep.")


# --- runs
def test_a_run_that_is_given_twice_is_queued_once() -> None:
    step = obey(order(), live("run1"), {0: [RUN], 1: [RUN]}, RUNNING)
    assert step.push == ()


def test_a_run_that_has_ended_is_not_queued_again_unless_it_is_resumed() -> None:
    ended = look(order(), live("run1"), seen(run1="preempted")).record
    assert ended.runs == ()
    assert obey(order(), ended, {0: [RUN]}, RUNNING).push == ()
    resumed = obey(order(), ended, {0: [{**RUN, "type": "resume"}]}, RUNNING)
    assert [push.run_id for push in resumed.push] == ["run1"]
    waiting = resumed.record.runs[0].model_copy(update={"item_id": "item-run1"})
    record = resumed.record.model_copy(update={"runs": (waiting,)})
    assert look(order(), record, seen(item="PENDING", run1="preempted")).record.runs == (waiting,)


def test_a_deleted_run_frees_its_worker_when_it_is_missing_twice() -> None:
    once = look(order(workers=1), live("run1"), seen(run1=None))
    assert once.ask == ()
    assert look(order(workers=1), once.record, seen(run1="running")).record.runs == live("run1").runs
    assert look(order(workers=1), once.record, seen(run1=None)).ask == (0,)


def test_a_run_about_which_w_and_b_says_nothing_goes_on() -> None:
    assert look(order(), live("run1"), RUNNING).record == live("run1")


@pytest.mark.parametrize(("cap", "asked"), [(3, (1,)), (2, ()), (None, (1, 2, 3)), (9, (1, 2, 3))])
def test_workers_are_asked_up_to_the_run_cap(cap: int | None, asked: Sequence[int]) -> None:
    record = live("run1").model_copy(update={"counted": 2})
    assert look(order(workers=4, run_cap=cap), record, seen(run1="running")).ask == asked


def test_runs_from_before_the_scheduler_count_for_the_run_cap() -> None:
    step = look(order(run_cap=3), SweepRecord(counted=3), RUNNING)
    assert step.record.end
    assert "run cap of 3" in step.record.end.reason


# --- ends
@pytest.mark.parametrize("at_end", [FINISHED, EXIT, NOTHING])
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_a_grid_ends_whatever_w_and_b_answers_when_it_is_used_up(at_end: str, workers: int) -> None:
    server = Server(runs(5), at_end=at_end)
    record = Scheduler(server, order(workers=workers)).run()
    assert record.end
    assert record.end.verdict is Verdict.FINISHED
    assert server.state == "FINISHED"
    assert len(server.queue) == 5
    assert server.stopped == set()


@pytest.mark.parametrize(
    ("end", "state", "written"),
    [
        ("PAUSED", "RUNNING", "PAUSED"),
        ("PAUSED", "PENDING", None),
        ("FINISHED", "PENDING", "FINISHED"),
        ("FINISHED", "PAUSED", "FINISHED"),
        ("FINISHED", "CANCELED", None),
        ("CRASHED", "RUNNING", "CRASHED"),
        ("CRASHED", None, None),
        (None, "RUNNING", None),
    ],
)
def test_a_sweep_that_has_ended_keeps_its_state(end: str | None, state: str | None, written: str | None) -> None:
    assert state_to_write(SweepEnd(verdict=Verdict.FINISHED, reason="", state=end), state) == written


@pytest.mark.parametrize("state", ["CRASHED", "FAILED"])
def test_a_sweep_that_crashed_in_w_and_b_is_no_success(state: str) -> None:
    step = look(order(), live("run1"), seen(state, run1="running"))
    assert step.stop == ()
    assert step.record.end
    assert step.record.end.verdict is Verdict.FAILED


def test_the_end_is_repeated_until_it_is_reported() -> None:
    first = wind_down(live("run1"), crashed("why"))
    assert look(order(), first.record, RUNNING) == first


def test_a_run_that_may_be_queued_is_stopped_at_the_end() -> None:
    record = obey(order(), SweepRecord(), {0: [RUN]}, RUNNING).record.model_copy(update={"pushing": ("run1",)})
    step = wind_down(record, stopped("why"))
    assert (step.stop, step.fail) == (("run1",), ())


def test_the_log_has_the_last_lines_and_the_end_once() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    record = noted(SweepRecord(), [f"line {n}" for n in range(60)], now=now)
    assert (len(record.log), record.log[-1]) == (50, "2026-01-02 03:04:05 line 59")
    end = stopped("why")
    ended = noted(record.model_copy(update={"end": end}), [end.reason], now=now)
    assert ended.log[-2:] == ("2026-01-02 03:04:05 line 59", "2026-01-02 03:04:05 why")
    assert noted(ended, [end.reason], now=now) == ended


def test_an_agent_that_w_and_b_has_forgotten_is_registered_again() -> None:
    record = register(order(workers=3), SweepRecord(), {0: "a", 1: "b", 2: "c"})
    assert register(order(workers=3), record, {1: ""}).agents == ("a", "", "c")


# --- for every sweep
CHOICES = st.fixed_dictionaries(
    {
        "workers": st.integers(1, 5),
        "total": st.integers(0, 12),
        "cap": st.none() | st.integers(1, 12),
        "at_end": st.sampled_from([FINISHED, EXIT, NOTHING]),
        "deaths": st.lists(st.integers(0, 9), max_size=20),
        "ends": st.lists(st.sampled_from(["finished", "failed", "crashed", "killed"]), min_size=1, max_size=5),
    }
)


@settings(max_examples=60, deadline=None)
@given(CHOICES)
def test_no_run_is_queued_twice_and_none_is_lost_wherever_a_step_ends(chosen: dict[str, Any]) -> None:
    ends = chosen["ends"]
    server = Server(
        runs(chosen["total"]),
        at_end=chosen["at_end"],
        # A run begins after its item is seen in the queue: at least a minute after it was given.
        states=lambda number: ("pending", "pending", "running", ends[number % len(ends)]),
    )
    asked = order(workers=chosen["workers"], run_cap=chosen["cap"])
    scheduler = Scheduler(server, asked)
    for dies_at in chosen["deaths"]:
        with suppress(Died):
            scheduler.step(dies_at=dies_at)
        assert len(scheduler.record.runs) <= asked.workers
    record = scheduler.record if scheduler.record.end else scheduler.run()
    assert record.end
    queued = Counter(push.run_id for push in server.queue)
    assert set(queued.values()) <= {1}
    given_out = {each["run_id"] for commands in server.given.values() for each in commands}
    assert queued.keys() | server.failed == given_out | server.failed
    assert record.queued == given_out
    if chosen["cap"]:
        assert len(queued) <= chosen["cap"]
    if chosen["at_end"] != FINISHED:  # otherwise W&B ends the sweep, and its last run may still go on
        assert len(queued) == min(chosen["total"], chosen["cap"] or chosen["total"])
        assert {server.runs[run] for run in queued} <= {"finished", "failed", "crashed", "killed"}


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.integers(0, 3),
        st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "type": st.sampled_from(["run", "resume", "stop", "exit", "?"]) | st.none(),
                    "run_id": st.sampled_from(["run1", "run2", "run3"]) | st.none() | st.integers(),
                    "args": st.none() | st.dictionaries(st.text(), st.just({"value": 1})) | st.just([1]),
                },
            ),
            max_size=4,
        ),
    )
)
def test_no_command_breaks_a_step(commands: dict[int, Any]) -> None:
    step = obey(order(workers=4), live("run1"), commands, RUNNING)
    pushed = [push.run_id for push in step.push]
    assert len(set(pushed)) == len(pushed)
    assert "run1" not in pushed
    assert SweepRecord.model_validate_json(step.record.model_dump_json()) == step.record
