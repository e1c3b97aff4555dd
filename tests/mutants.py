"""`make mutants`: breaks one line of the package at a time, at random, and counts the changes that no test notices.

Cosmic Ray makes the changes, in a copy of the checkout. It runs in an environment of its own; the tests run in the
development environment. First all of them run on the unchanged copy: they have to pass, and it is noted which
functions each test calls. With a change, the tests that could notice it run: those that call the changed function, the
quickest first, and those that start processes or read the code.
"""

import argparse
import ast
import difflib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cosmic_ray.ast import Visitor as AstVisitor
from cosmic_ray.ast import get_ast
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parents[1]
MUTATED = ("layers/launch_agent/launch_agent", "functions")
SUITES = ("unit", "golden", "contract", "clients", "build", "upgrade", "simulation")
"""None needs the embedded AWS."""
LEFT_OUT_TESTS = ("tests/unit/test_linear_time.py", "tests/simulation/test_attack.py")
"""What compares times, and the longest."""
UNTRACED = ("tests/clients/test_answers.py", "tests/unit/test_requirements.py", "tests/unit/test_plan_rules.py")
"""They take far too long while it is noted what they call."""
PATIENCE = 3
"""A changed copy may take so many times as long as the unchanged one, and a minute; then a change is noticed."""
FIRST = 300
"""How many of the tests that call a changed function run before all others: the quickest."""
LEFT_OUT = ("NoOp", "Variable", "BinaryOperator_BitOr")
"""Operators that change nothing, that need arguments, and that mostly change the types in annotations."""

Function = tuple[str, int]
"""A function's module, as a path in the checkout, and the line on which the function begins; 0 is the whole module."""

_NOT_NOTICED = (0, 5)
"""pytest's exit codes if all tests pass, and if there are none: a change of a table can rename all cases of a test."""


class Mutant(NamedTuple):
    """A change that can be made."""

    operator: str
    module: str
    occurrence: int
    """The number of the place in the module, of those that the operator can change."""
    line: int


class _Places(AstVisitor):  # type: ignore[misc]  # the library has no types
    """The lines of a module that an operator can change."""

    def __init__(self, operator: str) -> None:
        self.operator, self.lines = get_operator(operator)(), list[int]()

    def visit(self, node: object) -> object:
        """Add those of one node."""
        self.lines += [start[0] for start, _ in self.operator.mutation_positions(node)]
        return node


class Tests:
    """The tests, and which of them could notice a change of each function of the copy of the checkout."""

    def __init__(self, copy: Path) -> None:
        """Run all tests. If one fails, the program ends with what it says."""
        self._copy = copy
        with tempfile.TemporaryDirectory() as folder:
            noting = [*(f"--of={each}" for each in MUTATED), *(f"--untraced={each}" for each in UNTRACED)]
            begun = time.perf_counter()
            finished = self._run([f"--calls={folder}", *noting, *_all_tests()], seconds=None)
            self._seconds = time.perf_counter() - begun
            if finished.returncode:
                sys.exit(f"a test fails without any change:\n{finished.stdout.decode()}")
            tests = sorted(test for file in Path(folder).glob("*.json") for test in json.loads(file.read_text()))
        self._seconds_of = {test: seconds for seconds, test, *_ in tests}
        self._looking = [test for _, test, _, looks in tests if looks]
        """The tests that start a process, or read the code as text."""
        self._callers: dict[Function, list[str]] = {}
        for _, test, called, _ in tests:
            for function in {(module, line) for module, first in called for line in (0, first)}:
                self._callers.setdefault(function, []).append(test)

    def notice(self, function: Function) -> bool:
        """Say whether a test fails with a changed function, or does not end. The quickest tests run first.

        What is in no function, or in one that is called while its module is imported, every test may use.
        """
        callers = self._callers.get(function, [])
        concerns_all = function[1] == 0 or not callers
        try:
            return (
                self._some_fail(callers[:FIRST])
                or self._some_fail(self._looking)
                or self._some_fail(callers[FIRST:])
                or (concerns_all and self._run(_all_tests(), seconds=self._seconds).returncode != 0)
            )
        except subprocess.TimeoutExpired:
            return True

    def _some_fail(self, tests: Sequence[str]) -> bool:
        """Run some tests in this order, and say whether one fails."""
        if not tests:
            return False
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("\n".join(tests))
            file.flush()
            modules = sorted({test.partition("::")[0] for test in tests})
            seconds = sum(self._seconds_of[test] for test in tests)
            finished = self._run([f"--only={file.name}", *modules], seconds=seconds, processes=2 if seconds > 60 else 0)
        return finished.returncode not in _NOT_NOTICED

    def _run(
        self, tests: Sequence[str], *, seconds: float | None, processes: int = 2
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run tests that take `seconds` on the unchanged copy. Raises TimeoutExpired if they take much longer."""
        plugins = ["-p", "no:cacheprovider", "-p", "no:randomly", "-p", "tests.calls", f"--numprocesses={processes}"]
        command = [".venv/bin/pytest", "-q", "-x", *plugins, *tests]
        timeout = seconds and PATIENCE * seconds + 60
        return subprocess.run(command, cwd=self._copy, capture_output=True, timeout=timeout, check=False)


def _all_tests() -> list[str]:
    return [*(f"tests/{suite}" for suite in SUITES), *(f"--deselect={each}" for each in LEFT_OUT_TESTS)]


def mutants() -> Iterator[Mutant]:
    """Yield every change that can be made."""
    operators = [name for name in operator_names() if not any(part in name for part in LEFT_OUT)]
    for path in sorted(path for folder in MUTATED for path in (ROOT / folder).rglob("*.py")):
        tree, module = get_ast(path.read_text()), str(path.relative_to(ROOT))
        for operator in operators:
            places = _Places(operator)
            places.walk(tree)
            yield from (Mutant(operator, module, number, line) for number, line in enumerate(places.lines))


def function_at(source: str, line: int) -> int:
    """Return the line on which the innermost function around a line begins; 0 if the line is in no function.

    A function begins with its decorators, as its code object does.
    """
    defined = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    spans = [
        (min([node.lineno, *(each.lineno for each in node.decorator_list)]), node.end_lineno or 0) for node in defined
    ]
    return max((first for first, last in spans if first <= line <= last), default=0)


def survives(mutant: Mutant, copy: Path, tests: Tests) -> str:
    """Return the change, as a diff, if all tests pass with it; else nothing."""
    with use_mutation(copy / mutant.module, get_operator(mutant.operator)(), mutant.occurrence) as (before, after):
        if tests.notice((mutant.module, function_at(before, mutant.line))):
            return ""
    changed = difflib.unified_diff(before.splitlines(), after.splitlines(), mutant.module, mutant.operator, lineterm="")
    return "\n".join(changed)


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
        tests = Tests(copy)
        for mutant in random.Random(options.seed).sample(every, options.number):
            diff = survives(mutant, copy, tests)
            counts["survived" if diff else "killed"] += 1
            print(diff or f"killed: {mutant.module} {mutant.operator} {mutant.occurrence}", flush=True)
    print(f"mutants: of {len(every)}, killed {counts['killed']} survived {counts['survived']} seed {options.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
