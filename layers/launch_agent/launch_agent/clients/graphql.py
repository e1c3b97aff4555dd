"""GraphQL over HTTP for W&B: one POST with Basic authentication. The error tells the caller whether to try again."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple, TypeVar

import urllib3

from launch_agent.clients.answers import MAX_BYTES, Answer, read_answer
from launch_agent.clients.http import Http
from launch_agent.clients.parallel import CALLS_AT_ONCE
from launch_agent.errors import WandbKeyRejected, WandbRefused, WandbUnavailable

Taken = TypeVar("Taken")
_TIMEOUT = urllib3.Timeout(connect=5.0, read=20.0)
_RETRIES = urllib3.Retry(connect=1, read=0, status=0, other=0, redirect=0, raise_on_redirect=False)
_PATIENCE = 429
_RETRYABLE_STATUS = frozenset({408, _PATIENCE, 500, 502, 503, 504})


class Operation(NamedTuple):
    """A GraphQL document and its variables. `repeatable` is whether it may be sent twice."""

    document: str
    variables: Mapping[str, Any]
    repeatable: bool


class Request(NamedTuple):
    """One HTTP request. `at_most` is how many bytes of the response to read."""

    method: str
    url: str
    body: bytes | None = None
    headers: Mapping[str, str] = {}
    is_repeatable: bool = True
    at_most: int = MAX_BYTES


class Response(NamedTuple):
    """An HTTP response. If it is longer than `at_most`, `content` has one byte more than that."""

    status: int
    content: bytes


class GraphqlClient:
    """One W&B server and one API key."""

    def __init__(self, base_url: str, api_key: Callable[[], str]) -> None:
        """`api_key` returns the key. Nothing is sent yet."""
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._http = Http(timeout=_TIMEOUT, maxsize=CALLS_AT_ONCE)

    def execute(self, operation: Operation) -> Mapping[str, Any]:
        """Return the `data` of the answer. Raises WandbUnavailable, and WandbRefused if any part failed."""
        answer = self.execute_in_parts(operation)
        if answer.errors:
            raise WandbRefused(f"W&B refused: {'; '.join(answer.errors)}")
        if answer.unread:
            raise WandbRefused(f"W&B's answer cannot be read: {', '.join(answer.unread)} is too long or not JSON")
        return answer.data

    def execute_in_parts(self, operation: Operation) -> Answer:
        """Return the parts that succeeded and the errors of the others, for a document with independent operations.

        Raises WandbUnavailable, WandbKeyRejected, and WandbRefused if nothing succeeded.
        """
        body = json.dumps({"query": operation.document, "variables": operation.variables}).encode()
        token = base64.b64encode(f"api:{self._api_key()}".encode()).decode()
        headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        request = Request("POST", f"{self._base_url}/graphql", body, headers, operation.repeatable)
        status, content = self._send(request)
        if status == 401:
            raise WandbKeyRejected(f"W&B at {self._base_url} rejects the API key. Store a valid one in the secret.")
        answer = read_answer(content)
        if answer is None and status == 200:
            raise WandbUnavailable("W&B's answer is not JSON. A proxy may have answered instead.")
        # The HTTP status can be that of a part that W&B refuses, though other parts succeeded (wandb/wandb issue 8609).
        if answer and (answer.unread or any(answer.data.values()) or (answer.data and status == 200)):
            return answer
        why = "; ".join(answer.errors) if answer else ""
        raise WandbRefused(f"W&B refused with HTTP {status}: {why or 'no reason given'}")

    def upload(self, url: str, content: bytes, headers: Mapping[str, str]) -> None:
        """PUT a file to a pre-signed address. Raises WandbUnavailable and WandbRefused."""
        status, _ = self._send(Request("PUT", self._absolute(url), content, headers))
        if status >= 300:
            raise WandbRefused(f"W&B refused an upload with HTTP {status}")

    def download(self, url: str, *, at_most: int = MAX_BYTES) -> bytes:
        """GET a file from a pre-signed address. Raises WandbUnavailable, and WandbRefused also for a longer file."""
        status, content = self._send(Request("GET", self._absolute(url), at_most=at_most))
        if status >= 300:
            raise WandbRefused(f"W&B refused a download with HTTP {status}")
        if len(content) > at_most:
            raise WandbRefused(f"a file in W&B is longer than {at_most} bytes, the most that the launch agent reads")
        return content

    def chunks(self, url: str) -> Iterator[bytes]:
        """GET a file from a pre-signed address, one megabyte at a time. Raises WandbUnavailable and WandbRefused."""
        response = self._ask(Request("GET", self._absolute(url)), lambda response: response)
        try:
            with closing(response):
                if response.status >= 300:
                    raise WandbRefused(f"W&B refused a download with HTTP {response.status}")
                yield from response.stream(1 << 20)
        except urllib3.exceptions.HTTPError as error:
            raise WandbUnavailable(f"a download from W&B broke off: {type(error).__name__}") from None

    def _absolute(self, url: str) -> str:
        return f"{self._base_url}{url}" if url.startswith("/") else url

    def _send(self, request: Request) -> Response:
        """Send a request and read the response. Raises WandbUnavailable."""

        def read(response: urllib3.BaseHTTPResponse) -> Response:
            with closing(response):
                return Response(response.status, response.read(request.at_most + 1))

        return self._ask(request, read)

    def _ask(self, request: Request, take: Callable[[urllib3.BaseHTTPResponse], Taken]) -> Taken:
        """Send a request, once more without a pause if that is safe, and return `take` of the response.

        Raises WandbUnavailable. The state machine does the retries with pauses.
        """
        why = ""
        for _ in range(2 if request.is_repeatable else 1):
            try:
                response = self._open(request)
                if response.status not in _RETRYABLE_STATUS:
                    return take(response)
            except urllib3.exceptions.HTTPError as error:
                why = f"did not answer: {type(getattr(error, 'reason', None) or error).__name__}"
                continue
            response.close()
            why = f"answered HTTP {response.status}"
            if response.status == _PATIENCE:
                break
        raise WandbUnavailable(f"W&B at {self._base_url} {why}")

    def _open(self, request: Request) -> urllib3.BaseHTTPResponse:
        method, url, body, headers = request[:4]
        return self._http.request(method, url, body=body, headers=headers, retries=_RETRIES, preload_content=False)
