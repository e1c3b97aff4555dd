"""`make release-set`: write what this version stores and sends into tests/upgrade/<version>, for all versions after it.

    launch_run.asl.json   the state machine, which executions keep as long as they run or can be redriven
    resources.json        the resources that executions, builds, training jobs and queues in W&B name, with their types
    plans.json            a launch plan of each kind, as it is stored
    <phase>.json          all that is outside, and what the functions were sent, when runs are in that phase

The keys and secrets in it are those of the simulated world, and of no use elsewhere.

python -m tests.upgrade.release [FOLDER]
"""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launch_agent import __version__
from tests.documents import ROOT, resources, template
from tests.golden.cases import plan
from tests.simulation.machine import Done
from tests.simulation.world import World, world
from tests.upgrade.phases import PHASES, Phase, reach
from tests.upgrade.snapshot import taken

FOLDER = Path(__file__).parent
_SEED = 1
_CASES = ("image-job", "code-job", "algorithm-of-sagemaker")
_FUNCTION, _MACHINE, _ROLE = "AWS::Serverless::Function", "AWS::Serverless::StateMachine", "AWS::IAM::Role"
_KINDS = (_MACHINE, "AWS::CodeBuild::Project", "AWS::DynamoDB::Table", "AWS::ECR::Repository", "AWS::S3::Bucket")


def main() -> None:
    """Write the set of this version."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else FOLDER / __version__
    release(folder)
    sizes = [path.stat().st_size for path in folder.iterdir()]
    print(f"{folder}: {len(sizes)} files, {sum(sizes) // 1000} kB")


def release(folder: Path) -> None:
    """Write the set of this version into a folder, in the place of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "statemachine/launch_run.asl.json", folder)
    for name, content in _contents():
        # A line for each key, so that two versions can be compared.
        lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
        (folder / f"{name}.json").write_text(f"{{\n{lines}\n}}\n")


def named_resources() -> dict[str, str]:
    """Return the types of the resources whose names are in what is stored, and in the queues of users."""
    found = {name: each["Type"] for name, each in template()["Resources"].items()}
    machine = resources(_MACHINE)["LaunchRun"]
    substituted = json.dumps(machine["DefinitionSubstitutions"])
    called = {name for name in found if found[name] == _FUNCTION and f'"{name}' in substituted}
    named = {*called, "BuildRole", "LaunchRunRole", "TrainingRole"}
    # SAM makes the role of a state machine that names none.
    made = {} if "Role" in machine else {"LaunchRunRole": _ROLE}
    return made | {name: kind for name, kind in found.items() if kind in _KINDS or name in named}


def _contents() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "resources", named_resources()
    yield "plans", {case: plan(case).model_dump(mode="json") for case in _CASES}
    for name, phase in PHASES.items():
        yield name.replace(" ", "-"), _snapshot_of(phase)


def _snapshot_of(phase: Phase) -> dict[str, Any]:
    """Let the simulated world reach a phase; return what there is then, and what the functions were sent."""
    with world(_SEED, phase.faults(), **phase.different()) as made:
        sent = _listened(made)
        reach(made, phase)
        return taken(made) | {"sent": list(sent.values())}


def _listened(made: World) -> dict[str, Any]:
    """Return what functions are sent from now on, the last with the same keys."""
    sent: dict[str, Any] = {}
    (stack,) = made.stacks.values()
    invoke = stack.functions.invoke

    def heard(name: str, event: Any, done: Done) -> None:
        if event:
            sent[f"{name} {sorted(event)}"] = {"function": name, "event": event}
        invoke(name, event, done)

    stack.functions.invoke = heard  # type: ignore[method-assign]  # this is the point
    return sent


if __name__ == "__main__":
    main()
