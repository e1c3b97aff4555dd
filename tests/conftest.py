"""What every test gets: credentials that are none, and no network but this machine's own."""

import os

import pytest
from hypothesis import settings

settings.register_profile("suite", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=1_500, stateful_step_count=30)
settings.load_profile("suite")

# A logger takes its name, and with it its parent, when its module is imported, by whichever test that is.
os.environ["POWERTOOLS_SERVICE_NAME"] = "launch-agent"

# Tests type `make plan` and others as a user does. Below `make test` it would print which folder it enters.
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def fake_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test reach a real account."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


def pytest_runtest_setup() -> None:
    """Let tests talk to servers of their own on loopback, and to nothing else."""
    import pytest_socket

    pytest_socket.socket_allow_hosts(["127.0.0.1", "localhost", "::1"], allow_unix_socket=True)
