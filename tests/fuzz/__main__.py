"""`make fuzz`: gives every parser random examples, and prints the numbers of each parser's results.

python -m tests.fuzz [--examples N] [--seed S] [WORDS ...]
"""

import argparse
import importlib
import pkgutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy

import tests.fuzz
from launch_agent.errors import LaunchError


class Parser(NamedTuple):
    """A parser, and the strategy for its examples."""

    name: str
    strategy: SearchStrategy[Any]
    parse: Callable[[Any], object]


class Fuzzed(NamedTuple):
    """The results of a parser's examples."""

    examples: int
    refused: int
    slowest_seconds: float
    foreign: str
    """The shortest example that raised an error other than a LaunchError, and the error; empty if none did."""


def parsers() -> Iterator[Parser]:
    """Yield every parser of the modules in this package."""
    for found in pkgutil.iter_modules(tests.fuzz.__path__):
        if not found.name.startswith(("_", "test_")):
            module = importlib.import_module(f"tests.fuzz.{found.name}")
            yield from (Parser(name, *drawn) for name, drawn in getattr(module, "PARSERS", {}).items())


def fuzz(parser: Parser, *, examples: int, seeded: int) -> Fuzzed:
    """Give a parser this many examples."""
    counts: Counter[str] = Counter()
    slowest = 0.0

    @seed(seeded)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(parser.strategy)
    def attempt(value: Any) -> None:
        nonlocal slowest
        counts["examples"] += 1
        begun = time.process_time()
        try:
            parser.parse(value)
        except LaunchError:
            counts["refused"] += 1
        finally:
            slowest = max(slowest, time.process_time() - begun)

    try:
        attempt()
    except Exception as error:  # noqa: BLE001 - any other error is what this command looks for
        foreign = "\n".join([f"{type(error).__name__}: {error}"[:500], *getattr(error, "__notes__", [])])
        return Fuzzed(counts["examples"], counts["refused"], slowest, foreign)
    return Fuzzed(counts["examples"], counts["refused"], slowest, "")


def main() -> int:
    """Fuzz all parsers, or those whose names contain one of the words."""
    options = argparse.ArgumentParser(prog="make fuzz")
    options.add_argument("--examples", type=int, default=1_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("words", nargs="*")
    given_options = options.parse_args()
    total, foreign = 0, 0
    for parser in parsers():
        if given_options.words and not any(word in parser.name for word in given_options.words):
            continue
        found = fuzz(parser, examples=given_options.examples, seeded=given_options.seed)
        total, foreign = total + found.examples, foreign + bool(found.foreign)
        print(
            f"{parser.name}: examples {found.examples}, refused {found.refused}, "
            f"slowest {found.slowest_seconds * 1000:.0f} ms, foreign {int(bool(found.foreign))}",
            flush=True,
        )
        if found.foreign:
            print("    " + found.foreign.replace("\n", "\n    "))
    print(f"fuzz: examples {total}, foreign exceptions {foreign}")
    return 1 if foreign or not total else 0


if __name__ == "__main__":
    sys.exit(main())
