"""Sweeps: many at once, up to the limits, resumed, and with everything around them that can go."""

import json
from typing import Any

import pytest

from local.wandb import Behaviour
from local.wandb.queues import ItemState
from local.wandb.sweeps import Sweep
from tests.simulation.faults import Fault, FaultsAt, FirstOf, NoFaults, RandomFaults, Site, WandbOutage
from tests.simulation.training import Script
from tests.simulation.world import DAY, ENTITY, HOUR, IMAGE, JOB, MINUTE, World, world


def ended_well(made: World, *, within: float = DAY) -> None:
    """Let everything end, and check that nothing is lost, doubled or left."""
    assert made.run_until_idle(within=within), made.check().everything
    assert made.check().everything == []


def outcome_of(made: World, sweep: Sweep) -> tuple[str, str]:
    """Return the verdict and the reason of a sweep's scheduler."""
    outcome = made.outcome(made.scheduler_of(sweep)) or {}
    return outcome["verdict"], outcome["reason"]


def values(number: int) -> dict[str, Any]:
    """Return the parameters of a grid of this size."""
    return {"lr": {"values": list(range(number))}}


@pytest.mark.parametrize("rate", [0, 0.05])
def test_three_sweeps_at_once_share_two_slots(rate: float) -> None:
    """Also if one call in twenty goes wrong."""
    with world(1, RandomFaults(1, rate=rate), max_jobs=20, max_schedulers=2) as made:
        sweeps = [made.sweep(parameters=values(20), workers=8) for _ in range(3)]
        most = 0
        while not made.is_idle:
            made.clock.run(MINUTE)
            most = max(most, sum(bool(sweep.live) for sweep in sweeps))
        ended_well(made)
        assert most == 2
        assert [len(made.items_of(sweep)) for sweep in sweeps] == [20] * 3
        assert {outcome_of(made, sweep)[0] for sweep in sweeps} == {"finished"}


def test_a_scheduler_that_waits_for_a_slot_does_not_keep_the_jobs_behind_it_from_running() -> None:
    """With one slot for jobs, a poll leases one item; the waiting scheduler is first in the queue after each lease."""
    with world(1, NoFaults(), max_jobs=1, max_schedulers=1) as made:
        sweeps = [made.sweep(workers=1) for _ in range(3)]
        ended_well(made)
        assert [sweep.state for sweep in sweeps] == ["FINISHED"] * 3


def test_no_more_runs_are_in_flight_than_there_are_workers() -> None:
    with world(2, NoFaults(), max_jobs=50) as made:
        sweep = made.sweep(parameters=values(12), workers=3)
        most = 0
        while not made.is_idle:
            made.clock.run(10)
            most = max(most, len(sweep.live))
        ended_well(made)
        assert most == 3


@pytest.mark.parametrize("end_of_grid", ["finished", "exit", "nothing"])
def test_a_grid_ends_whatever_w_and_b_answers_when_it_is_used_up(end_of_grid: Any) -> None:
    with world(3, NoFaults()) as made:
        made.server.state.behaviour = Behaviour(end_of_grid=end_of_grid)
        sweep = made.sweep()
        ended_well(made)
        assert (sweep.state, len(made.items_of(sweep))) == ("FINISHED", 3)


def test_a_random_sweep_ends_at_its_run_cap() -> None:
    with world(3, NoFaults()) as made:
        sweep = made.sweep(method="random", run_cap=5, parameters={"lr": {"min": 0.0, "max": 1.0}})
        ended_well(made)
        assert (sweep.state, len(made.items_of(sweep))) == ("FINISHED", 5)
        assert outcome_of(made, sweep) == ("finished", "The sweep has reached its run cap of 5.")


def test_the_schedulers_run_shows_what_was_queued_and_why_the_sweep_ended() -> None:
    with world(3, NoFaults()) as made:
        sweep = made.sweep()
        ended_well(made)
        run = sweep.project.runs_by_id[sweep.name]
        assert (run.state, run.job_type, run.display_name) == (
            "finished",
            "sweep-controller",
            f"Scheduler.{sweep.name}",
        )
        assert run.summary == {"runs_queued": 3, "runs_live": 0}
        lines = (run.notes or "").splitlines()
        assert f"Run {sweep.made[0].name} is queued: {{'lr': 0.1}}." in lines[0]
        assert lines[-1].endswith("All runs of the sweep have ended.")


def test_runs_that_fail_free_their_worker() -> None:
    with world(3, NoFaults(), script=lambda _: Script(failure="AlgorithmError: exit code 1")) as made:
        sweep = made.sweep()
        ended_well(made)
        assert [run.state for run in sweep.made] == ["failed"] * 3


