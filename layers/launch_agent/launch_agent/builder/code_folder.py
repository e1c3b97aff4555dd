"""The folder with a job's code. Everyone who can queue a run can choose its contents, so no path may lead out of it.

The builder reads and writes the code only through this module. It first resolves a path, and refuses it if it leads out
of the folder. Then it opens the path part by part without following links, so it opens exactly the resolved path.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from launch_agent.errors import UnsupportedJobSource

LARGEST_FILE = 16 << 20
"""The largest file that the builder reads, in bytes. Dockerfiles and requirements are far smaller."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class CodeFolder:
    """A job's code in a folder. Paths are relative to the folder. Every method may raise UnsupportedJobSource."""

    def __init__(self, path: Path) -> None:
        """`path` is an existing folder."""
        self.path = path.resolve()

    def files(self) -> set[str]:
        """Return the paths of all files except those in .git. They include links to files of the code."""
        with _in_words("."):
            found = [path for path in self._entries() if self._leads_to(path, stat.S_ISREG)]
        names = {path.relative_to(self.path).as_posix() for path in found}
        return {name for name in names if not name.startswith(".git/")}

    def read(self, path: str, *, at_most: int = LARGEST_FILE) -> bytes:
        """Return the contents of a file of at most `at_most` bytes."""
        with _in_words(path), os.fdopen(self._open(self.file(path), _READ), "rb") as file:
            content = file.read(at_most + 1)
        if len(content) > at_most:
            raise UnsupportedJobSource(f"{shown(path)} of the job's code has more than {at_most >> 10} KiB.")
        return content

    def read_text(self, path: str, *, at_most: int = LARGEST_FILE) -> str:
        """Return the contents of a file as text. Bytes that are not UTF-8 are replaced."""
        return self.read(path, at_most=at_most).decode(errors="replace")

    def write(self, path: str, content: bytes) -> None:
        """Write a file, and create its folders. Replaces an existing file or link."""
        with _in_words(path):
            folder, name = os.path.split(path)
            target = self._resolved(folder) / name
            with self._folder(target.parent, make=True) as parent:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=parent)
                with os.fdopen(os.open(name, _WRITE, 0o644, dir_fd=parent), "wb") as file:
                    file.write(content)

    def file(self, path: str) -> Path:
        """Return the resolved path of a file, for tools that open it themselves."""
        return self._existing(path, stat.S_ISREG, "file")

    def folder(self, path: str) -> Path:
        """Return the resolved path of a folder, for tools that open it themselves."""
        return self._existing(path, stat.S_ISDIR, "folder")

    def drop_ways_out(self) -> list[str]:
        """Remove links that lead out of the code or in circles, and special files; return their paths.

        Broken links within the code are kept: repositories have them.
        """
        with _in_words("."):
            dropped = [path for path in self._entries() if not self._may_stay(path)]
            for path in dropped:
                path.unlink()
        return sorted(path.relative_to(self.path).as_posix() for path in dropped)

    def _entries(self) -> Iterator[Path]:
        for folder, folders, names in os.walk(self.path, onerror=_raise):
            yield from (Path(folder, name) for name in [*folders, *names])

    def _may_stay(self, path: Path) -> bool:
        mode = path.lstat().st_mode
        return stat.S_ISDIR(mode) or stat.S_ISREG(mode) or (stat.S_ISLNK(mode) and self._stays_inside(path))

    def _existing(self, path: str, is_kind: Callable[[int], bool], kind: str) -> Path:
        with _in_words(path):
            real = self._resolved(path)
            if not self._leads_to(real, is_kind):
                raise UnsupportedJobSource(f"{shown(path)} is not a {kind} of the job's code.")
            return real

    def _leads_to(self, path: Path, is_kind: Callable[[int], bool]) -> bool:
        try:
            return self._stays_inside(path) and is_kind(path.stat().st_mode)
        except OSError:
            return False

    def _resolved(self, path: str) -> Path:
        """Return a path with its links resolved, whether or not it exists."""
        real = Path(os.path.realpath(self.path / path))
        if not real.is_relative_to(self.path):
            raise UnsupportedJobSource(f"{shown(path)} leads out of the job's code. Write paths relative to the code.")
        return real

    def _stays_inside(self, link: Path) -> bool:
        real = Path(os.path.realpath(link))
        # A resolved path that is still a link leads in circles.
        return real.is_relative_to(self.path) and not real.is_symlink()

    def _open(self, real: Path, flags: int) -> int:
        """Open a resolved path. The kernel refuses a part that has become a link in the meantime."""
        with self._folder(real.parent) as parent:
            return os.open(real.name, flags, dir_fd=parent)

    @contextmanager
    def _folder(self, real: Path, *, make: bool = False) -> Iterator[int]:
        """Open a resolved folder, part by part. With `make`, missing folders are created."""
        opened = os.open(self.path, _FOLDER)
        try:
            for part in real.relative_to(self.path).parts:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o755, dir_fd=opened)
                inner = os.open(part, _FOLDER, dir_fd=opened)
                os.close(opened)
                opened = inner
            yield opened
        finally:
            os.close(opened)


def _raise(error: OSError) -> NoReturn:
    raise error


def shown(path: str) -> str:
    """Return a path as at most 200 printable characters, whatever bytes it has."""
    text = path.encode(errors="backslashreplace").decode("ascii", errors="backslashreplace")
    text = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    return text if len(text) <= 200 else f"{text[:196]}..."


@contextmanager
def _in_words(path: str) -> Iterator[None]:
    """Raise UnsupportedJobSource, with the reason in words, if a file cannot be read or written."""
    try:
        yield
    except (OSError, ValueError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise UnsupportedJobSource(f"{shown(path)} of the job's code cannot be used: {why}.") from None
