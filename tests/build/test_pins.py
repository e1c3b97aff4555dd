"""The public base images of builds: they are pinned by digest if it is known, and updated from their registries."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from launch_agent.image import pins
from launch_agent.image.dockerfile import generate_dockerfile
from launch_agent.image.pins import FRONTEND, PINS, UV, pinned
from local.pins import digest_of, main
from tests.documents import template
from tests.make import image_recipe

DIGEST, OLD = f"sha256:{'d' * 64}", f"sha256:{'0' * 64}"


class _Registry(BaseHTTPRequestHandler):
    """A registry with one image. Like Docker Hub, it requires an anonymous token."""

    def do_HEAD(self) -> None:
        if self.headers.get("Authorization") != "Bearer anonymous":
            self.send_response(401)
            host = self.headers["Host"]
            challenge = f'Bearer realm="http://{host}/token",service="registry",scope="repository:library/x:pull"'
            self.send_header("WWW-Authenticate", challenge)
        elif self.path == "/v2/library/x/manifests/1" and "oci.image.index" in self.headers["Accept"]:
            self.send_response(200)
            self.send_header("Docker-Content-Digest", DIGEST)
        else:
            self.send_response(404)
        self.end_headers()

    def do_GET(self) -> None:
        asked = self.path == "/token?service=registry&scope=repository%3Alibrary%2Fx%3Apull"
        body = json.dumps({"token": "anonymous" if asked else "useless"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Do not log."""


@pytest.fixture
def registry() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Registry) as http:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"127.0.0.1:{http.server_port}"
        http.shutdown()


def test_a_registry_is_asked_with_its_anonymous_token(registry: str) -> None:
    assert digest_of(f"{registry}/library/x:1") == DIGEST


def test_renewing_keeps_what_a_registry_does_not_tell_and_says_so(
    registry: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pins.json"
    there, gone, away = f"{registry}/library/x:1", f"{registry}/library/x:2", "127.0.0.1:9/x:1"
    path.write_text(json.dumps({there: OLD, gone: OLD, away: None}))
    assert main(path) == 1
    assert json.loads(path.read_text()) == {there: DIGEST, gone: OLD, away: None}
    assert [line.partition(": ")[0] for line in capsys.readouterr().err.splitlines()] == [gone, away]
    path.write_text(json.dumps({there: None}))
    assert main(path) == 0


def test_an_image_is_named_by_tag_and_digest_where_the_digest_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = "public.ecr.aws/docker/library/python:3.12-trixie"
    monkeypatch.setattr(pins, "PINS", tmp_path / "pins.json")
    pins.PINS.write_text(json.dumps({python: DIGEST, UV: None}))
    pins.known_digests.cache_clear()
    try:
        assert pinned(python) == f"{python}@{DIGEST}"
        assert pinned(UV) == UV
        assert pinned("another:1") == "another:1"
        recipe = image_recipe(python_version="3.12")
        assert f"FROM {python}@{DIGEST}\n" in generate_dockerfile(recipe, None)
    finally:
        pins.known_digests.cache_clear()


def test_every_public_image_that_a_build_starts_from_is_in_the_file() -> None:
    known = json.loads(PINS.read_text())
    assert {FRONTEND, UV, template()["Parameters"]["BuildKitImage"]["Default"]} <= set(known)
    for version in ("3.8", "3.9", "3.12", "3.14"):
        recipe = image_recipe(python_version=version)
        stages = [
            line.split()[1] for line in generate_dockerfile(recipe, None).splitlines() if line.startswith("FROM ")
        ]
        assert stages
        assert {stage.partition("@")[0] for stage in stages} <= set(known), version
