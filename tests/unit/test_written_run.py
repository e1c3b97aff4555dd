"""Whose run may be written for a container that never calls wandb.init."""

import json

import pytest

from launch_agent.errors import InvalidRunSpec
from launch_agent.plan.written_run import RunInWandb, check_may_write, marked, may_write
from launch_agent.run_queue.items import ItemRef, RunSpec

ITEM = ItemRef(id="item", queue="sm", entity="team", run_id="best-model")
OTHER = ItemRef(id="other", queue="sm", entity="team", run_id="best-model")
SPEC = RunSpec(entity="team", project="train")
SWEEP = RunSpec(entity="team", project="train", sweep_id="48rxczx9")


@pytest.mark.parametrize(
    ("run", "spec", "may"),
    [
        (None, SPEC, True),
        (RunInWandb(state="finished"), SPEC, False),
        (RunInWandb(state="running", config="{}"), SPEC, False),
        (RunInWandb(state="finished", config=marked({"lr": 1}, ITEM)), SPEC, True),
        (RunInWandb(state="finished", config=marked({"lr": 1}, OTHER)), SPEC, False),
        (
            RunInWandb(state="finished", config=json.dumps({"_wandb": {"value": {"launch_trace_id": "item"}}})),
            SPEC,
            True,
        ),
        (RunInWandb(state="pending"), SPEC, False),
        (RunInWandb(state="pending", sweepName="48rxczx9"), SWEEP, True),
        (RunInWandb(state="pending", sweepName="another"), SWEEP, False),
        (RunInWandb(state="finished", sweepName="48rxczx9"), SWEEP, False),
        (RunInWandb(state="finished", config="no JSON"), SPEC, False),
        (RunInWandb(state="finished", config="[" * 100_000), SPEC, False),
        (RunInWandb(state="finished", config='{"_wandb": 1}'), SPEC, False),
        (RunInWandb(state="finished", config='{"_wandb": {"value": {"launch_trace_id": ["item"]}}}'), SPEC, False),
        (RunInWandb(), SPEC, False),
    ],
)
def test_a_run_is_written_only_if_it_is_not_there_or_is_the_items(
    run: RunInWandb | None, spec: RunSpec, may: bool
) -> None:
    assert may_write(run, ITEM, spec) is may


def test_a_run_of_somebody_elses_is_refused_in_words() -> None:
    with pytest.raises(InvalidRunSpec, match="team/train has a run best-model already"):
        check_may_write(RunInWandb(state="finished"), ITEM, SPEC)
    check_may_write(None, ITEM, SPEC)


def test_the_mark_is_the_launch_agents_whatever_the_config_says() -> None:
    config = json.loads(marked({"_wandb": {"launch_trace_id": "forged"}, "lr": 1}, ITEM))
    assert config == {"_wandb": {"value": {"launch_trace_id": "item"}}, "lr": {"value": 1}}
