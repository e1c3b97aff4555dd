"""An application of its own for these tests, which builds real images."""

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Application, booted_application


@pytest.fixture(scope="package")
def deployed_application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """Boot and deploy once. Fails if this machine has no container tool."""
    with booted_application(tmp_path_factory.mktemp("cloud"), container_tool="auto") as application:
        tool = application.deployed.cloud.get("containers")["tool"]
        assert tool != "none", "These tests need a container tool: on Debian, apt install buildah"
        yield application
