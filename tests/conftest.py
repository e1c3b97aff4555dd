"""For every test: fake credentials, no network except loopback, and its group of tests that run in one process."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import JSONFileLoader, Loader
from hypothesis import settings
from moto.core.loaders import Loader as MotoLoader

from launch_agent.clients import aws

settings.register_profile("suite", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=1_500, stateful_step_count=30)
settings.load_profile("suite")

# A logger gets its name and its parent when its module is imported, which any test can do first.
os.environ["POWERTOOLS_SERVICE_NAME"] = "launch-agent"

# Tests run `make plan` and others like a user. Inside `make test`, make would also print the folder that it enters.
for name in ("ARGS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)

# As in the Makefile: a process without bytecode compiles all modules that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


_REST = "application"
GROUPS = {
    _REST: (),
    "verify": ("e2e/test_verify",),
    "second application": ("e2e/test_behaviours", "e2e/test_pipeline", "e2e/test_stops", "e2e/test_sweeps"),
    "deployments": ("e2e/test_deploying", "e2e/test_refused_deployments"),
    "attacks": ("simulation/test_attack",),
    "commands": ("e2e/test_commands",),
}
"""The modules that take longest, the longest first. _REST is all others that use the deployed application."""
_GROUP_OF = {module: group for group, modules in GROUPS.items() for module in modules}


class _ReadOnce(JSONFileLoader):
    """Reads each of AWS's service models once for all tests, which have new sessions."""

    _read = staticmethod(cache(JSONFileLoader().load_file))

    def load_file(self, file_path: str) -> Any:
        """Return the content of a file, or None."""
        return self._read(file_path)


Loader.FILE_LOADER_CLASS = _ReadOnce
# moto's loader writes its own additions into the models that it has read, and keeps them itself.
MotoLoader.FILE_LOADER_CLASS = JSONFileLoader


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests for the processes of `make test`: each group runs in one, and the longest begin first."""
    order, places = list(GROUPS), {}
    for item in items:
        module = item.path.relative_to(Path(__file__).parent).with_suffix("").as_posix()
        group = _GROUP_OF.get(module, _REST if module.startswith("e2e/") else module)
        item.add_marker(pytest.mark.xdist_group(group))
        places[item] = order.index(group) if group in GROUPS else len(order)
    items.sort(key=places.__getitem__)


@pytest.fixture(autouse=True)
def fake_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevent tests from reaching a real account. The functions' clients get a session for each test."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    aws.session.cache_clear()


def pytest_runtest_setup() -> None:
    """Allow connections only to loopback."""
    import pytest_socket

    pytest_socket.socket_allow_hosts(["127.0.0.1", "localhost", "::1"], allow_unix_socket=True)
