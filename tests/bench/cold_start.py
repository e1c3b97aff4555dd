"""Cold starts: the import of each function with its init, next to the import of the stock launch agent."""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from tests.bench.application import build_layers, environment_of, layers_in
from tests.bench.figure import Figure, Group
from tests.documents import ROOT
from tests.handlers import NAMES

_START = Path(__file__).with_name("start.py")
_LAMBDA, _TRAINING = (ROOT / ".venvs" / name / "bin/python" for name in ("lambda", "training"))
_STOCK = "wandb.sdk.launch.agent.agent"
_ROUNDS = 9
_ABOUT = (
    "Import and init of each function, next to `import wandb.sdk.launch.agent.agent`: processor seconds of a new "
    f"process with bytecode, and its peak memory. Medians of {_ROUNDS} rounds; in each of them, every function and the "
    "stock agent start once. The layer is the built one, and botocore comes from an environment that has only what "
    "Lambda's runtime has."
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
    return Group("Cold start", _ABOUT, tuple(_figures(middle)))


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