def test_runs_whose_items_fail_do_not_stay_pending_and_free_their_worker() -> None:
    with world(3, NoFaults()) as made:
        sweep = made.sweep(launch={"resource_args": {"sagemaker": {"StoppingCondition": "soon"}}})
        ended_well(made)
        assert {item.state for item in made.items_of(sweep)} == {ItemState.FAILED}
        assert [run.state for run in sweep.made] == ["failed"] * 3


@pytest.mark.parametrize("fault", [Fault.KILLED_AFTER, Fault.LOST_ANSWER, Fault.BROKEN])
def test_a_run_that_never_began_is_failed_however_often_its_end_is_reported(fault: Fault) -> None:
    """The first report shows the pending run as failed, and dies. The next one finds a run that has a state."""
    write = Site("report_outcome", "wandb", "UpsertRun")
    with world(3, FaultsAt(write, fault, times=2), script=lambda _: Script(calls_init=False)) as made:
        sweep = made.sweep(parameters=values(1))
        ended_well(made)
        (item,) = made.items_of(sweep)
        outcome = made.outcome(item) or {}
        assert (item.state, outcome["verdict"]) == (ItemState.FAILED, "failed")
        assert "its run never appeared in W&B" in outcome["reason"]


def test_a_paused_sweep_is_resumed_by_another_scheduler_with_the_same_launch_block() -> None:
    with world(4, NoFaults()) as made:
        sweep = made.sweep(workers=1, launch={"overrides": {"run_config": {"seed": 7}}}, run_cap=3)
        while len(sweep.made) < 2:
            made.clock.run(10)
        sweep.change("PAUSED")
        assert made.run_until_idle()
        first = made.scheduler_of(sweep)
        assert (sweep.state, len(sweep.made)) == ("PAUSED", 2)
        spec = json.loads(json.dumps(first.run_spec))
        del spec["overrides"]["run_config"]["launch"]
        sweep.change("PENDING")
        made.push_raw(spec)
        assert made.run_until_idle()
        assert (sweep.state, len(sweep.made)) == ("FINISHED", 3)
        assert [item.run_spec["overrides"]["run_config"]["seed"] for item in made.items_of(sweep)] == [7] * 3
        assert made.check().everything == []


def test_an_agent_that_w_and_b_forgets_is_registered_again() -> None:
    with world(5, NoFaults()) as made:
        sweep = made.sweep(workers=1)
        while not sweep.made:
            made.clock.run(10)
        made.server.state.sweep_agents.clear()
        ended_well(made)
        assert len(made.items_of(sweep)) == 3


def test_a_run_that_is_deleted_frees_its_worker() -> None:
    with world(5, NoFaults(), script=lambda _: Script(training=3 * HOUR, calls_init=False)) as made:
        sweep = made.sweep(workers=1)
        while not sweep.made:
            made.clock.run(10)
        del sweep.project.runs_by_id[sweep.made[0].name]
        made.clock.run(10 * MINUTE)
        assert len(sweep.made) == 2


def test_an_item_that_is_deleted_by_a_user_frees_its_worker() -> None:
    with world(5, NoFaults(), max_jobs=1) as made:
        busy = made.push()
        sweep = made.sweep(workers=1)
        while not made.items_of(sweep):
            made.clock.run(5)
        (item,) = made.items_of(sweep)
        if item.state is ItemState.PENDING:
            for holder in (made.server.state.items, made.queue.items, made.queue.waiting):
                del holder[item.id]
            assert made.run_until_idle()
            assert sweep.made[0].state == "failed"
            assert len(made.items_of(sweep)) == 2
        assert made.outcome(busy)


def test_a_job_that_does_not_exist_fails_the_scheduler_and_its_sweep() -> None:
    with world(6, NoFaults()) as made:
        sweep = made.sweep()
        args = made.scheduler_of(sweep).run_spec["overrides"]["args"]
        args[args.index("--image_uri") :] = ["--job", "'team/jobs/gone:latest'"]
        sweep.config = json.dumps({"method": "grid", "parameters": values(3)})
        ended_well(made)
        assert outcome_of(made, sweep)[0] == "not launched"
        assert "gone" in outcome_of(made, sweep)[1]
        assert sweep.state == "CRASHED"


