"""Git jobs are fetched: the commit and the job's changes to it, over https and with credentials."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from launch_agent.builder.git import Credentials, apply, fetch, fetch_history, parse_credentials
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


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose git settings run programs (filters, hooks, monitors); each call appends to this file."""
    home, program = tmp_path / "home", tmp_path / "home/git-lfs"
    home.mkdir()
    program.write_text(f"#!/bin/sh\necho $1 >> {tmp_path}/ran\nexit 1\n")
    program.chmod(0o755)
    (home / "hooks").mkdir()
    (home / "hooks/post-checkout").symlink_to(program)
    (home / ".gitconfig").write_text(
        f'[filter "lfs"]\n smudge = git-lfs smudge\n process = git-lfs filter-process\n required = true\n'
        f"[core]\n hooksPath = {home}/hooks\n fsmonitor = {program}\n[init]\n templateDir = {home}\n"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    return tmp_path / "ran"


def test_only_our_own_settings_count_and_nothing_else_is_run(
    repositories: Path, server: GitServer, tmp_path: Path, ran: Path
) -> None:
    files = {".gitattributes": "* filter=lfs diff=lfs merge=lfs -text\n", "model.bin": "a pointer\n"}
    commit = make_bare(files, repositories / "job.git")
    assert fetched(server, commit, tmp_path) == commit
    apply(b"--- a/model.bin\n+++ b/model.bin\n@@ -1 +1 @@\n-a pointer\n+another\n", tmp_path / "code")
    assert (tmp_path / "code/model.bin").read_text() == "another\n"
    assert not ran.exists()


def test_large_files_are_fetched_where_the_queue_asks_for_them(
    repositories: Path, server: GitServer, tmp_path: Path, ran: Path
) -> None:
    commit = make_bare({".gitattributes": "*.bin filter=lfs\n", "model.bin": "a pointer\n"}, repositories / "job.git")
    (tmp_path / "code").mkdir()
    code = GitCode(remote=f"{server.url}/job.git", commit=commit, large_files=True)
    with pytest.raises(ImageBuildFailed, match="git failed"):
        fetch(code, tmp_path / "code", {})
    assert ran.read_text() == "filter-process\n"


@pytest.mark.parametrize("url", ["file:///etc", "../../../../etc", "ext::sh -c true", "-u./payload"])
def test_a_submodule_is_held_to_https_and_ssh_too(
    url: str, repositories: Path, server: GitServer, tmp_path: Path
) -> None:
    (tmp_path / "inner").mkdir()
    inner = make_repository(FILES, tmp_path / "inner/inner.git")
    modules = f'[submodule "sub"]\n\tpath = sub\n\turl = {url}\n\tupdate = checkout\n'
    commit = make_bare({".gitmodules": modules}, repositories / "job.git", submodule=inner)
    (tmp_path / "code").mkdir()
    with pytest.raises(ImageBuildFailed, match="git failed"):
        fetch(GitCode(remote=f"{server.url}/job.git", commit=commit, submodules=True), tmp_path / "code", {})
    assert not list((tmp_path / "code/sub").glob("*"))


def make_bare(files: dict[str, str], path: Path, *, submodule: str | None = None) -> str:
    """Call `make_repository` without the machine's git settings, which would make it fail."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        commit = make_repository(files, path)
        if submodule is None:
            return commit
        work = path.with_suffix(".work")
        author = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
        index = ["update-index", "--add", "--cacheinfo", f"160000,{submodule},sub"]
        for command in (index, ["commit", "--quiet", "--message", "sub"], ["push", "--quiet", str(path), "HEAD:main"]):
            subprocess.run(["git", *author, "-C", str(work), *command], check=True, capture_output=True)
        return subprocess.run(
            ["git", "-C", str(work), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
        ).stdout.strip()


@pytest.mark.parametrize(
    "commit",
    ["--upload-pack=touch x", "-f", "main:refs/heads/x", "HEAD^{/x}", "a b", "a..b", "main@{1}", "a\nb", "[", "^x"],
)
def test_what_is_no_name_of_a_commit_is_not_handed_to_git(commit: str, tmp_path: Path) -> None:
    with pytest.raises(ImageBuildFailed, match="not a hash, branch or tag"):
        fetch(GitCode(remote="https://git.example.com/x.git", commit=commit), tmp_path, {})


def test_git_learns_nothing_of_the_build_role(
    server: GitServer, commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "bin/ssh"
    ssh.parent.mkdir()
    ssh.write_text(f"#!/bin/sh\nenv > {tmp_path}/environment\nexit 1\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/guid")
    with pytest.raises(ImageBuildFailed):
        fetch(GitCode(remote="ssh://git@git.example.com/job.git", commit=commit), tmp_path, {})
    assert "AWS_CONTAINER_CREDENTIALS" not in (tmp_path / "environment").read_text()


@pytest.mark.parametrize("remote", ["file:///tmp/x", "ext::sh -c true", "http://127.0.0.1:1/x"])
def test_git_itself_is_held_to_https_and_ssh(remote: str, tmp_path: Path) -> None:
    with pytest.raises(ImageBuildFailed, match="not allowed"):
        fetch(GitCode(remote=remote, commit="main"), tmp_path, {})


def test_a_deploy_key_signs_in_over_ssh_to_the_known_host_only(
    repositories: Path, commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Replaces ssh: records its arguments, and serves the repository.
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


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A working copy on a user's machine, with one commit."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.py").write_bytes(b"a\nb\n")
    (folder / "windows.py").write_bytes(b"a\r\nb\r\n")
    (folder / "run.sh").write_bytes(b"x\n")
    (folder / "img.png").write_bytes(b"\x89PNG\0\1")
    (folder / "sub").mkdir()
    (folder / "sub/\u00fc b.bin").write_bytes(b"\0\1")
    git(folder, "init", "--quiet")
    commit_all(folder)
    return folder


def git(folder: Path, *arguments: str) -> bytes:
    author = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
    return subprocess.run(["git", *author, "-C", str(folder), *arguments], check=True, capture_output=True).stdout


def commit_all(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "work")


def diff_of(folder: Path, *options: str) -> bytes:
    """Return the diff that wandb stores for the changes, and undo them."""
    git(folder, "add", "--all", "--intent-to-add")
    diff = git(folder, *options, "diff", "--submodule=diff", "HEAD")
    git(folder, "reset", "--quiet", "--hard")
    return diff


def test_the_changes_of_a_job_are_applied(work: Path) -> None:
    (work / "train.py").write_bytes(b"a\nB\n")
    (work / "windows.py").write_bytes(b"a\r\nB\r\n")
    (work / "run.sh").chmod(0o755)
    (work / "new folder").mkdir()
    (work / "new folder/new.py").write_text("new\n")
    diff = diff_of(work)
    assert apply(diff, work) == []
    assert (work / "train.py").read_bytes() == b"a\nB\n"
    assert (work / "windows.py").read_bytes() == b"a\r\nB\r\n"
    assert (work / "new folder/new.py").read_text() == "new\n"
    assert os.access(work / "run.sh", os.X_OK)


def test_of_files_whose_change_is_not_in_the_patch_the_rest_is_applied_and_they_are_named(work: Path) -> None:
    (work / "train.py").write_bytes(b"a\nB\n")
    (work / "img.png").write_bytes(b"\x89PNG\0\2")
    (work / "sub/\u00fc b.bin").unlink()
    (work / "new.bin").write_bytes(b"\0")
    diff = diff_of(work)
    assert apply(diff, work) == ["img.png", "new.bin", "sub/\\303\\274 b.bin"]
    assert (work / "train.py").read_bytes() == b"a\nB\n"
    assert (work / "img.png").read_bytes() == b"\x89PNG\0\1"


def test_a_changed_submodule_is_named(work: Path) -> None:
    other = work / "lib"
    other.mkdir()
    git(other, "init", "--quiet")
    (other / "x").write_text("1")
    commit_all(other)
    git(work, "-c", "advice.addEmbeddedRepo=false", "add", "lib")
    commit_all(work)
    (other / "x").write_text("2")
    commit_all(other)
    (work / "train.py").write_bytes(b"a\nB\n")
    diff = git(work, "diff", "HEAD")
    git(work, "checkout", "--quiet", "train.py")
    assert apply(diff, work) == ["lib"]
    assert (work / "train.py").read_bytes() == b"a\nB\n"


@pytest.mark.parametrize("patch", [b"", b"\n", b"warning: in the working copy, LF will be replaced by CRLF\n"])
def test_an_empty_patch_changes_nothing(patch: bytes, work: Path) -> None:
    assert apply(patch, work) == []
    assert git(work, "status", "--porcelain") == b""


def test_a_name_may_have_the_word_between_two_names(work: Path) -> None:
    section = b"diff --git a/x and y b/x and y\nBinary files a/x and y and %s differ\n"
    assert apply(section % b"/dev/null", work) == ["x and y"]
    assert apply(b"diff --git a/z b/z\nBinary files a/z and b/z differ\n", work) == ["z"]


@pytest.mark.parametrize("before", [b"Binary files ", b"diff --git ", b"diff --git a b\nBinary files a", b""])
@pytest.mark.parametrize("piece", [b" and ", b" differ", b" and x differ x", b"\r", b"Binary files ", b"\n"])
def test_a_patch_of_a_megabyte_is_read_in_time_in_proportion_to_its_length(
    before: bytes, piece: bytes, work: Path
) -> None:
    with suppress(ImageBuildFailed):
        apply(before + piece * (1_000_000 // len(piece)) + b"\n", work)


def test_only_binary_files_are_no_fault(work: Path) -> None:
    (work / "img.png").write_bytes(b"\x89PNG\0\2")
    diff = diff_of(work)
    assert apply(diff, work) == ["img.png"]


def test_contents_of_binary_files_are_applied_where_they_are_in_the_patch(work: Path) -> None:
    (work / "img.png").write_bytes(b"\x89PNG\0\2")
    diff = git(work, "diff", "--binary", "HEAD")
    git(work, "reset", "--quiet", "--hard")
    assert apply(diff, work) == []
    assert (work / "img.png").read_bytes() == b"\x89PNG\0\2"


@pytest.mark.parametrize(
    "changed",
    [
        lambda diff: diff.replace(b"\n", b"\r\n"),  # written in text mode on Windows
        lambda diff: diff.replace(b"\r\n", b"\n"),  # read in text mode
    ],
    ids=["more", "fewer"],
)
def test_line_ends_that_were_changed_on_the_way_are_no_matter(changed: Callable[[bytes], bytes], work: Path) -> None:
    (work / "train.py").write_bytes(b"a\nB\n")
    (work / "windows.py").write_bytes(b"a\r\nB\r\n")
    diff = changed(diff_of(work))
    assert apply(diff, work) == []
    assert (work / "train.py").read_text().splitlines() == ["a", "B"]
    assert (work / "windows.py").read_text().splitlines() == ["a", "B"]


@pytest.mark.parametrize("option", ["diff.noprefix=true", "diff.mnemonicPrefix=true"])
def test_prefixes_are_those_of_the_clients_git(option: str, work: Path) -> None:
    (work / "sub/more.py").write_text("new\n")
    (work / "train.py").write_bytes(b"a\nB\n")
    diff = diff_of(work, "-c", option)
    assert apply(diff, work) == []
    assert (work / "train.py").read_bytes() == b"a\nB\n"
    assert (work / "sub/more.py").read_text() == "new\n"


def test_changes_of_other_code_are_no_changes_of_this(work: Path) -> None:
    patch = b"--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-print('hello')\n+print('changed')\n"
    with pytest.raises(ImageBuildFailed, match="uncommitted changes cannot be applied") as raised:
        apply(patch, work)
    assert "GitCredentials" not in str(raised.value)


def test_changes_outside_of_the_code_are_not_applied(work: Path) -> None:
    with pytest.raises(ImageBuildFailed, match="git failed"):
        apply(b"--- /dev/null\n+++ b/../evil\n@@ -0,0 +1 @@\n+x\n", work)
    assert not (work.parent / "evil").exists()


def test_history_and_tags_are_fetched_for_those_who_need_them(
    server: GitServer, commit: str, repositories: Path, tmp_path: Path
) -> None:
    bare, code = repositories / "job.git", tmp_path / "code"
    git(bare, "tag", "v1.2.3", commit)
    fetched(server, commit, tmp_path)
    assert git(code, "tag") == b""
    for _ in range(2):  # a second time changes nothing
        fetch_history(code, {})
        assert git(code, "describe", "--tags") == b"v1.2.3\n"


def test_a_remote_over_ssh_without_a_user_is_one_of_git(
    repositories: Path, commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # wandb stores ssh://git@host/path without the user.
    ssh = tmp_path / "bin/ssh"
    ssh.parent.mkdir()
    ssh.write_text(f"#!/bin/sh\ngrep '  User ' $2 > {tmp_path}/told\nexec git upload-pack {repositories}/job.git\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    (tmp_path / "code").mkdir()
    assert fetch(GitCode(remote="ssh://git.example.com/job.git", commit=commit), tmp_path / "code", {}) == commit
    assert (tmp_path / "told").read_text() == "  User git\n"


@pytest.mark.parametrize("secret", [None, [], {"github.com": "t0ken"}, {"github.com": {"token": 5}}])
def test_a_faulty_secret_is_explained_without_its_values(secret: object) -> None:
    with pytest.raises(ImageBuildFailed, match="object by host name") as raised:
        parse_credentials(secret)
    assert "t0ken" not in str(raised.value)
