"""Runs inside a function's environment: AWS's own runtime client, with two pipes instead of HTTP.

Started as `python bootstrap.py HANDLER READ_FD WRITE_FD [COPY_FD]` by an interpreter with only the Lambda runtime's
packages. Each message is its length in four bytes, then JSON. With COPY_FD, a socket, it is a template: after it has
imported the handler, it copies itself for each request there, and the copies run the handler. This file imports
nothing from the project, because a function's environment does not contain it. Without AWS's runtime client, as on
macOS, plain_runtime.py is used instead.
"""

import json
import os
import signal
import socket
import struct
import sys
import tempfile
from typing import Any

try:
    from awslambdaric import bootstrap
    from awslambdaric.lambda_runtime_client import BaseLambdaRuntimeClient, InvocationRequest
except ImportError:
    import plain_runtime  # type: ignore[import-not-found]  # in the same folder

    bootstrap = None

HANDLER, READ, WRITE = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
requests = socket.socket(fileno=int(sys.argv[4])) if sys.argv[4:] else None


def receive() -> dict[str, Any]:
    """Return the next message; end the process if the pipe is closed."""
    message: dict[str, Any] = json.loads(_read(struct.unpack(">I", _read(4))[0]))
    return message


def _read(size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = os.read(READ, size - len(content))
        if not part:
            os._exit(0)
        content += part
    return content


def send(kind: str, body: str = "") -> None:
    """Send a message. A template's first "next" says that it is initialized; only its copies return from that."""
    _send(kind, body)
    if kind == "next" and requests:
        become_copy(requests)


def become_copy(template: socket.socket) -> None:
    """Copy this process for each request; return in the copies. Ends when the socket is closed."""
    global READ, WRITE, requests
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the copies' parents are not waited for
    while True:
        request, ends, _, _ = socket.recv_fds(template, 65536, 4)
        if not request:
            os._exit(0)
        if os.fork() == 0:
            break
        for end in ends:
            os.close(end)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for end in (READ, WRITE):
        os.close(end)
    template.close()
    requests, (READ, WRITE, output, status) = None, ends
    report_end(status, (READ, WRITE, output))
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    os.environ.update(json.loads(request))
    tempfile.tempdir = None  # it is found again, in the copy's own environment


def report_end(status: int, others: tuple[int, ...]) -> None:
    """Fork a child that continues, in its own process group; send its id and, when it has ended, how."""
    child = os.fork()
    if child == 0:
        os.setsid()
        os.write(status, struct.pack(">I", os.getpid()))
        os.close(status)
        return
    for end in others:
        os.close(end)
    ended = struct.pack(">I", os.waitpid(child, 0)[1])
    try:
        os.write(status, ended)
    finally:
        os._exit(0)  # if the embedded AWS has ended, that cannot be sent


def _send(kind: str, body: str = "") -> None:
    content = json.dumps({"kind": kind, "body": body}).encode()
    content = struct.pack(">I", len(content)) + content
    while content:
        content = content[os.write(WRITE, content) :]


def run_with_runtime_of_aws() -> None:
    """Let AWS's runtime client call the handler."""

    class PipeClient(BaseLambdaRuntimeClient):  # type: ignore[misc]  # it ships no types
        """The runtime client's calls to the Lambda service, sent over the pipes."""

        def wait_next_invocation(self) -> Any:
            """Report that the environment is idle, and wait for an invocation."""
            send("next")
            work = receive()
            return InvocationRequest(
                invoke_id=work["request_id"],
                x_amzn_trace_id=work.get("trace_id"),
                invoked_function_arn=work["function_arn"],
                deadline_time_in_ms=work["deadline_ms"],
                client_context=None,
                cognito_identity=None,
                tenant_id=None,
                content_type="application/json",
                event_body=work["event"].encode(),
                invocation_id=None,
            )

        def post_invocation_result(self, invoke_id: str, result_data: Any, *_: Any, **__: Any) -> None:
            """Send the handler's result, as JSON."""
            send("result", result_data if isinstance(result_data, str) else result_data.decode())

        def post_invocation_error(self, invoke_id: str, error_response_data: str, *_: Any, **__: Any) -> None:
            """Send the error that the handler raised, as JSON."""
            send("error", error_response_data)

        def post_init_error(self, error_response_data: Any, *_: Any, **__: Any) -> None:
            """Send the error that importing the handler raised."""
            send("init error", json.dumps(error_response_data))

    bootstrap.run(HANDLER, PipeClient("pipes"))


# As in Lambda, the packages of the function and its layers come before those of the runtime.
own = os.environ["PYTHONPATH"].split(os.pathsep)
sys.path[:] = [*own, *(folder for folder in sys.path[1:] if folder not in own)]
if bootstrap:
    run_with_runtime_of_aws()
else:
    plain_runtime.run(HANDLER, receive, send)
