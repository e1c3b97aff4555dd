"""`make faults`: every possible fault at each call to the outside, and with events, once or permanently.

python -m tests.simulation [--everywhere] [--times N] [--one-in N]
"""

import argparse
import sys
import time
from collections import Counter

from tests.simulation.attack import Case, attacks, disturbances, outcomes, sites
from tests.simulation.refusals import refusals


def main() -> int:
    """Run all attacks, and print each with its outcome, and the counts."""
    parser = argparse.ArgumentParser(prog="make faults")
    parser.add_argument("--everywhere", action="store_true", help="in every scenario, at each of the first six calls")
    parser.add_argument("--times", type=int, default=1, help="how many calls fail in a row")
    parser.add_argument("--one-in", type=int, default=1, help="every Nth of them, spread over all calls and scenarios")
    options = parser.parse_args()
    begun, counts = time.perf_counter(), Counter[str]()
    everywhere: bool = options.everywhere
    chosen: list[Case] = [*attacks(everywhere=everywhere), *refusals(everywhere=everywhere), *disturbances()]
    for case, end in outcomes(chosen[:: options.one_in], times=options.times):
        counts[type(case).__name__.lower() + "s"] += 1
        counts["broke something"] += bool(end.wrong)
        print(f"{case} | {end.verdict}")
        for wrong in end.wrong:
            print(f"    {wrong[:500]}")
    places = len({site for seen in sites().values() for site in seen})
    listed = [f"{name} {counts[name]}" for name in ("attacks", "refusals", "disturbances", "broke something")]
    print(f"faults: places {places}, {', '.join(listed)}, in {time.perf_counter() - begun:.0f} s")
    return 1 if counts["broke something"] else 0


if __name__ == "__main__":
    sys.exit(main())
