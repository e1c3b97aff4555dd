"""The local server's sweeps: grids, random parameters, the run cap, hyperband, and what a user does to a sweep."""

import json
from typing import Any

import pytest

from local.wandb import WandbServer
from local.wandb.runs import Run
from local.wandb.sweeps import Sweep, SweepAgent, create_agent, upsert_sweep
from tests.wandb.client import API_KEY, Client


def created(**config: Any) -> tuple[Sweep, list[SweepAgent]]:
    """Create a sweep with two agents."""
    server = WandbServer(entity="team", api_key=API_KEY)
    given = {"entityName": "team", "projectName": "p"}
    sweep = upsert_sweep(server.state, {**given, "config": json.dumps(config)})
    agents = [create_agent(server.state, {**given, "host": f"h{n}", "sweep": sweep.name}) for n in range(2)]
    return sweep, agents


def given_runs(agents: list[SweepAgent], most: int = 50) -> list[dict[str, Any]]:
    """Let agents ask in turn, and every run finish at once; return the parameters of the runs."""
    found = []
    for number in range(most):
        agent = agents[number % len(agents)]
        commands = agent.commands({})
        if not commands or commands[0]["type"] == "exit":
            break
        found.append({name: each["value"] for name, each in commands[0]["args"].items()})
        agent.made[-1].state = "finished"
    return found


def test_a_grid_has_every_combination_once_with_nested_parameters() -> None:
    sweep, agents = created(
        method="grid",
        parameters={"a": {"values": [1, 2]}, "b": {"parameters": {"c": {"value": 3}, "d": {"min": 4, "max": 5}}}},
    )
    assert given_runs(agents) == [{"a": a, "b": {"c": 3, "d": d}} for a in (1, 2) for d in (4, 5)]
    assert (sweep.state, sweep.run_count, sweep.run_count_expected) == ("FINISHED", 4, 4)


def test_a_random_sweep_draws_within_its_distributions_up_to_the_run_cap() -> None:
    distributions = {
        "uniform": {"min": 0.5, "max": 1.5},
        "whole": {"min": 1, "max": 3},
        "log": {"distribution": "log_uniform_values", "min": 0.001, "max": 0.1},
        "step": {"distribution": "q_uniform", "min": 0, "max": 10, "q": 5},
        "normal": {"distribution": "normal", "mu": 100, "sigma": 0.1},
        "choice": {"values": ["x", "y"]},
        "fixed": {"value": None},
    }
    sweep, agents = created(method="random", run_cap=30, parameters=distributions)
    drawn = given_runs(agents)
    assert (len(drawn), sweep.state) == (30, "FINISHED")
    for each in drawn:
        assert 0.5 <= each["uniform"] <= 1.5
        assert each["whole"] in (1, 2, 3)
        assert 0.001 <= each["log"] <= 0.1
        assert each["step"] in (0, 5, 10)
        assert 99 < each["normal"] < 101
        assert (each["choice"] in ("x", "y"), each["fixed"]) == (True, None)


def test_a_bayes_sweep_is_random_and_says_so() -> None:
    sweep, agents = created(method="bayes", run_cap=2, parameters={"lr": {"min": 0.0, "max": 1.0}})
    assert len(given_runs(agents)) == 2
    assert "at random" in sweep.warnings[0]


def test_an_agent_that_has_a_run_gets_no_other() -> None:
    _, (first, second) = created(method="grid", parameters={"a": {"values": [1, 2]}})
    assert first.commands({})[0]["type"] == "run"
    assert first.commands({first.made[0].name: True}) == []
    assert second.commands({})[0]["args"] == {"a": {"value": 2}}
    assert first.commands({}) == []
    first.made[0].state = second.made[0].state = "finished"
    assert first.commands({}) == [{"type": "exit"}]


@pytest.mark.parametrize(("state", "answer"), [("PAUSED", []), ("FINISHED", [{"type": "exit"}])])
def test_a_paused_or_stopped_sweep_gives_no_run(state: str, answer: list[Any]) -> None:
    sweep, (agent, _) = created(method="grid", parameters={"a": {"values": [1, 2]}})
    sweep.change(state)
    assert agent.commands({}) == answer


def test_a_canceled_sweep_stops_its_runs() -> None:
    sweep, (agent, _) = created(method="grid", parameters={"a": {"values": [1, 2]}})
    agent.commands({})
    sweep.change("CANCELED")
    assert agent.made[0].stopped


def history(run: Run, *losses: float) -> None:
    lines = [json.dumps({"_step": step, "loss": loss}) for step, loss in enumerate(losses)]
    run.stream({"files": {"wandb-history.jsonl": {"offset": 0, "content": lines}}})


def test_hyperband_stops_a_run_that_is_worse_than_the_best_third() -> None:
    sweep, agents = created(
        method="random",
        metric={"name": "loss", "goal": "minimize"},
        early_terminate={"type": "hyperband", "min_iter": 2},
        parameters={"lr": {"min": 0.0, "max": 1.0}},
    )
    for _ in range(3):
        agents[0].commands({})
    good, bad, young = agents[0].made
    history(good, 1.0, 0.5, 0.4)
    history(bad, 3.0, 2.0, 1.9)
    history(young, 9.0)
    assert [run.stopped for run in (good, bad, young)] == [False, True, False]
    assert agents[0].commands({bad.name: True}) == [{"type": "stop", "run_id": bad.name}]
    good.summary, bad.summary = {"loss": 0.4}, {"loss": 1.9}
    assert sweep.best_run is good


def test_the_real_agent_runs_a_sweep(tmp_path: Any) -> None:
    server = WandbServer(entity="team", api_key=API_KEY)
    with server.running() as url:
        client = Client(tmp_path, url)
        (tmp_path / "train.py").write_text(
            "import wandb\nwith wandb.init() as run:\n    run.log({'loss': run.config.lr})\n"
        )
        (tmp_path / "sweep.yaml").write_text(
            json.dumps({"method": "grid", "program": "train.py", "parameters": {"lr": {"values": [1, 2]}}})
        )
        client.run("wandb", "sweep", "-e", "team", "-p", "p", "sweep.yaml")
        (sweep,) = server.state.project("team", "p").sweeps.values()
        client.run("wandb", "agent", f"team/p/{sweep.name}")
        assert [(run.state, run.config_values["lr"]["value"]) for run in sweep.made] == [
            ("finished", 1),
            ("finished", 2),
        ]
        assert sweep.state == "FINISHED"
