"""Fetches the commit of a git repository that a job names, over https or ssh only."""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr, TypeAdapter, ValidationError

from launch_agent.builder.commands import run
from launch_agent.errors import ImageBuildFailed
from launch_agent.image.recipe import GitCode
from launch_agent.model import Wire

_OWN_SETTINGS = {
    "GIT_ALLOW_PROTOCOL": "https:ssh",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",  # CodeBuild's images configure the filters of git-lfs there
    "GIT_TERMINAL_PROMPT": "0",
}
_HARDENED = (
    *("-c", "advice.detachedHead=false", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"),
    *("-c", "core.protectHFS=true", "-c", "core.protectNTFS=true", "-c", "init.templateDir="),
    *("-c", "safe.bareRepository=explicit"),
)
_LARGE_FILES = (
    *("-c", "filter.lfs.clean=git-lfs clean -- %f", "-c", "filter.lfs.smudge=git-lfs smudge -- %f"),
    *("-c", "filter.lfs.process=git-lfs filter-process", "-c", "filter.lfs.required=true"),
)
_REVISION = re.compile(r"(?!-)(?!.*(\.\.|@\{))[^\s:^~?*\[\\]+")
"""A name of a commit, branch or tag, not an option, refspec or expression."""
_DEFAULT_BRANCHES = ("main", "master")
_BINARY = re.compile(rb"^Binary files (?P<both>.+) differ$", re.MULTILINE)
_WRITTEN_ON_WINDOWS = re.compile(rb"^diff --git .*\r$", re.MULTILINE)
"""Every line of the patch ends with CR LF."""
_SUBMODULE = re.compile(rb"^[-+]Subproject commit ", re.MULTILINE)


class HostCredentials(Wire):
    """How to sign in to one git host: with a token over https, or with a deploy key over ssh."""

    username: str = "x-access-token"
    token: SecretStr | None = None
    ssh_key: SecretStr | None = None
    known_hosts: str = ""
    """The output of `ssh-keyscan` for the host. Without it, the key is not used."""


Credentials = Mapping[str, HostCredentials]
Git = Callable[..., str]


def parse_credentials(secret: object) -> Credentials:
    """Parse the secret with git credentials, an object by host name. Raises ImageBuildFailed without any value."""
    try:
        return TypeAdapter(dict[str, HostCredentials]).validate_python(secret)
    except ValidationError as error:
        places = ", ".join(".".join(map(str, fault["loc"])) or "the whole" for fault in error.errors())
        raise ImageBuildFailed(
            f"the secret with git credentials is not valid at: {places}. Store an object by host name, for example "
            '{"github.com": {"token": "..."}} or {"git.example.com": {"ssh_key": "...", "known_hosts": "..."}}.'
        ) from None


def secrets_in(credentials: Credentials) -> Iterator[str]:
    """Yield the tokens and keys of the credentials."""
    for known in credentials.values():
        yield from (each.get_secret_value() for each in (known.token, known.ssh_key) if each)


def fetch(code: GitCode, folder: Path, credentials: Credentials) -> str:
    """Fetch a commit into a folder, without history; return its hash. Raises ImageBuildFailed with git's message."""
    if code.commit is not None and not _REVISION.fullmatch(code.commit):
        raise ImageBuildFailed(
            "the job names a commit that is not a hash, branch or tag. Recreate the job with one of these."
        )
    with _signed_in(credentials) as options:
        large_files = _LARGE_FILES if code.large_files else ()

        def git(*arguments: str) -> str:
            return _git(*_HARDENED, *large_files, *options, "-C", str(folder), *arguments)

        git("init", "--quiet")
        git("remote", "add", "origin", "--", code.remote)
        try:
            git("checkout", "--quiet", "--detach", _fetched(git, code.commit))
            if code.submodules:
                git("submodule", "update", "--quiet", "--init", "--recursive", "--depth", "1")
        except ImageBuildFailed as error:
            raise ImageBuildFailed(
                f"{error} If the repository is private, set the template parameter GitCredentialsSecretArn to a secret "
                "with credentials for its host."
            ) from None
        return git("rev-parse", "HEAD").strip()


def fetch_history(folder: Path, credentials: Credentials) -> None:
    """Fetch the history and the tags, from which some projects derive their version, into the folder of `fetch`."""
    with _signed_in(credentials) as options:
        shallow = _git("-C", str(folder), "rev-parse", "--is-shallow-repository").strip() == "true"
        depth = ["--unshallow"] if shallow else []
        _git(*_HARDENED, *options, "-C", str(folder), "fetch", "--quiet", "--tags", *depth, "origin")


def apply(patch: bytes, folder: Path) -> list[str]:
    """Apply a job's uncommitted changes to its commit; return the files whose changes the patch does not contain.

    wandb stores the output of `git diff`. It only says that a binary file or a submodule changed, not how. Raises
    ImageBuildFailed.
    """
    sections = _sections(patch.replace(b"\r\n", b"\n") if _WRITTEN_ON_WINDOWS.search(patch) else patch)
    left_out = [name for section in sections if (name := _without_contents(section))]
    applied = b"".join(section for section in sections if not _without_contents(section))
    with tempfile.NamedTemporaryFile() as file:
        file.write(applied)
        file.flush()
        options = [
            *_HARDENED,
            "-C",
            str(folder),
            "apply",
            "--allow-empty",
            "--whitespace=nowarn",
            *_strip(applied),
            file.name,
        ]
        try:
            _git(*options)
        except ImageBuildFailed:
            # Line ends may have been changed, too.
            try:
                _git(*options, "--ignore-whitespace")
            except ImageBuildFailed as error:
                raise ImageBuildFailed(f"the job's uncommitted changes cannot be applied: {error}") from None
    return left_out


def _sections(patch: bytes) -> list[bytes]:
    """Split a patch into one section for each file."""
    return re.split(rb"^(?=diff --git )", patch, flags=re.MULTILINE)


def _without_contents(section: bytes) -> str:
    """Return the file of a section that does not contain its changes; empty if the section contains them."""
    binary = _BINARY.search(section)
    if binary:
        old, _, new = binary["both"].rpartition(b" and ")
        name = old if new == b"/dev/null" else new
        return name.strip(b'"').partition(b"/")[2].decode(errors="replace")
    if _SUBMODULE.search(section):
        return section.splitlines()[0].rpartition(b" b/")[2].decode(errors="replace")
    return ""


def _strip(patch: bytes) -> list[str]:
    """Return git's option for a patch without a/ and b/ in its paths (diff.noprefix); empty for other patches."""
    first = next((line[len(b"diff --git ") :] for line in patch.splitlines() if line.startswith(b"diff --git ")), b"")
    half = len(first) // 2
    return ["-p0"] if first and first[:half] == first[half + 1 :] else []


def _fetched(git: Git, commit: str | None) -> str:
    """Fetch the commit, branch or tag, or the default branch if `commit` is None; return what to check out."""
    if commit is None:
        branch = next((name for name in _DEFAULT_BRANCHES if git("ls-remote", "--heads", "origin", name)), None)
        if branch is None:
            raise ImageBuildFailed(
                "the job names no commit, and its repository has no branch main or master. Recreate the job with a "
                "commit or branch."
            )
        commit = branch
    try:
        git("fetch", "--quiet", "--depth", "1", "--no-tags", "origin", "--", commit)
    except ImageBuildFailed:
        # Some servers do not serve single commits. Then everything is fetched, and the commit is checked out of it.
        git("fetch", "--quiet", "origin")
        return commit
    return "FETCH_HEAD"


@contextmanager
def _signed_in(credentials: Credentials) -> Iterator[list[str]]:
    """Yield git's options to sign in to all hosts, also those of submodules. Their files exist until the block ends."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)  # only its owner can enter it
        # wandb removes the user from a remote. By convention, the user of a git server is git.
        ssh = ["Host *", "  BatchMode yes", "  StrictHostKeyChecking yes", "  User git"]
        tokens = []
        for host, known in credentials.items():
            if known.token:
                sign_in = f"{quote(known.username, safe='')}:{quote(known.token.get_secret_value(), safe='')}"
                tokens.append(f"https://{sign_in}@{host}")
            if known.ssh_key:
                key, hosts = folder / f"{quote(host, safe='')}.key", folder / f"{quote(host, safe='')}.hosts"
                key.write_text(known.ssh_key.get_secret_value().rstrip("\n") + "\n")
                key.chmod(0o600)
                hosts.write_text(known.known_hosts)
                own = [f"Host {host}", f"  IdentityFile {key}", "  IdentitiesOnly yes", f"  UserKnownHostsFile {hosts}"]
                ssh = [*own, *ssh]
        (folder / "tokens").write_text("".join(f"{line}\n" for line in tokens))
        (folder / "ssh").write_text("".join(f"{line}\n" for line in ssh))
        helper = f"credential.helper=store --file={folder / 'tokens'}"
        yield ["-c", "credential.helper=", "-c", helper, "-c", f"core.sshCommand=ssh -F {folder / 'ssh'}"]


def _git(*arguments: str) -> str:
    """Run git with our settings only; return its output. Raises ImageBuildFailed with its last three error lines."""
    finished = run(["git", *arguments], variables=_OWN_SETTINGS)
    if finished.code:
        said = finished.errors.splitlines() or ["no reason given"]
        raise ImageBuildFailed(f"git failed: {'; '.join(said[-3:])}.")
    return finished.output
