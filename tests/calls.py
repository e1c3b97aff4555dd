"""A pytest plugin of `make mutants`: writes which functions each test calls, or runs some tests in a given order.

pytest -p tests.calls --calls FOLDER --of MODULES [--untraced FILE]: each process writes a file of its own, with the
seconds that each test takes, its name, what it calls, and whether it could notice a change in another way: it starts
a process, reads a module as a file, or is one of the file's, whose calls are not noted. MODULES is a folder of the
checkout; it and FILE, a file of tests, can be given more than once.

pytest -p tests.calls --only FILE: runs the tests that the file names, one a line, in this order.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
_STARTS = ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.exec")


class Calls:
    """The tests of one process: the seconds that each takes, its name, and what it calls."""

    def __init__(self, file: Path, folders: list[str], untraced: list[str]) -> None:
        self._file, self._folders, self._untraced = file, tuple(f"{ROOT / each}/" for each in folders), tuple(untraced)
        self._tests: list[tuple[float, str, list[tuple[str, int]], bool]] = []
        self._looks = False
        sys.addaudithook(self._heard)

    def _heard(self, event: str, given: tuple[Any, ...]) -> None:
        """Note that the test starts a process, or opens a module: an import opens its bytecode."""
        if event in _STARTS or (event == "open" and str(given[0]).startswith(self._folders) and given[0][-3:] == ".py"):
            self._looks = True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Note the module and the first line of every function that is called while a test runs, in any thread."""
        called: set[tuple[str, int]] = set()

        def note(frame: FrameType, event: str, _: object) -> None:
            if frame.f_code.co_filename.startswith(self._folders):
                called.add((os.path.relpath(frame.f_code.co_filename, ROOT), frame.f_code.co_firstlineno))

        begun, self._looks = time.perf_counter(), item.nodeid.startswith(self._untraced)
        if not self._looks:
            threading.settrace(note)
            sys.settrace(note)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)
            self._tests.append((time.perf_counter() - begun, item.nodeid, sorted(called), self._looks))

    def pytest_sessionfinish(self) -> None:
        """Write the tests."""
        if self._tests:
            self._file.write_text(json.dumps(self._tests))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that are to run."""
    if file := config.getoption("--only"):
        places = {name: place for place, name in enumerate(file.read_text().splitlines())}
        items[:] = sorted((item for item in items if item.nodeid in places), key=lambda item: places[item.nodeid])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    parser.addoption("--calls", type=Path)
    parser.addoption("--of", action="append", default=[])
    parser.addoption("--untraced", action="append", default=[])
    parser.addoption("--only", type=Path)


def pytest_configure(config: pytest.Config) -> None:
    """Watch the tests of this process."""
    if folder := config.getoption("--calls"):
        file, of, untraced = folder / f"{os.getpid()}.json", config.getoption("--of"), config.getoption("--untraced")
        config.pluginmanager.register(Calls(file, of, untraced))
