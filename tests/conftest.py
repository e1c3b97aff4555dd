"""For every test: fake credentials, and no network except loopback."""

import os

import pytest
from hypothesis import settings

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


@pytest.fixture(autouse=True)
def fake_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevent tests from reaching a real account."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


def pytest_runtest_setup() -> None:
    """Allow connections only to loopback."""
    import pytest_socket

    pytest_socket.socket_allow_hosts(["127.0.0.1", "localhost", "::1"], allow_unix_socket=True)