def test_a_sweep_of_a_job_that_comes_as_code_builds_its_image_once() -> None:
    with world(6, NoFaults()) as made:
        sweep = made.sweep()
        args = made.scheduler_of(sweep).run_spec["overrides"]["args"]
        args[args.index("--image_uri") :] = ["--job", f"'{JOB}'"]
        sweep.config = json.dumps({"method": "grid", "parameters": values(3)})
        ended_well(made)
        assert len(made.builds.builds) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"run_id": "unknown1"}, "does not exist"),
        ({"overrides": {"args": []}}, "no --queue"),
    ],
)
def test_a_scheduler_that_cannot_start_fails_with_words(change: dict[str, Any], says: str) -> None:
    with world(6, NoFaults()) as made:
        sweep = made.sweep()
        item = made.scheduler_of(sweep)
        item.run_spec.update(change)
        assert made.run_until_idle()
        outcome = made.outcome(item)
        assert outcome
        assert outcome["verdict"] == "not launched"
        assert says in outcome["reason"]
        assert item.state is ItemState.FAILED
        assert sweep.state == ("PENDING" if "run_id" in change else "CRASHED")


@pytest.mark.parametrize("source", [{"job": JOB}, {"docker": {"docker_image": IMAGE}}])
def test_a_scheduler_that_is_a_job_is_a_training_job_on_a_small_instance(source: dict[str, Any]) -> None:
    with world(6, NoFaults(), config={"schedulers": {"instance_type": "ml.t3.medium"}}) as made:
        sweep = made.sweep(method="custom")
        item = made.scheduler_of(sweep)
        arguments = {"sweep_id": sweep.name, "queue": "sagemaker"}
        item.run_spec.update(
            {**source, "resource": "local-container", "overrides": {"run_config": {"sweep_args": arguments}}}
        )
        slots = 0
        while not made.is_idle:
            made.clock.run(MINUTE)
            agent = made.stacks["launch"].table.items[f"agent#{ENTITY}"]
            slots = max(slots, int(agent.get("schedulers_open", {"N": "0"})["N"]))
        (job,) = made.jobs(item)
        outcome = made.outcome(item)
        assert outcome
        assert (outcome["verdict"], slots) == ("finished", 1)
        resources = job.request["ResourceConfig"]
        assert (resources["InstanceType"], resources["InstanceCount"]) == ("ml.t3.medium", 1)
        environment = job.request["Environment"]
        config = "".join(environment[name] for name in sorted(environment) if name.startswith("WANDB_CONFIG"))
        assert json.loads(config)["sweep_args"] == arguments
        assert environment["WANDB_RUN_ID"] == sweep.name


def test_an_item_that_names_a_sweep_that_runs_changes_nothing_of_it() -> None:
    with world(6, NoFaults()) as made:
        sweep = made.sweep()
        while not sweep.made:
            made.clock.run(10)
        spec = json.loads(json.dumps(made.scheduler_of(sweep).run_spec))
        made.push_raw({**spec, "overrides": {"args": []}})
        assert made.run_until_idle()
        assert sweep.state == "FINISHED"
        assert len(made.items_of(sweep)) == 3


def test_a_queue_that_is_gone_crashes_the_sweep_with_its_reason() -> None:
    with world(6, NoFaults()) as made:
        sweep = made.sweep()
        item = made.scheduler_of(sweep)
        item.run_spec["overrides"]["args"][1] = "'gone'"
        ended_well(made)
        assert sweep.state == "CRASHED"
        verdict, reason = outcome_of(made, sweep)
        assert verdict == "failed"
        assert "gone not found" in reason
        assert {run.state for run in sweep.made} == {"failed"}


def test_a_refusal_for_one_sweep_does_not_hold_up_the_others() -> None:
    with world(7, NoFaults()) as made:
        hidden, other = made.sweep(), made.sweep()
        while not (hidden.made and other.made):
            made.clock.run(10)
        find = hidden.project.sweep

        def refuse(name: str) -> Any:
            if name == hidden.name:
                raise PermissionError("permission denied")
            return find(sweep_name=name)

        hidden.project.sweep = lambda sweep_name: refuse(sweep_name)  # type: ignore[method-assign]  # for this test
        made.clock.run(HOUR / 2)
        assert (hidden.state, other.state) == ("RUNNING", "FINISHED")
        del hidden.project.sweep
        ended_well(made)


def test_w_and_b_may_be_unavailable_for_days() -> None:
    faults = WandbOutage(NoFaults(), Fault.BROKEN)
    with world(8, faults, poll_every=30 * MINUTE) as made:
        sweep = made.sweep()
        while not sweep.made:
            made.clock.run(10)
        faults.is_active = True
        made.clock.run(30 * HOUR)
        faults.is_active = False
        ended_well(made)
        assert (sweep.state, len(made.items_of(sweep))) == ("FINISHED", 3)


