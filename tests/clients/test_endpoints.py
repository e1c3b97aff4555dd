"""Which of AWS's services a connection from a function reaches."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from launch_agent.clients.endpoints import OF_BUILDS, OF_FUNCTIONS, Endpoints
from tests.answering import Answer, answering


@pytest.mark.parametrize("status", [200, 301, 403, 503])
def test_any_answer_shows_that_a_service_is_reached(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = {"Location": "http://127.0.0.1:9"}  # S3 answers with the address of a page about itself
    with answering(*[Answer(status, {}, elsewhere)] * 12) as server, ThreadPoolExecutor(2) as pool:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        assert Endpoints(pool, "123456789012").unreachable({**OF_FUNCTIONS, **OF_BUILDS}) == {}
        assert len(server.asked) == 12


def test_the_services_that_are_not_reached_are_all_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(*[Answer(200, {})] * 10) as server, ThreadPoolExecutor(4) as pool:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_SFN", "http://127.0.0.1:9")
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER", "http://127.0.0.1:9")
        found = Endpoints(pool, "123456789012").unreachable({**OF_FUNCTIONS, **OF_BUILDS})
    assert found == dict.fromkeys(["states", "sagemaker.api"], "NewConnectionError")
