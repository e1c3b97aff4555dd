"""`make bench`: prints each figure as a line of JSON, and writes the tables in docs/benchmarks.md.

python -m tests.bench [--only GROUP ...] [--write] [--stock-items N]
"""

import argparse
import sys
from collections.abc import Callable

from tests.bench import bill, cold_start, document, drain, latency, packages, requests, ticks
from tests.bench.figure import Group

GROUPS: dict[str, Callable[[argparse.Namespace], Group]] = {
    "latency": lambda _: latency.figures(),
    "drain": lambda arguments: drain.figures(stock=arguments.stock_items),
    "requests": lambda _: requests.figures(),
    "ticks": lambda _: ticks.figures(),
    "costs": lambda _: bill.figures(),
    "cold-start": lambda _: cold_start.figures(),
    "packages": lambda _: packages.figures(),
}
"""What measures each group of figures."""


def main() -> None:
    """Measure the groups that are asked for, all of them by default."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS), help="the groups to measure")
    parser.add_argument("--write", action="store_true", help="write the tables of these groups in docs/benchmarks.md")
    parser.add_argument("--stock-items", type=int, default=100, help="the most runs that the stock agent drains")
    arguments = parser.parse_args()
    for name in arguments.only:
        print(f"bench: {name}", file=sys.stderr)
        group = GROUPS[name](arguments)
        for figure in group.figures:
            print(figure.line, flush=True)
        if arguments.write:
            document.write(name, group)


if __name__ == "__main__":
    main()
