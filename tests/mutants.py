"""`make mutants`: breaks one line of the package at a time, at random, and counts the changes that no test notices.

Cosmic Ray makes the changes, in a copy of the checkout. It runs in an environment of its own; the tests run in the
development environment.
"""

import argparse
import difflib
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cosmic_ray.ast import Visitor as AstVisitor
from cosmic_ray.ast import get_ast
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parents[1]
MUTATED = ("layers/launch_agent/launch_agent", "functions")
SUITES = (
    ("tests/unit", "tests/golden", "tests/contract", "tests/clients", "tests/build", "tests/upgrade"),
    ("tests/simulation", "--deselect", "tests/simulation/test_attack.py"),
)
"""None needs the embedded AWS. The second runs only if the first has noticed nothing."""
TIMEOUT_SECONDS = 600
LEFT_OUT = ("NoOp", "Variable", "BinaryOperator_BitOr")
"""Operators that change nothing, that need arguments, and that mostly change the types in annotations."""


class Mutant(NamedTuple):
    """The operator's name, the module's path in the checkout, and the number of the place that it changes there."""

    operator: str
    module: str
    occurrence: int


class _Places(AstVisitor):  # type: ignore[misc]  # the library has no types
    """Counts the places of a module that an operator can change."""

    def __init__(self, operator: str) -> None:
        self.operator, self.count = get_operator(operator)(), 0

    def visit(self, node: object) -> object:
        """Count those of one node."""
        self.count += sum(1 for _ in self.operator.mutation_positions(node))
        return node


def mutants() -> Iterator[Mutant]:
    """Yield every change that can be made."""
    operators = [name for name in operator_names() if not any(part in name for part in LEFT_OUT)]
    for path in sorted(path for folder in MUTATED for path in (ROOT / folder).rglob("*.py")):
        tree = get_ast(path.read_text())
        for operator in operators:
            places = _Places(operator)
            places.walk(tree)
            yield from (Mutant(operator, str(path.relative_to(ROOT)), number) for number in range(places.count))


def survives(mutant: Mutant, copy: Path) -> str:
    """Return the change, as a diff, if all tests pass with it; else nothing."""
    with use_mutation(copy / mutant.module, get_operator(mutant.operator)(), mutant.occurrence) as (before, after):
        if any(notices(suite, copy) for suite in SUITES):
            return ""
    changed = difflib.unified_diff(before.splitlines(), after.splitlines(), mutant.module, mutant.operator, lineterm="")
    return "\n".join(changed)


def notices(suite: tuple[str, ...], copy: Path) -> bool:
    """Say whether a test of a suite fails, or does not end."""
    command = [".venv/bin/pytest", "-q", "-x", "-n", "2", "-p", "no:cacheprovider", "-p", "no:randomly", *suite]
    try:
        finished = subprocess.run(command, cwd=copy, capture_output=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return True
    return finished.returncode != 0


def main() -> int:
    """Try so many changes; print those that survive, and the counts."""
    parser = argparse.ArgumentParser(prog="make mutants")
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    every, counts = list(mutants()), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        shutil.copytree(
            ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(".venv", ".venvs", ".aws-sam", ".local")
        )
        for environment in (".venv", ".venvs"):
            (copy / environment).symlink_to((ROOT / environment).resolve())
        for mutant in random.Random(options.seed).sample(every, options.number):
            diff = survives(mutant, copy)
            counts["survived" if diff else "killed"] += 1
            print(diff or f"killed: {mutant.module} {mutant.operator} {mutant.occurrence}", flush=True)
    print(f"mutants: of {len(every)}, killed {counts['killed']} survived {counts['survived']} seed {options.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
