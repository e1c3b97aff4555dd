"""The whole builder, with real git and real files. Only W&B, AWS, docker and iptables are replaced."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from launch_agent.builder import __main__ as builder
from launch_agent.clients.build_bucket import BuildBucket
from launch_agent.clients.image_repository import PushedImage
from launch_agent.image.recipe import ArtifactCode, BuildPlan
from local.demo.git_server import GitServer
from tests.build.test_code import StoredArtifacts, as_patch, commit, git_job, lead_out, plan, served
from tests.build.test_code import machine as machine
from tests.build.test_code import repositories as repositories
from tests.build.test_code import server as server
from tests.build.test_code import source as source
from tests.make import image_note

DIGEST = f"sha256:{'d' * 64}"
GIT_TOKEN, API_KEY = "ghp_a-token-for-git", "a-key-for-wandb"
BUILD_ID = "launch:0f4a9d3e-7f6e-4d2b-9a53-1c9d0a5e7b11"

Build = Callable[..., int]


class Repository:
    """ECR's description of the pushed image."""

    media_type = "application/vnd.docker.distribution.manifest.v2+json"

    def __init__(self, address: str) -> None:
        self.address = address

    def by_tag(self, tag: str) -> PushedImage | None:
        return PushedImage(DIGEST, self.media_type)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The machine's docker and iptables, which record their calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("docker", "iptables"):
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $1 $2" >> {tmp_path}/asked\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return lambda: (tmp_path / "asked").read_text().splitlines() if (tmp_path / "asked").exists() else []


@pytest.fixture
def bucket() -> Iterator[BuildBucket]:
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="builds")
        secrets = boto3.client("secretsmanager")
        secrets.create_secret(Name="wandb", SecretString=API_KEY)
        secrets.create_secret(Name="git", SecretString=json.dumps({"git.example.com": {"token": GIT_TOKEN}}))
        yield BuildBucket("builds")


