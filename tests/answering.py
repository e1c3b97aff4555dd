"""An HTTP server that sends a test's list of answers, and records the requests."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """One recorded request."""

    method: str
    path: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Answer(NamedTuple):
    """One answer. A status of 0 closes the connection without an answer."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = {}


class AnsweringServer:
    """Answers requests in the listed order, and repeats the last answer."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[Asked] = []
        self.url = ""

    def next_answer(self) -> Answer:
        """Return the next answer; keep the last one in the list."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def answering(*answers: Answer) -> Iterator[AnsweringServer]:
    """Serve the answers on a free loopback port until the block ends."""
    server = AnsweringServer(*answers)

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            target = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
            server.asked.append(Asked(self.command, self.path, target, dict(self.headers), sent))
            answer = server.next_answer()
            if not answer.status:
                self.close_connection = True
                return
            body = b"" if self.command == "HEAD" else answer.body
            content = body if isinstance(body, bytes) else json.dumps(answer.body or {}).encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(content)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            """Do not log."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def aws_error(code: str, message: str = "no", status: int = 400) -> Answer:
    """Return an error in AWS's JSON protocol."""
    return Answer(status, {"__type": code, "message": message})
