"""What earlier versions stored and sent: this version finishes their runs, in executions of their state machine."""

import base64
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from launch_agent import __version__, errors
from launch_agent.plan.launch_plan import LaunchPlan
from tests.documents import ROOT, template
from tests.simulation.builds import REPOSITORY
from tests.simulation.faults import NoFaults
from tests.simulation.machine import TaskFailed
from tests.simulation.world import DAY, MINUTE, World, world
from tests.upgrade.phases import PHASES
from tests.upgrade.release import FOLDER, named_resources, release
from tests.upgrade.snapshot import restored

EARLIER = sorted(path.parent.name for path in FOLDER.glob("*/plans.json") if path.parent.name != __version__)
VERSIONS = [*EARLIER, __version__]
OURS = ("functions", "layers", "local", "operate")
NAMES = {"BucketName", "FunctionName", "Name", "RepositoryName", "RoleName", "StateMachineName", "TableName"}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each version's set; this version's is written now."""
    own = tmp_path_factory.mktemp("upgrade") / __version__
    release(own)
    return {version: FOLDER / version for version in EARLIER} | {__version__: own}


def path_of(folder: Path, name: str) -> Path:
    return folder / f"{name.replace(' ', '-')}.json"


def read(folder: Path, name: str) -> Any:
    """Return what a set has under a name. An earlier version may know fewer phases."""
    path = path_of(folder, name)
    if not path.exists():
        pytest.skip(f"version {folder.name} had no phase {name}")
    return json.loads(path.read_text())


@contextmanager
def upgraded(folder: Path, name: str) -> Iterator[World]:
    """Make a world in which this version has replaced that of a set in a phase, and all runs have ended."""
    phase, snapshot = PHASES[name], read(folder, name)
    limits = {key: value for key, value in phase.different().items() if key == "max_jobs"}
    with world(1, NoFaults(), begins=snapshot["taken_at"], **limits) as made:
        items = restored(made, snapshot, read(folder, "launch_run.asl"))
        phase.then(made, items)
        assert made.run_until_idle(within=DAY), made.check().everything
        yield made
        assert made.check().everything == []
        assert made.verdicts() == phase.verdicts


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", PHASES)
def test_a_run_ends_well_whatever_version_began_it(sets: Mapping[str, Path], version: str, name: str) -> None:
    with upgraded(sets[version], name) as made:
        assert made.undelivered == 0
        images = [job.request["AlgorithmSpecification"]["TrainingImage"] for job in made.training.jobs.values()]
        assert [image for image in images if f"{REPOSITORY}:" in image] == []  # built images are known by digest


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", PHASES)
def test_what_any_version_sent_is_understood_and_changes_nothing_when_it_comes_late(
    sets: Mapping[str, Path], version: str, name: str
) -> None:
    with upgraded(sets[version], name) as made:
        (stack,) = made.stacks.values()
        jobs, not_understood = list(made.training.jobs), []

        def done(_: Any, failure: TaskFailed | None) -> None:
            if failure and not hasattr(errors, failure.error):
                not_understood.append(f"{failure.error}: {failure.cause}")

        for each in read(sets[version], name)["sent"]:
            stack.functions.invoke(each["function"], each["event"], done)
        made.clock.run(2 * MINUTE)
        assert not_understood == []
        assert list(made.training.jobs) == jobs


@pytest.mark.parametrize("version", VERSIONS)
def test_a_plan_of_any_version_is_read_as_it_was_meant(sets: Mapping[str, Path], version: str) -> None:
    for stored in read(sets[version], "plans").values():
        plan = LaunchPlan.model_validate(stored)
        assert plan.training_request == stored["training_request"]
        assert plan.build is None or plan.build.image == stored["image_uri"]


@pytest.mark.parametrize("version", EARLIER)
def test_an_upgrade_replaces_nothing_that_executions_builds_or_queues_name(version: str) -> None:
    """CloudFormation replaces what has another logical id, another type, or a name of its own."""
    then, now = read(FOLDER / version, "resources"), named_resources()
    assert {name: now.get(name) for name in then} == then
    resources = template()["Resources"]
    named = [name for name in then if name in resources and NAMES & resources[name].get("Properties", {}).keys()]
    assert named == []


def test_the_version_before_this_one_has_a_set() -> None:
    before, now = (parts(version) for version in (max(EARLIER, key=parts), __version__))
    raised = next(at for at, number in enumerate(now) if number != before[at])
    assert now == [*before[:raised], before[raised] + 1, *[0] * (len(now) - raised - 1)]


def parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


@pytest.mark.parametrize("version", EARLIER)
def test_a_set_has_the_shape_that_this_version_writes(sets: Mapping[str, Path], version: str) -> None:
    own = {path.name for path in sets[__version__].iterdir()}
    for path in sets[version].iterdir():
        assert path.name in own  # what nothing reads any more is deleted
        if path.stem not in ("launch_run.asl", "plans", "resources"):
            assert json.loads(path.read_text()).keys() == read(sets[__version__], path.stem).keys()


def test_what_reads_an_earlier_version_is_deleted_with_its_set() -> None:
    read = [path for folder in OURS for path in (ROOT / folder).rglob("*.py")]
    texts = [path.read_text() for path in (ROOT / "template.yaml", *read)]
    marked = {version for text in texts for version in re.findall(r"Delete with tests/upgrade/([\d.]+)\.", text)}
    assert marked
    assert marked <= set(EARLIER)


@pytest.mark.parametrize("version", EARLIER)
def test_a_set_is_small_and_says_nothing_of_the_machine_that_wrote_it(version: str) -> None:
    texts = [path.read_text() for path in (FOLDER / version).iterdir()]
    assert sum(map(len, texts)) < 150_000
    packed = {found for text in texts for found in re.findall(r'"B": "([^"]+)"', text)}
    assert packed
    texts += [gzip.decompress(base64.b64decode(each)).decode() for each in packed]
    assert re.findall(r"/(?:home|root|tmp|Users|var|work)/[^\"]+|AKIA\w+|Bearer \w+", "\n".join(texts)) == []
