"""GraphQL over HTTP, as W&B speaks it: one POST, Basic authentication, answers told apart by what to do about them."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import urllib3

from launch_agent.errors import WandbKeyRejected, WandbRefused, WandbUnavailable

_TIMEOUT = urllib3.Timeout(connect=5.0, read=20.0)
_RETRYABLE_STATUS = frozenset({408, 429, 500, 502, 503, 504})


class Operation(NamedTuple):
    """A GraphQL document, with its variables, and whether sending it twice does what sending it once does."""

    document: str
    variables: Mapping[str, Any]
    repeatable: bool


class Answer(NamedTuple):
    """The data of an answer, and the messages of what went wrong with a part of it."""

    data: Mapping[str, Any]
    errors: tuple[str, ...]


class GraphqlClient:
    """One W&B server, spoken to with one API key."""

    def __init__(self, base_url: str, api_key: Callable[[], str]) -> None:
        """Take the server's base URL, and where to get the key. Nothing is sent yet."""
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._pool = urllib3.PoolManager(timeout=_TIMEOUT, maxsize=4)

    def execute(self, operation: Operation) -> Mapping[str, Any]:
        """Return the `data` of the answer. Raises WandbUnavailable, or WandbRefused when any part of it failed."""
        answer = self.execute_in_parts(operation)
        if answer.errors:
            raise WandbRefused(f"W&B refused: {'; '.join(answer.errors)}")
        return answer.data

    def execute_in_parts(self, operation: Operation) -> Answer:
        """Return what succeeded beside what did not, for documents of several independent operations.

        Raises WandbUnavailable, and WandbRefused when nothing succeeded.
        """
        body = json.dumps({"query": operation.document, "variables": operation.variables}).encode()
        token = base64.b64encode(f"api:{self._api_key()}".encode()).decode()
        headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        response = self._send("POST", f"{self._base_url}/graphql", operation.repeatable, body, headers)
        if response.status == 401:
            raise WandbKeyRejected(
                f"W&B at {self._base_url} does not take the API key. Store a valid one in the secret."
            )
        errors = tuple(_messages(response))
        if response.status == 200:
            data = _json(response).get("data")
            if isinstance(data, Mapping):
                return Answer(data, errors)
        raise WandbRefused(f"W&B refused with HTTP {response.status}: {'; '.join(errors) or 'no reason given'}")

    def upload(self, url: str, content: bytes, headers: Mapping[str, str]) -> None:
        """PUT a file to a pre-signed address of W&B's. Raises WandbUnavailable or WandbRefused."""
        response = self._send("PUT", self._absolute(url), True, content, headers)
        if response.status >= 300:
            raise WandbRefused(f"W&B refused an upload with HTTP {response.status}")

    def download(self, url: str) -> bytes:
        """GET a file from a pre-signed address of W&B's. Raises WandbUnavailable or WandbRefused."""
        response = self._send("GET", self._absolute(url), True, None, {})
        if response.status >= 300:
            raise WandbRefused(f"W&B refused a download with HTTP {response.status}")
        return response.data

    def chunks(self, url: str) -> Iterator[bytes]:
        """GET a file from a pre-signed address of W&B's, a megabyte at a time. Raises as `download` does."""
        response = self._send("GET", self._absolute(url), True, None, {}, whole=False)
        if response.status >= 300:
            raise WandbRefused(f"W&B refused a download with HTTP {response.status}")
        try:
            yield from response.stream(1 << 20)
        except urllib3.exceptions.HTTPError as error:
            raise WandbUnavailable(f"a download from W&B broke off: {type(error).__name__}") from None
        finally:
            response.release_conn()

    def _absolute(self, url: str) -> str:
        return f"{self._base_url}{url}" if url.startswith("/") else url

    def _send(
        self,
        method: str,
        url: str,
        repeatable: bool,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        whole: bool = True,
    ) -> urllib3.BaseHTTPResponse:
        """Send once, or once more at once where that is safe; longer waits belong to the state machine."""
        again = 1 if repeatable else 0
        retries = urllib3.Retry(
            connect=1,
            read=again,
            status=again,
            other=0,
            redirect=0,
            backoff_factor=0,
            respect_retry_after_header=False,
            allowed_methods=None,
            status_forcelist=_RETRYABLE_STATUS - {429},  # who asks for patience gets it
            raise_on_status=False,
            raise_on_redirect=False,
        )
        try:
            response = self._pool.request(
                method, url, body=body, headers=headers, retries=retries, preload_content=whole
            )
        except urllib3.exceptions.HTTPError as error:
            why = type(getattr(error, "reason", None) or error).__name__
            raise WandbUnavailable(f"W&B at {self._base_url} did not answer: {why}") from None
        if response.status in _RETRYABLE_STATUS:
            raise WandbUnavailable(f"W&B at {self._base_url} answered HTTP {response.status}")
        return response


def _json(response: urllib3.BaseHTTPResponse) -> Mapping[str, Any]:
    try:
        body = json.loads(response.data)
    except ValueError:
        body = None
    if not isinstance(body, Mapping):
        raise WandbUnavailable("W&B answered with something other than JSON; a proxy may have answered for it")
    return body


def _messages(response: urllib3.BaseHTTPResponse) -> list[str]:
    if response.status != 200 and not response.data.lstrip().startswith(b"{"):
        return []
    errors = _json(response).get("errors") or []
    return [str(error.get("message", error)) if isinstance(error, Mapping) else str(error) for error in errors]
