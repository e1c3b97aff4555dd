"""Limits for the jobs of a queue and of an instance type, besides the total, and which queue is next."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from local.wandb.queues import RunQueueItem
from tests.simulation.faults import NoFaults
from tests.simulation.training import Script
from tests.simulation.world import ENTITY, HOUR, IMAGE, MINUTE, PROJECT, QUEUE, World, queue_config, world

GPU = {**queue_config()["ResourceConfig"], "InstanceType": "ml.p4d.24xlarge"}
HOURS: dict[str, Any] = {"script": lambda _: Script(training=HOUR)}


def push(made: World, queue: str, **block: Any) -> RunQueueItem:
    spec = {"entity": ENTITY, "project": PROJECT, "docker": {"docker_image": IMAGE}, "resource": "sagemaker"}
    return made.server.state.items[made.server.push(queue, {**spec, "resource_args": {"sagemaker": block}})]


def most_at_once(made: World, kind: Callable[[dict[str, Any]], str], *, hours: int) -> Counter[str]:
    """Let hours pass; return how many training jobs were in progress at most, by kind."""
    most: Counter[str] = Counter()
    for _ in range(hours * 20):
        made.clock.run(3 * MINUTE)
        most |= Counter(kind(job.request) for job in made.training.live.values())
    assert made.is_idle
    return most


def type_of(request: dict[str, Any]) -> str:
    return str(request["ResourceConfig"]["InstanceType"])


def queue_of(request: dict[str, Any]) -> str:
    return next(str(tag["Value"]) for tag in request["Tags"] if tag["Key"] == "WandbQueue")


def test_as_many_runs_use_an_instance_type_as_its_limit_says_and_the_others_wait_without_failing() -> None:
    limits = {"ml.p4d.*": 1, "ml.m4.xlarge": 2}
    config = {"queues": [QUEUE, "bare"], "max_jobs_per_instance_type": limits}
    with world(51, NoFaults(), max_jobs=8, config=config, **HOURS) as made:
        bare = {key: value for key, value in queue_config().items() if key != "ResourceConfig"}
        made.server.create_queue("bare", config=bare)
        gpu = [push(made, QUEUE, ResourceConfig=GPU), push(made, "bare", resource_config=GPU)]
        gpu.append(push(made, QUEUE, ResourceConfig={**GPU, "InstanceType": "${run_name}"}))
        made.server.state.items[gpu[2].id].run_spec["name"] = "ml.p4d.24xlarge"
        items = [*gpu, *(push(made, QUEUE) for _ in range(4))]
        assert most_at_once(made, type_of, hours=6) == {"ml.p4d.24xlarge": 1, "ml.m4.xlarge": 2}
        assert {(made.outcome(item) or {}).get("verdict") for item in items} == {"finished"}
        said = [warning["message"] for item in items for warning in item.warnings]
        assert any("1 of 1 slots for ml.p4d.* in use. max_jobs_per_instance_type" in each for each in said)
        assert made.check().everything == []


def test_a_run_that_fails_or_is_stopped_leaves_its_instance_to_the_next() -> None:
    fails: dict[str, Any] = {"script": lambda _: Script(failure="AlgorithmError: exit code 1")}
    with world(52, NoFaults(), config={"max_jobs_per_instance_type": {"*": 1}}, **fails) as made:
        items = [push(made, QUEUE) for _ in range(3)]
        assert most_at_once(made, type_of, hours=2) == {"ml.m4.xlarge": 1}
        assert [(made.outcome(item) or {}).get("verdict") for item in items] == ["failed"] * 3


def test_a_run_that_cannot_have_its_instance_in_time_fails_with_the_reason() -> None:
    limits = {"max_jobs_per_instance_type": {"ml.m4.*": 1}}
    with world(53, NoFaults(), config=limits, capacity_wait_hours=0.5, **HOURS) as made:
        items = [push(made, QUEUE) for _ in range(2)]
        made.clock.run(4 * HOUR)
        assert sorted(made.outcome(item)["verdict"] for item in items) == ["finished", "not launched"]  # type: ignore[index]
        (failed,) = (item for item in items if item.error)
        assert "1 of 1 slots for ml.m4.* in use. max_jobs_per_instance_type" in (failed.error or {})["message"]


def test_a_queue_with_a_limit_of_its_own_leaves_the_other_slots_to_the_others() -> None:
    config = {"queues": [QUEUE, "gpu"], "max_jobs_per_queue": {"gpu": 2}}
    with world(54, NoFaults(), max_jobs=6, config=config, **HOURS) as made:
        made.server.create_queue("gpu", config=queue_config())
        items = [push(made, "gpu") for _ in range(7)] + [push(made, QUEUE) for _ in range(7)]
        assert most_at_once(made, queue_of, hours=8) == {"gpu": 2, QUEUE: 4}
        assert {(made.outcome(item) or {}).get("verdict") for item in items} == {"finished"}
        assert made.check().everything == []


def test_a_queue_whose_limit_is_zero_is_not_served() -> None:
    config = {"queues": [QUEUE, "gpu"], "max_jobs_per_queue": {"gpu": 0}}
    with world(55, NoFaults(), config=config) as made:
        made.server.create_queue("gpu", config=queue_config())
        kept, served = push(made, "gpu"), push(made, QUEUE)
        made.clock.run(2 * HOUR)
        assert (made.outcome(served) or {}).get("verdict") == "finished"
        assert kept.state == "PENDING"
        assert made.execution(kept) is None


def test_queues_take_turns_also_if_each_job_takes_as_many_minutes_as_there_are_queues() -> None:
    names = [QUEUE, "second", "third"]
    three_minutes: dict[str, Any] = {"script": lambda _: Script(training=100)}
    with world(56, NoFaults(), max_jobs=1, config={"queues": names}, **three_minutes) as made:
        for name in names[1:]:
            made.server.create_queue(name, config=queue_config())
        for _ in range(20):
            for name in names:
                push(made, name)
        made.clock.run(2 * HOUR)
        served = Counter(queue_of(job.request) for job in made.training.jobs.values() if job.item)
        assert served.total() > 30
        assert min(served[name] for name in names) > served.total() / 6
