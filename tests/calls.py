"""A pytest plugin of `make mutants`: writes which functions each test calls, or runs some tests in a given order.

pytest -p tests.calls --calls FOLDER --of MODULES: each process writes a file of its own, with the seconds that each
test takes, its name, and what it calls. MODULES is a folder of the checkout, and can be given more than once.

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

import pytest

ROOT = Path(__file__).parents[1]


class Calls:
    """The tests of one process: the seconds that each takes, its name, and what it calls."""

    def __init__(self, file: Path, folders: list[str]) -> None:
        self._file, self._folders = file, tuple(f"{ROOT / folder}/" for folder in folders)
        self._tests: list[tuple[float, str, list[tuple[str, int]]]] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Note the module and the first line of every function that is called while a test runs, in any thread."""
        called: set[tuple[str, int]] = set()

        def note(frame: FrameType, event: str, _: object) -> None:
            if frame.f_code.co_filename.startswith(self._folders):
                called.add((os.path.relpath(frame.f_code.co_filename, ROOT), frame.f_code.co_firstlineno))

        begun = time.perf_counter()
        threading.settrace(note)
        sys.settrace(note)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)
            self._tests.append((time.perf_counter() - begun, item.nodeid, sorted(called)))

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
    parser.addoption("--only", type=Path)


def pytest_configure(config: pytest.Config) -> None:
    """Watch the tests of this process."""
    if folder := config.getoption("--calls"):
        config.pluginmanager.register(Calls(folder / f"{os.getpid()}.json", config.getoption("--of")))
