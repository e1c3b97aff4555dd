"""Imports a module in a new process, and prints what that took. It is run as a file, by the Python of the module."""

import importlib
import json
import resource
import sys
import time


def main() -> None:
    """Import the module that the command line names. The last line of the output is the result."""
    wall, processor = time.perf_counter(), time.process_time()
    importlib.import_module(sys.argv[1])
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kilobytes = used / 1024 if sys.platform == "darwin" else used
    print(json.dumps({"wall_s": wall, "processor_s": processor, "peak_mb": kilobytes / 1024}))


if __name__ == "__main__":
    main()
