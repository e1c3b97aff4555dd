"""The benchmarks measure what they say. How long anything takes is not tested."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.bench import bill, counts, drain, latency, requests, ticks
from tests.bench.__main__ import GROUPS
from tests.bench.document import DOCUMENT
from tests.bench.plot import plot
from tests.bench.prices import prices
from tests.bench.simulated import simulated
from tests.bench.stock_agent import StockAgent, stock_agent
from tests.bench.units import Units
from tests.documents import ROOT, runs_table
from tests.simulation.dynamodb import Table
from tests.simulation.training import Script

TARGETS = (
    *("enqueue_to_create_p50_s", "drain_100_s", "drain_1000_s", "requests_per_job_hour", "tick_10000_open_s"),
    *("tick_10000_open_mb", "coldstart_slowest_s", "package_max_mb", "idle_month_usd_60s", "idle_month_usd_15s"),
)
OF_TIME = ("lambda_gb_seconds",)
"""The counts that are not the same on every machine."""


@pytest.fixture(scope="module")
def stock() -> Iterator[StockAgent]:
    """A real stock agent that has launched two runs."""
    with stock_agent(script=Script(pending=1, training=86_400)) as agent:
        agent.push(2)
        agent.wait_for_jobs(2)
        yield agent


def test_the_stock_agent_launches_every_run_that_is_queued(stock: StockAgent) -> None:
    jobs = stock.training.jobs.values()
    assert len(jobs) == len(stock.created_at) == 2
    assert {job.tags["WandbRunId"] for job in jobs} == {job.name for job in jobs}
    items = stock.server.state.items.values()
    assert {item.associated_run_id for item in items} == {job.name for job in jobs}


def test_each_request_of_the_stock_agent_is_counted(stock: StockAgent) -> None:
    assert stock.asked["sagemaker.CreateTrainingJob"] == stock.asked["wandb.ackRunQueueItem"] == 2
    assert stock.asked["sts.GetCallerIdentity"] == 4
    assert stock.asked["wandb.popFromRunQueue"] == len(stock.popped_at)


def test_a_run_waits_for_the_next_poll_and_then_for_the_calls_of_its_launch() -> None:
    waits = latency.of_application(interval=5, runs=10)
    assert len(waits) == 10
    assert all(0.4 < wait < 10 for wait in waits)


def test_draining_counts_the_requests_of_this_application() -> None:
    drained = drain.of_application(20)
    assert 20 < drained.wandb_requests < 60
    assert 20 * 10 < drained.aws_requests < 20 * 25


def test_a_job_of_an_image_has_five_transitions_and_one_training_job() -> None:
    asked, transitions = requests.of_application(3)
    assert transitions == 3 * 5
    assert asked["sagemaker.CreateTrainingJob"] == asked["wandb.AckItem"] == asked["sfn.StartExecution"] == 3


def test_time_passes_for_calls_and_is_counted_by_function() -> None:
    with simulated(interval=60) as (made, meter):
        made.clock.run(60)
        assert meter.invocations["poll_queues"] == 1
        assert meter.requests["wandb.UpdateAndPop"] == 1
        assert meter.seconds["poll_queues"] > 0.1
        assert meter.processor["poll_queues"] > 0


def test_the_units_of_a_table_are_those_that_dynamodb_charges() -> None:
    table = Table(runs_table())
    units = Units(table)
    table.answer("PutItem", {"Item": {"pk": {"S": "out of the index"}, "x": {"S": "x" * 2_000}}})
    assert units.written == 2
    opened = {"pk": {"S": "run"}, "open": {"S": "run"}, "x": {"S": "x" * 2_000}}
    table.answer("TransactWriteItems", {"TransactItems": [{"Put": {"Item": opened}}]})
    assert units.written == 2 + 2 * (2 + 1)
    table.answer("GetItem", {"Key": {"pk": {"S": "run"}}, "ConsistentRead": True})
    table.answer("GetItem", {"Key": {"pk": {"S": "nothing"}}})
    assert units.read == 1.5


def test_a_poll_asks_w_and_b_about_a_hundred_open_runs_at_a_time() -> None:
    tick = ticks.of_application(101)
    assert tick.wandb_requests == 3
    assert tick.read_units > 1


def test_the_memory_of_a_cold_start_is_not_that_of_the_process_that_measures_it() -> None:
    command = [sys.executable, str(ROOT / "tests/bench/start.py"), "json"]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(finished.stdout)["peak_mb"] < 40


def test_a_plot_has_every_value_of_every_line() -> None:
    drawn = plot("a & b", {"x": {0: 1.5, 10: 2.5}, "y": {0: 7, 10: 7}})
    assert re.findall(r'">([\d.]+)</text>', drawn) == ["1.5", "2.5", "7", "7", "0", "10"]
    assert "a &amp; b" in drawn


def test_the_document_has_the_figures_of_every_group() -> None:
    text = DOCUMENT.read_text()
    for name in GROUPS:
        (part,) = re.findall(f"<!-- bench: {name} -->(.*?)<!-- end -->", text, re.DOTALL)
        assert "\n| `" in part
    assert [name for name in TARGETS if f"\n| `{name}` |" not in text] == []


def test_the_costs_in_the_readme_are_those_of_the_counts_and_the_prices() -> None:
    text = bill.README.read_text()
    assert bill.with_costs(text, bill.stored()) == text


@pytest.mark.parametrize("interval", bill.INTERVALS)
def test_an_idle_hour_costs_what_was_counted(interval: int) -> None:
    now, then = counts.of_idle_hour(interval), bill.stored()["idle_hour"][str(interval)]
    assert {name: now[name] for name in now if name not in OF_TIME} == pytest.approx(
        {name: then[name] for name in then if name not in OF_TIME}, rel=0.02
    )


def test_a_job_costs_what_was_counted() -> None:
    now, then = counts.of_job(), bill.stored()["job"]
    assert {name: now[name] for name in now if name not in OF_TIME} == pytest.approx(
        {name: then[name] for name in then if name not in OF_TIME}, rel=0.05
    )


def test_every_quantity_of_a_month_has_a_price_and_every_price_a_quantity() -> None:
    month = bill.quantities(bill.stored(), jobs=1000, interval=15)
    assert month.keys() == prices().keys()
    assert all(price.source.startswith("https://aws.amazon.com/") for price in prices().values())


def test_what_is_free_is_not_paid_for() -> None:
    dashboards = prices()["dashboards"]
    assert (dashboards.of(4, with_free=False), dashboards.of(4, with_free=True)) == (12, 3)
    assert dashboards.of(1, with_free=True) == 0