@pytest.fixture
def run(bucket: BuildBucket, programs: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> Build:
    """Order a build, and run the builder as the buildspec does; return its exit code."""

    def run(ordered: BuildPlan, files: Mapping[str, Mapping[str, str | bytes]]) -> int:
        monkeypatch.setattr(builder, "Artifacts", lambda graphql: StoredArtifacts(files))
        monkeypatch.setattr(builder, "ImageRepository", Repository)
        monkeypatch.setattr(builder, "public_registry_password", lambda: "a-password-for-all")
        environment = {
            "BUILD_BUCKET": "builds",
            "BUILD_PLAN_KEY": bucket.store_plan(ordered),
            "BUILDKIT_IMAGE": "mirror.gcr.io/moby/buildkit:buildx-stable-1",
            "CODEBUILD_BUILD_ID": BUILD_ID,
            "GIT_CREDENTIALS_SECRET": "git",
            "IMAGE_REPOSITORY": ordered.repository,
            "WANDB_API_KEY_SECRET": "wandb",
            "WANDB_BASE_URL": "http://127.0.0.1:9",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return builder.main()

    return run


def code_plan(**more: str | bool) -> BuildPlan:
    return plan(ArtifactCode(artifact_id="code", digest="c"), **more)  # type: ignore[arg-type]  # the keyword arguments of plan


def test_containers_are_kept_from_credentials_before_anything_of_the_code_runs(
    run: Build, programs: Callable[[], list[str]], bucket: BuildBucket
) -> None:
    files = {"job": {}, "code": {"train.py": "", "requirements.txt": "wandb\n", "Dockerfile.wandb": "FROM scratch\n"}}
    assert run(code_plan(), files) == 0
    assert programs() == [
        *["iptables --wait --insert"] * 3,
        *["docker login --username"] * 2,
        "docker buildx create",
        "docker buildx build",
    ]
    note = bucket.note(code_plan())
    assert note == image_note(
        digest=DIGEST,
        dockerfile="Dockerfile.wandb: it is next to the entry point train.py",
    )


@pytest.mark.parametrize("variant", ["repository", "patch"])
def test_a_link_in_the_place_of_docker_does_not_become_docker(
    variant: str,
    tmp_path: Path,
    source: Path,
    repositories: Path,
    server: GitServer,
    run: Build,
    programs: Callable[[], list[str]],
    bucket: BuildBucket,
) -> None:
    docker = tmp_path / "bin/docker"
    before = docker.read_text()
    job = {"requirements.frozen.txt": "wandb\n"}
    lead_out(source, tmp_path / "bin")
    if variant == "patch":
        job["diff.patch"] = as_patch(source)
    else:
        commit(source)
    ordered = plan(git_job(server, served(source, repositories)), notebook=True)
    assert run(ordered, {"job": job}) == 0
    assert docker.read_text() == before
    note = bucket.note(ordered)
    assert note
    assert note.warnings[0].startswith("These links of the code lead out of it and are not in the image: ")


@pytest.mark.parametrize(
    "error",
    [
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        RecursionError("maximum recursion depth exceeded"),
        OSError(28, "No space left on device"),
        ValueError(f"embedded null byte\nin https://user:{GIT_TOKEN}@git.example.com"),
        KeyError("digest"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_goes_wrong_is_one_line(
    error: Exception, run: Build, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(builder, "lay_out", fails)
    assert run(code_plan(), {"job": {}, "code": {"train.py": ""}}) == 1
    said = capsys.readouterr()
    assert said.err == ""
    *_, last = said.out.splitlines()
    assert last.startswith(f"launch-agent: error: {type(error).__name__}")
    assert len([line for line in said.out.splitlines() if line.startswith("launch-agent: error:")]) == 1
    assert GIT_TOKEN not in said.out


def test_a_missing_variable_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("BUILD_BUCKET", raising=False)
    assert builder.main() == 1
    assert capsys.readouterr().out.startswith("launch-agent: error: ValidationError: ")


@pytest.mark.parametrize(
    ("files", "more", "words"),
    [
        ({"train.ipynb": b"\xff\xfe"}, {"notebook": True}, "UnsupportedJobSource: the job's notebook cannot be read"),
        (
            {"train.ipynb": b" " * (65 << 20)},
            {"notebook": True},
            "train.ipynb of the job's code has more than 65536 KiB",
        ),
        ({"other.py": ""}, {"notebook": True}, "train.ipynb is not a file of the job's code"),
        (
            {"train.py": "", "Dockerfile.wandb": b"#" * (17 << 20)},
            {},
            "Dockerfile.wandb of the job's code has more than",
        ),
    ],
)
def test_files_that_are_not_what_they_should_be_fail_in_words(
    files: Mapping[str, str | bytes],
    more: Mapping[str, bool],
    words: str,
    run: Build,
    programs: Callable[[], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(code_plan(**more), {"job": {}, "code": files}) == 1
    (line,) = [each for each in capsys.readouterr().out.splitlines() if each.startswith("launch-agent: error:")]
    assert words in line
    assert not [each for each in programs() if "build" in each]


def test_bytes_that_are_no_text_are_no_reason_to_fail(run: Build, bucket: BuildBucket) -> None:
    files = {"job": {}, "code": {"train.py": b"\xff", "requirements.txt": b"wandb\n\xff\xfe", "a.toml": b"\x00"}}
    assert run(code_plan(), files) == 0
    assert bucket.note(code_plan())


def test_an_image_that_sagemaker_does_not_take_is_not_noted(
    run: Build, bucket: BuildBucket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Repository, "media_type", "application/vnd.oci.image.index.v1+json")
    assert run(code_plan(), {"job": {}, "code": {"train.py": ""}}) == 1
    assert "pushed as application/vnd.oci.image.index.v1+json. SageMaker supports" in capsys.readouterr().out
    assert bucket.note(code_plan()) is None


def test_a_token_in_a_list_of_packages_is_neither_in_the_log_nor_in_the_note(
    run: Build, bucket: BuildBucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "launch-agent: not installed: mylib @ git+https://oauth2:ghp_SECRETTOKEN@github.com/acme/mylib.git@1a2b3c"
    (tmp_path / "bin/docker").write_text(f"#!/bin/sh\n[ $2 = build ] && echo '#12 3.141 {line}'\nexit 0\n")
    assert run(code_plan(), {"job": {}, "code": {"train.py": "", "requirements.txt": "wandb"}}) == 0
    note = bucket.note(code_plan())
    assert note
    assert note.warnings[-1].endswith("could not be installed: mylib @ git+https://github.com/acme/mylib.git@1a2b3c.")
    assert "SECRETTOKEN" not in capsys.readouterr().out


PASSWORD = "s3cret-of-the-index"


def test_the_secrets_of_a_queue_reach_the_installation_and_neither_the_plan_nor_the_log_nor_the_note(
    run: Build, bucket: BuildBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arn = boto3.client("secretsmanager").create_secret(Name="pypi", SecretString=json.dumps({"p": PASSWORD}))["ARN"]
    monkeypatch.setenv("RUN_SECRET_ARNS", arn)
    # The last words of each --secret are its file. This docker shows what it was given, as a hostile setup.py would.
    (tmp_path / "bin/docker").write_text(
        f'#!/bin/bash\n[ $2 = build ] || exit 0\necho "$* $(env)" > {tmp_path}/given\n'
        f"for each; do [[ $each == id=* ]] && stat --format %a $(dirname ${{each#*src=}}) ${{each#*src=}} "
        f"&& cat ${{each#*src=}}; done | tee {tmp_path}/read\n"
        f"grep -rlF {PASSWORD} ${{!#}} > {tmp_path}/in-context\n[ $? = 1 ]\n"
    )
    secrets = {"PIP_INDEX_URL": "https://reader:${secret:pypi:p}@pypi.example.com/simple"}
    recipe = code_plan().recipe.model_copy(update={"secrets": tuple(secrets)})
    ordered = code_plan().model_copy(update={"secrets": secrets, "recipe": recipe})
    assert run(ordered, {"job": {}, "code": {"train.py": "", "requirements.txt": "wandb"}}) == 0
    assert (tmp_path / "read").read_text() == f"700\n600\nhttps://reader:{PASSWORD}@pypi.example.com/simple"
    assert (tmp_path / "in-context").read_text() == ""
    said = capsys.readouterr().out
    assert "RUN --mount=type=bind,source=install.py,target=/opt/install.py --mount=type=secret,id=PIP_INDEX_URL" in said
    stored = [each["Key"] for each in boto3.client("s3").list_objects_v2(Bucket="builds")["Contents"]]
    bodies = [boto3.client("s3").get_object(Bucket="builds", Key=key)["Body"].read().decode() for key in stored]
    assert len(bodies) == 2
    assert PASSWORD not in "".join([said, (tmp_path / "given").read_text(), *bodies])


def test_a_secret_that_the_stack_does_not_list_is_not_read(run: Build, capsys: pytest.CaptureFixture[str]) -> None:
    ordered = code_plan().model_copy(update={"secrets": {"A": "${secret:wandb}"}})
    assert run(ordered, {"job": {}, "code": {"train.py": ""}}) == 1
    assert "builder.secrets.A names a secret that RunSecretArns does not list." in capsys.readouterr().out


@pytest.mark.parametrize("proxy", ["", "http://proxy.example.com:3128"])
def test_the_proxy_of_the_stack_is_that_of_its_builds(
    proxy: str, run: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,.amazonaws.com")
    (tmp_path / "bin/docker").write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/given\n')
    assert run(code_plan(), {"job": {}, "code": {"train.py": "", "requirements.txt": "wandb"}}) == 0
    given = (tmp_path / "given").read_text()
    assert (f"--build-arg HTTPS_PROXY={proxy} --build-arg https_proxy={proxy}" in given) is bool(proxy)
    assert (f'"env.HTTPS_PROXY={proxy}"' in given) is bool(proxy)
