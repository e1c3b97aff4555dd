"""Cold starts: the import of each function with its init, next to the import of the stock launch agent."""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from tests.bench.application import build_layers, environment_of, layers_in
from tests.bench.figure import Figure, Group
from tests.bench.simulated import simulated
from tests.documents import ROOT
from tests.handlers import NAMES
from tests.simulation.training import Script
from tests.simulation.world import MINUTE

_START = Path(__file__).with_name("start.py")
_LAMBDA, _TRAINING = (ROOT / ".venvs" / name / "bin/python" for name in ("lambda", "training"))
_STOCK = "wandb.sdk.launch.agent.agent"
_ROUNDS, _WARM_RUNS = 9, 40
_ABOUT = (
    "Import and init of each function, next to `import wandb.sdk.launch.agent.agent`: processor seconds of a new "
    f"process with bytecode, and its peak memory. Medians of {_ROUNDS} rounds; in each of them, every function and the "
    "stock agent start once. The layer is the built one, and botocore comes from an environment that has only what "
    "Lambda's runtime has. Warm: the processor seconds of an invocation in the simulated world, on average, without "
    "signatures and TLS."
)


def figures() -> Group:
    """Measure the cold start of each function."""
    with tempfile.TemporaryDirectory() as folder:
        build_layers(Path(folder), for_this_machine=True)
        starts: dict[str, list[dict[str, float]]] = {name: [] for name in (*NAMES, _STOCK)}
        for round_ in range(_ROUNDS + 1):
            for name, results in starts.items():
                is_stock = name == _STOCK
                python = _TRAINING if is_stock else _LAMBDA
                environment = {} if is_stock else environment_of(name, layers_in(Path(folder)))
                result = _started(python, _STOCK if is_stock else "app", environment)
                if round_:  # the first one writes the bytecode of what Lambda's runtime and the stock agent bring
                    results.append(result)
    middle = {
        name: {key: median(each[key] for each in results) for key in results[0]} for name, results in starts.items()
    }
    return Group("Cold start", _ABOUT, (*_figures(middle), *_warm()))


def _warm() -> Iterator[Figure]:
    """Yield what a warm invocation of each function works, while runs are launched, end, and fail to launch."""
    with simulated(interval=60, script=Script(pending=30, training=120, uploading=30)) as (made, meter):
        for number in range(_WARM_RUNS):
            if number % 4:
                made.push()
            else:
                made.push(docker={"docker_image": "not/in-ecr"})
        made.sweep()
        made.clock.run(30 * MINUTE)
        made.delete_stack()
        made.clock.run(MINUTE)
        for name in NAMES:
            if meter.invocations[name]:
                seconds = meter.processor[name] / meter.invocations[name]
                yield Figure(f"warm_{name}_s", round(seconds, 4), "s")


def _figures(middle: Mapping[str, Mapping[str, float]]) -> list[Figure]:
    stock = {"s": round(middle[_STOCK]["processor_s"], 3), "mb": round(middle[_STOCK]["peak_mb"], 1)}
    seconds = {name: round(middle[name]["processor_s"], 3) for name in NAMES}
    memory = {name: round(middle[name]["peak_mb"], 1) for name in NAMES}
    return [
        Figure("coldstart_slowest_s", max(seconds.values()), "s", stock["s"]),
        *(Figure(f"coldstart_{name}_s", value, "s", stock["s"]) for name, value in seconds.items()),
        Figure("coldstart_largest_mb", max(memory.values()), "MB", stock["mb"]),
        *(Figure(f"coldstart_{name}_mb", value, "MB", stock["mb"]) for name, value in memory.items()),
    ]


def _started(python: Path, module: str, environment: Mapping[str, str]) -> dict[str, float]:
    """Import a module in a new process; return its seconds and memory."""
    command = [str(python), str(_START), module]
    finished = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return result
