"""The run queues of an entity, as W&B shows them."""

from collections.abc import Iterator

import pytest

from launch_agent.clients.graphql import GraphqlClient
from launch_agent.clients.queues import Queues
from launch_agent.run_queue.configured_queue import ConfiguredQueue
from local.wandb import WandbServer

KEY = "k" * 40


@pytest.fixture
def server() -> Iterator[tuple[WandbServer, Queues]]:
    server = WandbServer(entity="team", api_key=KEY)
    with server.running() as url:
        yield server, Queues(GraphqlClient(url, lambda: KEY), "team")


def test_the_queues_of_an_entity_are_read_with_their_configurations(server: tuple[WandbServer, Queues]) -> None:
    running, queues = server
    assert queues.all() == {}
    running.create_queue("one", config={"RoleArn": "role"})
    running.create_queue("two", resource="kubernetes", config={"image": "x"})
    assert queues.all() == {
        "one": ConfiguredQueue("one", "sagemaker", {"RoleArn": "role"}),
        "two": ConfiguredQueue("two", "kubernetes", {"image": "x"}),
    }


def test_a_queue_is_created_with_its_template_variables(server: tuple[WandbServer, Queues]) -> None:
    _, queues = server
    schema = {"type": "integer", "default": 1}
    queues.create("new", {"Count": "{{count}}"}, {"count": {"schema": schema}})
    assert queues.all() == {"new": ConfiguredQueue("new", "sagemaker", {"Count": "{{count}}"}, {"count": schema})}


def test_an_entity_is_there_or_not(server: tuple[WandbServer, Queues]) -> None:
    assert server[1].is_visible()
