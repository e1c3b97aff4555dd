"""HTTP through a company's proxy, and to a server with a certificate of the company's own authority."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext

import pytest
import urllib3

from launch_agent.clients.graphql import GraphqlClient, Operation
from launch_agent.clients.http import Http
from launch_agent.errors import WandbUnavailable
from local.demo.git_server import make_certificate

QUERY = Operation("query Q { viewer { entity } }", {}, repeatable=False)


@contextmanager
def proxy() -> Iterator[tuple[str, list[str]]]:
    """A proxy that refuses every request; yield its address and the first lines of what it was asked."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(4096).decode().splitlines()[0])
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked


@contextmanager
def server(certificate: Path) -> Iterator[str]:
    """An HTTPS server with a certificate; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    http = HTTPServer(("127.0.0.1", 0), Handler)
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    http.socket = context.wrap_socket(http.socket, server_side=True)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def test_https_requests_go_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy() as (address, asked):
        monkeypatch.setenv("HTTPS_PROXY", address)
        monkeypatch.setenv("NO_PROXY", "")
        with pytest.raises(WandbUnavailable):
            GraphqlClient("https://wandb.invalid", lambda: "key").execute(QUERY)
    assert {line.rpartition(" ")[0] for line in asked} == {"CONNECT wandb.invalid:443"}


@pytest.mark.parametrize("no_proxy", [".invalid", "wandb.invalid"])
def test_a_host_in_no_proxy_is_reached_directly(monkeypatch: pytest.MonkeyPatch, no_proxy: str) -> None:
    with proxy() as (address, asked):
        monkeypatch.setenv("HTTPS_PROXY", address)
        monkeypatch.setenv("NO_PROXY", no_proxy)
        with pytest.raises(WandbUnavailable):
            GraphqlClient("https://wandb.invalid", lambda: "key").execute(QUERY)
    assert asked == []


def test_an_empty_proxy_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    # The functions have the variables, which are empty without the parameters.
    monkeypatch.setenv("HTTPS_PROXY", "")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(WandbUnavailable, match="NameResolutionError"):
        GraphqlClient("https://wandb.invalid", lambda: "key").execute(QUERY)


def test_a_server_is_trusted_by_the_authority_in_the_layer(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with server(certificate) as url:
        once = urllib3.Retry(0)
        assert Http(ca_file=certificate).request("GET", url, retries=once).status == 200
        with pytest.raises(urllib3.exceptions.HTTPError, match="CERTIFICATE_VERIFY_FAILED"):
            Http(ca_file=tmp_path / "none").request("GET", url, retries=once)
