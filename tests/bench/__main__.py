"""`make bench`: prints each figure as a line of JSON, and writes the tables in docs/benchmarks.md.

python -m tests.bench [--only GROUP ...] [--write]
"""

import argparse
import sys

from tests.bench import cold_start, document, packages

GROUPS = {"cold-start": cold_start.figures, "packages": packages.figures}
"""What measures each group of figures."""


def main() -> None:
    """Measure the groups that are asked for, all of them by default."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS), help="the groups to measure")
    parser.add_argument("--write", action="store_true", help="write the tables of these groups in docs/benchmarks.md")
    arguments = parser.parse_args()
    for name in arguments.only:
        print(f"bench: {name}", file=sys.stderr)
        group = GROUPS[name]()
        for figure in group.figures:
            print(figure.line, flush=True)
        if arguments.write:
            document.write(name, group)


if __name__ == "__main__":
    main()
