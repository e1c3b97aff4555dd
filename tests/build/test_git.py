"""Git jobs are fetched: the commit, with what the job changed of it, over https and with credentials."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch_agent.builder.git import Credentials, apply, fetch, parse_credentials
from launch_agent.errors import ImageBuildFailed
from launch_agent.image.recipe import GitCode
from local.demo.git_server import GitServer, git_server, make_repository

FILES = {"train.py": "print('hello')\n", "src/more.py": "x = 1\n"}


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    folder = tmp_path / "repositories"
    folder.mkdir()
    return folder


@pytest.fixture
def commit(repositories: Path) -> str:
    return make_repository(FILES, repositories / "job.git")


@pytest.fixture
def server(repositories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitServer]:
    with git_server(repositories, tmp_path) as running:
        monkeypatch.setenv("GIT_SSL_CAINFO", str(running.certificate))
        yield running


def fetched(server: GitServer, commit: str | None, tmp_path: Path, credentials: Credentials | None = None) -> str:
    code = GitCode(remote=f"{server.url}/job.git", commit=commit)
    (tmp_path / "code").mkdir()
    return fetch(code, tmp_path / "code", credentials or {})


@pytest.mark.parametrize("asked", ["the commit", "main", None])
def test_a_commit_is_fetched_without_its_history(
    server: GitServer, commit: str, tmp_path: Path, asked: str | None
) -> None:
    assert fetched(server, commit if asked == "the commit" else asked, tmp_path) == commit
    assert (tmp_path / "code/src/more.py").read_text() == "x = 1\n"
    count = ["git", "-C", str(tmp_path / "code"), "rev-list", "--count", "HEAD"]
    assert subprocess.run(count, capture_output=True, text=True, check=True).stdout.strip() == "1"


def test_a_commit_that_is_not_there_is_gits_to_explain(server: GitServer, commit: str, tmp_path: Path) -> None:
    with pytest.raises(ImageBuildFailed, match=r"git failed: .*GitCredentialsSecretArn"):
        fetched(server, "ab" * 20, tmp_path)


def test_a_server_that_is_not_trusted_is_not_asked(
    server: GitServer, commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSL_CAINFO", "/dev/null")
    with pytest.raises(ImageBuildFailed, match="git failed"):
        fetched(server, commit, tmp_path)


def test_a_private_repository_is_fetched_with_its_hosts_token(
    repositories: Path, commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with git_server(repositories, tmp_path, token="pa:ss/word") as server:
        monkeypatch.setenv("GIT_SSL_CAINFO", str(server.certificate))
        host = server.url.removeprefix("https://")
        assert fetched(server, commit, tmp_path, parse_credentials({host: {"token": "pa:ss/word"}})) == commit
    config = (tmp_path / "code/.git/config").read_text()
    assert "pa:ss" not in config


def test_a_wrong_token_is_refused_and_not_repeated(
    repositories: Path, commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with git_server(repositories, tmp_path, token="right") as server:
        monkeypatch.setenv("GIT_SSL_CAINFO", str(server.certificate))
        host = server.url.removeprefix("https://")
        with pytest.raises(ImageBuildFailed) as raised:
            fetched(server, commit, tmp_path, parse_credentials({host: {"token": "wr0ng-secret"}}))
    assert "wr0ng-secret" not in str(raised.value)


@pytest.mark.parametrize("remote", ["file:///tmp/x", "ext::sh -c true", "http://127.0.0.1:1/x"])
def test_git_itself_is_held_to_https_and_ssh(remote: str, tmp_path: Path) -> None:
    with pytest.raises(ImageBuildFailed, match="not allowed"):
        fetch(GitCode(remote=remote, commit="main"), tmp_path, {})


def test_a_deploy_key_signs_in_over_ssh_to_the_known_host_only(
    repositories: Path, commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stands where ssh would: keeps what it was told, and serves the repository.
    ssh = tmp_path / "bin/ssh"
    ssh.parent.mkdir()
    ssh.write_text(
        f"#!/bin/sh\ncat $2 > {tmp_path}/told\n"
        f"key=$(sed -n 's/  IdentityFile //p' $2); stat -c %a $key >> {tmp_path}/told; cat $key >> {tmp_path}/told\n"
        f"exec git upload-pack {repositories}/job.git\n"
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    credentials = parse_credentials({"git.example.com": {"ssh_key": "the key", "known_hosts": "git.example.com AAAA"}})
    code = GitCode(remote="ssh://git@git.example.com/job.git", commit=commit)
    (tmp_path / "code").mkdir()
    assert fetch(code, tmp_path / "code", credentials) == commit
    told = (tmp_path / "told").read_text()
    assert "StrictHostKeyChecking yes" in told
    assert told.endswith("600\nthe key\n")
    assert not any(Path(line.split()[1]).exists() for line in told.splitlines() if "IdentityFile" in line)


def test_the_changes_of_a_job_are_applied(server: GitServer, commit: str, tmp_path: Path) -> None:
    fetched(server, commit, tmp_path)
    patch = tmp_path / "diff.patch"
    patch.write_text("--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-print('hello')\n+print('changed')\n")
    apply(patch, tmp_path / "code")
    assert (tmp_path / "code/train.py").read_text() == "print('changed')\n"


def test_changes_outside_of_the_code_are_not_applied(server: GitServer, commit: str, tmp_path: Path) -> None:
    fetched(server, commit, tmp_path)
    patch = tmp_path / "diff.patch"
    patch.write_text("--- /dev/null\n+++ b/../evil\n@@ -0,0 +1 @@\n+x\n")
    with pytest.raises(ImageBuildFailed, match="git failed"):
        apply(patch, tmp_path / "code")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("secret", [None, [], {"github.com": "t0ken"}, {"github.com": {"token": 5}}])
def test_a_faulty_secret_is_explained_without_its_values(secret: object) -> None:
    with pytest.raises(ImageBuildFailed, match="object by host name") as raised:
        parse_credentials(secret)
    assert "t0ken" not in str(raised.value)
