"""A git server on loopback, over https with a self-signed certificate: the demo's replacement for GitHub.

It serves bare repositories with git's own `http-backend` (https://git-scm.com/docs/git-http-backend).
"""

import base64
import datetime
import ipaddress
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_AUTHOR = ("-c", "user.name=demo", "-c", "user.email=demo@localhost", "-c", "init.defaultBranch=main")
_DAYS = 30


class GitServer(NamedTuple):
    """A running server."""

    url: str
    certificate: Path
    """The certificate that clients must trust."""


def make_repository(files: dict[str, str], path: Path) -> str:
    """Create a bare repository with one commit of these files; return the commit."""
    work = path.with_suffix(".work")
    for name, text in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
    _git("init", "--quiet", str(work))
    _git("-C", str(work), "add", "--all")
    _git("-C", str(work), "commit", "--quiet", "--message", "Train a classifier")
    _git("clone", "--quiet", "--bare", str(work), str(path))
    return _git("-C", str(path), "rev-parse", "HEAD").strip()


def _git(*arguments: str) -> str:
    command = ["git", *_AUTHOR, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@contextmanager
def git_server(repositories: Path, certificates: Path, *, token: str | None = None) -> Iterator[GitServer]:
    """Serve the bare repositories in a folder until the block ends. With a `token`, it is the required password."""
    certificate = make_certificate(certificates)
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(repositories, token))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    http.socket = context.wrap_socket(http.socket, server_side=True)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield GitServer(f"https://127.0.0.1:{http.server_port}", certificate)
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def make_certificate(folder: Path) -> Path:
    """Create a self-signed certificate for 127.0.0.1, and its key in the same folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "git-server.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = path.with_suffix(".key")
    secret.touch(mode=0o600)
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def _handler(repositories: Path, token: str | None) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Passes each request to git, as a web server does to a CGI program."""

        def _answer(self) -> None:
            if token is not None and not self._knows(token):
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            finished = subprocess.run(
                ["git", "http-backend"], input=body, capture_output=True, env=self._variables(), check=True
            )
            head, _, content = finished.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer

        def _knows(self, secret: str) -> bool:
            _, _, sign_in = self.headers.get("Authorization", "").partition(" ")
            return base64.b64decode(sign_in).decode().partition(":")[2] == secret

        def _variables(self) -> dict[str, str]:
            path, _, query = self.path.partition("?")
            return {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(repositories),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            }

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            """Do not log."""

    return Handler
