"""GraphQL over HTTP: which requests are retried, the error for each refusal, and no error contains the key."""

import pytest

from launch_agent.clients.answers import MAX_BYTES
from launch_agent.clients.graphql import GraphqlClient, Operation
from launch_agent.errors import WandbKeyRejected, WandbRefused, WandbUnavailable
from tests.answering import Answer, answering

QUERY = Operation("query Q { viewer { entity } }", {"a": 1}, repeatable=True)
POP = Operation("mutation P { popFromRunQueue }", {}, repeatable=False)
OK = Answer(200, {"data": {"viewer": {"entity": "team"}}})


def client(url: str) -> GraphqlClient:
    return GraphqlClient(url, lambda: "secret-key")


def test_an_operation_is_posted_with_basic_authentication() -> None:
    with answering(OK) as server:
        assert client(server.url + "/").execute(QUERY) == {"viewer": {"entity": "team"}}
    assert server.asked[0].path == "/graphql"
    assert server.asked[0].json == {"query": QUERY.document, "variables": {"a": 1}}
    assert server.asked[0].headers["Authorization"] == "Basic YXBpOnNlY3JldC1rZXk="


@pytest.mark.parametrize("trouble", [Answer(500), Answer(502), Answer(0)])
def test_a_repeatable_operation_is_sent_once_more(trouble: Answer) -> None:
    with answering(trouble, OK) as server:
        assert client(server.url).execute(QUERY)
    assert len(server.asked) == 2


def test_a_tls_error_is_an_outage_and_says_so() -> None:
    with answering(OK) as server, pytest.raises(WandbUnavailable, match="did not answer: SSLError"):
        client(server.url.replace("http:", "https:")).execute(QUERY)


def test_who_asks_for_patience_is_not_asked_again_at_once() -> None:
    with answering(Answer(429), OK) as server, pytest.raises(WandbUnavailable, match="429"):
        client(server.url).execute(QUERY)
    assert len(server.asked) == 1


@pytest.mark.parametrize("trouble", [Answer(500), Answer(503), Answer(429), Answer(0)])
def test_an_operation_that_is_not_repeatable_is_sent_once(trouble: Answer) -> None:
    with answering(trouble) as server, pytest.raises(WandbUnavailable):
        client(server.url).execute(POP)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (Answer(500), WandbUnavailable, "HTTP 500"),
        (Answer(429), WandbUnavailable, "HTTP 429"),
        (Answer(0), WandbUnavailable, "did not answer"),
        (Answer(200, b"<html>proxy</html>"), WandbUnavailable, "is not JSON"),
        (Answer(200, b"[]"), WandbUnavailable, "is not JSON"),
        (Answer(401, {"errors": [{"message": "no"}]}), WandbKeyRejected, "Store a valid one"),
        (Answer(403, {"errors": [{"message": "not a member"}]}), WandbRefused, "HTTP 403: not a member"),
        (Answer(404, b"not here"), WandbRefused, "HTTP 404: no reason given"),
        (Answer(200, {"errors": [{"message": 'Cannot query field "x"'}]}), WandbRefused, 'Cannot query field "x"'),
        (Answer(200, {"data": {"a": 1}, "errors": ["odd"]}), WandbRefused, "odd"),
        (Answer(200, {"data": None}), WandbRefused, "no reason given"),
    ],
)
def test_each_refusal_becomes_the_error_that_says_what_to_do(
    answer: Answer, error: type[Exception], words: str
) -> None:
    with answering(answer) as server, pytest.raises(error, match=words) as raised:
        client(server.url).execute(QUERY)
    assert "secret-key" not in f"{raised.value} {raised.value.__cause__}"


def test_successful_parts_are_returned_with_the_errors_of_the_others() -> None:
    with answering(Answer(200, {"data": {"pop0": {}, "pop1": None}, "errors": [{"message": "no queue"}]})) as server:
        answer = client(server.url).execute_in_parts(POP)
    assert answer.errors == ("no queue",)
    assert set(answer.data) == {"pop0", "pop1"}


def test_files_go_to_signed_addresses_without_the_key() -> None:
    with answering(Answer(200, b"content")) as server:
        client(server.url).upload("/storage/x?sig=1", b"text", {"X-Header": "1"})
        assert client(server.url).download(f"{server.url}/storage/y") == b"content"
    assert [asked.method for asked in server.asked] == ["PUT", "GET"]
    assert server.asked[0].headers["X-Header"] == "1"
    assert not [asked for asked in server.asked if "Authorization" in asked.headers]


def test_a_refused_file_is_said_so() -> None:
    with answering(Answer(403)) as server:
        with pytest.raises(WandbRefused, match="upload"):
            client(server.url).upload("/x", b"", {})
        with pytest.raises(WandbRefused, match="download"):
            client(server.url).download("/x")


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with answering(OK) as server:
        gone = server.url
    with pytest.raises(WandbUnavailable, match="did not answer"):
        client(gone).execute(POP)


def test_a_part_that_is_refused_with_the_status_of_the_whole_leaves_the_others() -> None:
    """wandb/wandb issue 8609 shows such an answer from W&B."""
    refused = {"data": {"run0": None, "run1": {"run": {}}}, "errors": [{"message": "permission denied"}]}
    with answering(Answer(403, refused)) as server:
        answer = client(server.url).execute_in_parts(QUERY)
    assert (answer.data["run1"], answer.errors) == ({"run": {}}, ("permission denied",))
    with answering(Answer(403, {**refused, "data": {"run0": None}})) as server, pytest.raises(WandbRefused):
        client(server.url).execute_in_parts(QUERY)


def test_no_more_of_an_answer_is_read_than_is_of_use() -> None:
    long = b'{"data": {"a": "' + b"x" * MAX_BYTES + b'"}}'
    with answering(Answer(200, long), OK) as server:
        with pytest.raises(WandbRefused, match="cannot be read: a"):
            client(server.url).execute(QUERY)
        assert client(server.url).execute(QUERY)


def test_a_file_that_is_longer_than_expected_is_refused() -> None:
    with answering(Answer(200, b"12345")) as server:
        assert client(server.url).download("/x", at_most=5) == b"12345"
        with pytest.raises(WandbRefused, match="longer than 4 bytes"):
            client(server.url).download("/x", at_most=4)


def test_a_file_comes_in_pieces() -> None:
    with answering(Answer(200, b"x" * (1 << 21))) as server:
        assert sum(map(len, client(server.url).chunks("/x"))) == 1 << 21
    with answering(Answer(404)) as server, pytest.raises(WandbRefused, match="HTTP 404"):
        list(client(server.url).chunks("/x"))
    with answering(Answer(503)) as server, pytest.raises(WandbUnavailable, match="HTTP 503"):
        list(client(server.url).chunks("/x"))
    assert len(server.asked) == 2


def test_of_an_answer_no_more_is_read_than_is_allowed() -> None:
    long = {"data": {"first": {"a": 1}, "long": "x" * MAX_BYTES, "last": 5}}
    with answering(Answer(200, long)) as server:
        answer = client(server.url).execute_in_parts(QUERY)
    assert answer.is_cut
    assert answer.data == {"first": {"a": 1}}
