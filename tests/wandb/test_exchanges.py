"""The local server gives the same answers that real clients were given."""

from collections import Counter
from collections.abc import Iterator

import pytest

from local.wandb import WandbServer
from tests.wandb.replay import ORDER, Mismatch, Replay


@pytest.fixture(scope="module")
def replayed() -> Iterator[tuple[Counter[str], list[Mismatch]]]:
    """Replay everything once, in the recorded order."""
    server = WandbServer(entity="stub-team", username="stub-user", api_key="k" * 40)
    with server.running() as base_url:
        replay = Replay(server, base_url)
        requests = Counter({name: replay.scenario(name) for name in ORDER})
        yield requests, replay.mismatches


@pytest.mark.parametrize("scenario", ORDER)
def test_a_recorded_client_is_answered_as_recorded(
    scenario: str, replayed: tuple[Counter[str], list[Mismatch]]
) -> None:
    requests, mismatches = replayed
    assert requests[scenario] > 0
    assert [each for each in mismatches if each.scenario == scenario] == []
