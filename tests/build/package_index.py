"""A package index on loopback, with its own tiny packages (https://packaging.python.org/specifications/simple-repository-api)."""

import base64
import io
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

Packages = Mapping[str, Mapping[str, tuple[str, ...]]]
"""By name, versions and optional requirements of packages."""


class PackageIndex(NamedTuple):
    """A running index."""

    url: str
    asked: list[str]
    """The paths of all requests."""


@contextmanager
def package_index(
    packages: Packages, *, refusals: int = 0, status: int = 503, sign_in: str = ""
) -> Iterator[PackageIndex]:
    """Serve packages in `/simple` and in any other first folder until the block ends.

    The first `refusals` requests are refused with this status, and all without `sign_in`, which is `user:password`.
    """
    authorization = f"Basic {base64.b64encode(sign_in.encode()).decode()}" if sign_in else None
    asked: list[str] = []
    left = [refusals]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if authorization and self.headers["Authorization"] != authorization:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="packages"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if left[0]:
                left[0] -= 1
                self._answer(status, b"")
                return
            name = self.path.strip("/").rpartition("/")[2]
            if name.endswith(".whl"):
                package, version, *_ = name.split("-")
                self._answer(200, wheel(package, version, packages[package][version]))
            elif name in packages and (self.path.startswith("/simple/") or "+" in "".join(packages[name])):
                links = "".join(f'<a href="/files/{each}">{each}</a>' for each in wheels(packages, name, self.path))
                self._answer(200, f"<html><body>{links}</body></html>".encode())
            else:
                self._answer(404, b"")

        do_HEAD = do_GET

        def _answer(self, code: int, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "text/html" if body.startswith(b"<") else "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if self.command == "GET" else b"")

        def log_message(self, *_: object) -> None:
            """Do not log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield PackageIndex(f"http://127.0.0.1:{server.server_port}", asked)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def wheels(packages: Packages, name: str, path: str) -> Iterator[str]:
    """Yield the names of a package's wheels in a folder. Builds such as 2.1.0+cu121 are in their build's folder."""
    for version in packages[name]:
        _, _, build = version.partition("+")
        if f"/{build}/" in path if build else path.startswith("/simple/"):
            yield f"{name}-{version}-py3-none-any.whl"


def wheel(name: str, version: str, requirements: tuple[str, ...] = ()) -> bytes:
    """Pack a wheel with one module, which has the version as VERSION."""
    folder = f"{name}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {each}\n" for each in requirements)
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{folder}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{folder}/RECORD", "".join(f"{path},,\n" for path in files) + f"{folder}/RECORD,,\n")
    return packed.getvalue()
