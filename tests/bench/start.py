"""Imports a module in a new process, and prints what that took. It is run as a file, by the Python of the module."""

import importlib
import json
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    """Import the module that the command line names. The last line of the output is the result."""
    wall, processor = time.perf_counter(), time.process_time()
    importlib.import_module(sys.argv[1])
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(json.dumps({"wall_s": wall, "processor_s": processor, "peak_mb": _peak_kilobytes() / 1024}))


def _peak_kilobytes() -> float:
    """Return the peak memory of this process. On Linux, getrusage(2) counts that of the process that started it too."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return float(peak.split()[1])


if __name__ == "__main__":
    main()
