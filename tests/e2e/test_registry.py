"""The registry of images: who may push, what it limits, and images that are built without a container tool."""

import base64
import re
import sys
from pathlib import Path

import pytest

from launch_agent.builder import docker
from local.aws.iam import Denied
from local.aws.pseudo import build_pseudo_image
from local.aws.registry_client import MIRROR, RegistryClient
from local.pins import digest_of
from local.stack import ROOT
from tests.e2e.conftest import Application

OFFLINE = {"Environment": {"WANDB_MODE": "offline"}}
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_where_registries_limit_pulls_the_image_is_built_all_the_same(
    app: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud, host = app.deployed.cloud, app.deployed.outputs["ImageRepository"].partition("/")[0]
    environment = {
        "HOME": str(tmp_path),
        "LOCAL_CONTAINER_TOOL": "none",
        "LOCAL_PYTHON": sys.executable,
        "LOCAL_REGISTRY": cloud.url.removeprefix("http://"),
        "LOCAL_ROOT": str(ROOT),
        "PATH": f"{ROOT / 'local/aws/bin'}:/usr/bin:/bin",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    waits: list[float] = []
    said: list[str] = []
    cloud.limit_pulls({"docker.io": 2, "public.ecr.aws": 2})
    assert docker.start_buildkit("moby/buildkit:buildx-stable-1", said.append, waits.append)
    assert "toomanyrequests: You have reached your unauthenticated pull rate limit" in said[0]
    assert waits == [5, 20]

    (data,) = cloud.client("ecr").get_authorization_token()["authorizationData"]
    docker.sign_in(host, base64.b64decode(data["authorizationToken"]).decode().partition(":")[2])
    (tmp_path / "code").mkdir()
    dockerfile = tmp_path / "code/Dockerfile"
    dockerfile.write_text(f"FROM public.ecr.aws/docker/library/python:{PYTHON}-slim-trixie\nENV A=1\n")
    image = f"{app.deployed.outputs['ImageRepository']}:limited"
    order = docker.Order(image, f"{image}-cache", "linux/amd64", dockerfile, tmp_path / "code", dockerfile.read_text())
    docker.build(order, said.append, with_buildkit=True, pause=waits.append)
    assert waits == [5, 20, 30, 90]
    assert "toomanyrequests: Rate exceeded" in said[-1] or any("Rate exceeded" in line for line in said)

    # Signed-in callers have no limit, and Docker's own builder is used if BuildKit's image is unavailable.
    cloud.limit_pulls({"docker.io": 9, "public.ecr.aws": 9})
    token = cloud.client("ecr-public").get_authorization_token()["authorizationData"]["authorizationToken"]
    docker.sign_in("public.ecr.aws", base64.b64decode(token).decode().partition(":")[2])
    assert not docker.start_buildkit("moby/buildkit:buildx-stable-1", said.append, waits.append)
    docker.build(order._replace(image=f"{image}-2"), said.append, with_buildkit=False, pause=waits.append)
    assert waits == [5, 20, 30, 90, 5, 20, 60]
    cloud.limit_pulls({"docker.io": 0, "public.ecr.aws": 0})


def test_a_registry_tells_which_image_a_tag_stands_for(app: Application) -> None:
    cloud, repository = app.deployed.cloud, app.deployed.outputs["ImageRepository"].partition("/")[2]
    ecr = cloud.client("ecr")
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    ecr.create_repository(repositoryName=f"{MIRROR}ghcr.io/demo/tool")
    digest = RegistryClient(cloud.url, f"Basic {token}").push(f"{MIRROR}ghcr.io/demo/tool", "1", [], {})
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    assert digest_of(f"{cloud.url.removeprefix('http://')}/{MIRROR}ghcr.io/demo/tool:1") == digest
    with pytest.raises(ValueError, match="requires a sign-in"):
        digest_of(f"{cloud.url.removeprefix('http://')}/{repository}:none")


def test_without_a_container_tool_a_pseudo_image_of_the_same_dockerfile_runs(
    app: Application, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.py").write_text(
        "import os\nprint('trained', os.environ['MODE'], os.path.basename(os.getcwd()))\n"
    )
    dockerfile = """
FROM scratch AS packages
RUN install everything
FROM scratch
COPY --from=packages /opt/venv /opt/venv
COPY . /code/
ENV MODE=simply
WORKDIR /code
RUN check
ENTRYPOINT ["python", "train.py"]
"""
    repository = app.deployed.outputs["ImageRepository"]
    ecr = app.deployed.cloud.client("ecr")
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    local = app.deployed.cloud.url.removeprefix("http://") + "/" + repository.partition("/")[2]
    assert build_pseudo_image(f"{local}:pseudo", f"Basic {token}", dockerfile, tmp_path) == 0
    assert "pseudo image: RUN skipped" in capsys.readouterr().out
    item = app.push(f"{repository}:pseudo", sagemaker=OFFLINE)
    assert app.outcome(item)["verdict"] == "finished"
    assert "trained simply code" in app.training_log(item)


def test_the_registry_takes_nothing_from_strangers_and_no_tag_twice(app: Application) -> None:
    repository = app.deployed.outputs["ImageRepository"].partition("/")[2]
    ecr = app.deployed.cloud.client("ecr")
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    owner, stranger = (RegistryClient(app.deployed.cloud.url, f"Basic {each}") for each in (token, "QVdTOm5vYm9keQ=="))
    with pytest.raises(Denied):
        stranger.image(repository, "once")
    owner.push(repository, "once", [], {"Env": ["A=1"]})
    with pytest.raises(Denied, match="already exists"):
        owner.push(repository, "once", [], {"Env": ["A=2"]})
    owner.push(repository, "cache-1", [], {"Env": ["A=1"]})
    owner.push(repository, "cache-1", [], {"Env": ["A=2"]})