@pytest.mark.parametrize("operation", ["SweepHeartbeats", "SweepStates"])
def test_a_sweep_whose_steps_are_refused_for_a_day_ends(operation: str) -> None:
    faults = FaultsAt(Site("advance_sweeps", "wandb", operation), Fault.REFUSED, times=1e9)
    with world(8, faults, poll_every=30 * MINUTE) as made:
        sweep = made.sweep()
        assert made.run_until_closed(within=2 * DAY)
        verdict, reason = outcome_of(made, sweep)
        assert verdict == "failed"
        assert made.scheduler_of(sweep).state is ItemState.FAILED
        assert reason.startswith("SweepBlocked: the sweep could not be moved on for a day.")


@pytest.mark.parametrize("fault", [Fault.KILLED_AFTER, Fault.LOST_ANSWER])
@pytest.mark.parametrize("operation", ["SweepHeartbeats", "PushRuns"])
def test_a_scheduler_that_is_stopped_before_its_step_is_stored_leaves_no_run_behind(
    operation: str, fault: Fault
) -> None:
    faults = FaultsAt(Site("advance_sweeps", "wandb", operation), fault)
    with world(8, faults) as made:
        sweep = made.sweep()
        while not faults.happened:
            made.clock.run(1)
        assert sweep.made
        made.stop_in_console(made.scheduler_of(sweep))
        ended_well(made)
        assert sweep.state == "CANCELED"
        assert outcome_of(made, sweep)[0] == "stopped"


def test_a_scheduler_that_is_stopped_between_the_end_of_its_sweep_and_its_last_step_ends_the_sweep() -> None:
    faults = FaultsAt(Site("advance_sweeps", "wandb", "SetSweepState"), Fault.KILLED_BEFORE)
    with world(8, faults) as made:
        made.server.state.behaviour = Behaviour(end_of_grid="exit")
        sweep = made.sweep()
        while not faults.happened and not made.is_idle:
            made.clock.run(1)
        made.stop_in_console(made.scheduler_of(sweep))
        ended_well(made)
        assert (sweep.state, outcome_of(made, sweep)[0]) == ("FINISHED", "finished")


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_step_that_is_killed_after_it_queued_runs_queues_none_twice_whatever_the_order_of_the_queue(
    newest_first: bool,
) -> None:
    with world(8, FaultsAt(Site("advance_sweeps", "wandb", "PushRuns"), Fault.KILLED_AFTER)) as made:
        made.server.state.behaviour = Behaviour(newest_items_first=newest_first)
        for _ in range(120):
            made.push()
        made.clock.run(2 * HOUR)
        sweep = made.sweep()
        ended_well(made)
        assert (sweep.state, outcome_of(made, sweep)[0]) == ("FINISHED", "finished")
        assert len(made.items_of(sweep)) == 3


@pytest.mark.parametrize("operation", ["QueuePage", "RunsOfSweepAgents"])
def test_a_sweep_ends_although_w_and_b_refuses_to_show_what_its_last_step_did(operation: str) -> None:
    asked = {"QueuePage": "PushRuns", "RunsOfSweepAgents": "SweepHeartbeats"}[operation]
    killed = FaultsAt(Site("advance_sweeps", "wandb", asked), Fault.KILLED_BEFORE, times=1e9)
    ending = ("report_outcome", "sweep_runs")
    refused = [FaultsAt(Site(each, "wandb", operation), Fault.REFUSED, times=1e9) for each in ending]
    with world(8, FirstOf(killed, *refused)) as made:
        sweep = made.sweep()
        while not killed.happened and not made.is_idle:
            made.clock.run(1)
        made.stop_in_console(made.scheduler_of(sweep))
        ended_well(made)
        assert sweep.state == "CANCELED"
        assert any(each.happened for each in refused)


def test_twenty_sweeps_with_fifty_live_runs_each_cost_few_requests() -> None:
    counted = NoFaults()
    with world(9, counted, max_jobs=1, max_schedulers=-1, quota=0) as made:
        for _ in range(20):
            made.sweep(parameters=values(51), workers=50)
        while sum(len(sweep.live) for sweep in made.server.state.project(ENTITY, "p").sweeps.values()) < 1000:
            made.clock.run(MINUTE)
        before = requests(counted)
        made.clock.run(3 * MINUTE)
        assert (requests(counted) - before) / 3 <= 25
        made.stacks["launch"].is_deleted = True  # what is left is of no interest


def requests(counted: NoFaults) -> int:
    """Return how many requests W&B got from the steps of sweeps."""
    return sum(n for site, n in counted.seen.items() if (site.function, site.service) == ("advance_sweeps", "wandb"))
