"""Finds the requirements of a job's code, and whether their installation needs the code.

Requirements that certainly come from an index or an address are installed without the code, so that their layer is
reused if only the code changes. Lines are parsed as in pip
(https://pip.pypa.io/en/stable/reference/requirements-file-format).
"""

import argparse
import codecs
import posixpath
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NoReturn
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from launch_agent.builder.pyproject import dependencies_of
from launch_agent.image.dockerfile import REQUIREMENTS_FOLDER, Requirements
from launch_agent.model import Model
from launch_agent.run_queue.job_artifact import FROZEN_REQUIREMENTS

_DEPENDENCIES = "dependencies.txt"
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_ARCHIVES = (".whl", ".zip", ".tar", ".tgz", ".tbz", ".txz", ".gz", ".bz2", ".xz", ".lzma")
_MAX_WORDS = 1_000
"""The most options of a line that are parsed: argparse takes time in proportion to the square of their number."""
_SAFE_SWITCHES = ("--pre", "--prefer-binary", "--require-hashes")
_SAFE_VALUES = ("--no-binary", "--only-binary", "--trusted-host", "--use-feature", "--hash")


def find_requirements(files: Mapping[str, bytes]) -> Requirements | None:
    """Return the requirements: `requirements.txt`, else the dependencies in `pyproject.toml`, else the frozen list.

    `files` are the contents of the files in the build context, by path. None if there are no requirements.
    """
    if "requirements.txt" in files:
        return _of_files("requirements.txt", files)
    if lines := dependencies_of(files):
        return _of_lines("pyproject.toml", lines)
    frozen = decoded(files.get(FROZEN_REQUIREMENTS, b""))
    if not frozen.strip():
        return None
    return Requirements(
        name=FROZEN_REQUIREMENTS,
        path=FROZEN_REQUIREMENTS,
        files={FROZEN_REQUIREMENTS: frozen.encode(errors="replace")},
        is_frozen=True,
        asks_for_wandb="wandb" in _names(_lines(frozen)),
    )


def wandb_warning(requirements: Requirements | None) -> Iterator[str]:
    """Yield a warning if the requirements do not include the wandb package."""
    if requirements is None:
        yield (
            "Nothing was installed: the code has no requirements.txt, no pyproject.toml with dependencies, and no "
            "frozen requirements."
        )
    elif not requirements.asks_for_wandb:
        yield f"{requirements.name} does not include wandb. Without it, the run does not appear in W&B."


def decoded(content: bytes) -> str:
    """Decode a requirements file by its byte order mark, as pip does."""
    mark = _mark(content)
    return content[len(mark) :].decode(_BYTE_ORDER_MARKS.get(mark, "utf-8"), errors="replace")


def _mark(content: bytes) -> bytes:
    return next((mark for mark in _BYTE_ORDER_MARKS if content.startswith(mark)), b"")


class Line(Model):
    """What an installation needs to know about a line of a requirements file."""

    name: str | None = None
    """The package, if that is certain."""
    includes: str | None = None
    """Another requirements or constraints file."""
    is_constraint: bool = False
    needs_code: bool = False
    """Whether it may need files of the code."""


def _of_files(name: str, files: Mapping[str, bytes]) -> Requirements:
    """Read a requirements file and those it includes."""
    found: dict[str, bytes] = {}
    lines: list[Line] = []
    left = [(name, False)]
    needs_code = False
    while left:
        path, is_constraint = left.pop()
        if path in found:
            continue
        if path not in files:
            needs_code = True
            continue
        text = decoded(files[path])
        found[path] = text.encode() if _mark(files[path]) else files[path]
        for line in _lines(text):
            needs_code = needs_code or line.needs_code
            if line.includes:
                inside = posixpath.normpath(posixpath.join(posixpath.dirname(path), line.includes))
                left.append((inside, is_constraint or line.is_constraint))
            elif not is_constraint:
                lines.append(line)
    return Requirements(
        name=name,
        path=name,
        files={} if needs_code else found,
        needs_code=needs_code,
        asks_for_wandb=needs_code or "wandb" in _names(lines),
    )


def _of_lines(name: str, lines: list[str]) -> Requirements:
    """Return the requirements for lines from another file of the code."""
    text = "".join(f"{line}\n" for line in lines)
    read = list(_lines(text))
    needs_code = any(line.needs_code for line in read)
    return Requirements(
        name=name,
        path=f"{REQUIREMENTS_FOLDER}/{_DEPENDENCIES}",
        files={_DEPENDENCIES: text.encode()},
        needs_code=needs_code,
        asks_for_wandb=needs_code or "wandb" in _names(read),
    )


def _names(lines: "list[Line] | Iterator[Line]") -> set[str]:
    return {line.name for line in lines if line.name}


def _lines(text: str) -> Iterator[Line]:
    """Yield the lines of a requirements file, without empty lines and comments, and with continuation lines joined."""
    parts: list[str] = []
    for line in (*text.splitlines(), ""):
        if not line.lstrip().startswith("#"):
            parts.append(line)
        if parts and parts[-1].endswith("\\"):
            parts[-1] = parts[-1][:-1]
            continue
        said = _without_comment("".join(parts))
        parts = []
        if said:
            yield _read(said)


def _without_comment(line: str) -> str:
    return line.split(" #")[0].split("\t#")[0].strip()


def _read(line: str) -> Line:
    """Parse a line. Unless it certainly does not need the code, it counts as needing it."""
    words = line.split(" ")
    option = next((number for number, word in enumerate(words) if word.startswith("-")), len(words))
    said = " ".join(words[:option]).strip()
    try:
        options = _options().parse_args(_few(shlex.split(" ".join(words[option:]))))
    except ValueError:
        return Line(needs_code=True)
    if not all(map(_is_address, [*options.addresses, *options.editable])):
        return Line(needs_code=True)
    if options.requirement or options.constraint:
        file = options.requirement or options.constraint
        return Line() if _is_address(file) else Line(includes=file, is_constraint=options.requirement is None)
    return _read_requirement(said or "".join(options.editable))


def _few(words: list[str]) -> list[str]:
    if len(words) > _MAX_WORDS:
        raise ValueError
    return words


def _read_requirement(said: str) -> Line:
    if not said or _is_address(said):
        return Line(name="wandb" if "wandb" in said else None)  # an address may not have the name of the package
    try:
        requirement = Requirement(said)
    except (InvalidRequirement, RecursionError):
        return Line(needs_code=True)
    if requirement.url:
        return Line(name=canonicalize_name(requirement.name), needs_code=not _is_address(requirement.url))
    return Line(name=canonicalize_name(requirement.name), needs_code=requirement.name.lower().endswith(_ARCHIVES))


def _is_address(text: str) -> bool:
    """Whether a text is a network address, such as https://... or git+ssh://..."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.netloc) and bool(parts.scheme) and not parts.scheme.endswith("file")


class _Options(argparse.ArgumentParser):
    """The options of a requirements file that certainly need no code, or that name the files they need."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        self.add_argument("-r", "--requirement")
        self.add_argument("-c", "--constraint")
        self.add_argument("-e", "--editable", action="append", default=[])
        for names in (("-i", "--index-url"), ("--extra-index-url",), ("-f", "--find-links")):
            self.add_argument(*names, dest="addresses", action="append", default=[])
        for name in _SAFE_SWITCHES:
            self.add_argument(name, action="store_true")
        for name in _SAFE_VALUES:
            self.add_argument(name, action="append")

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


@cache
def _options() -> _Options:
    """Create the parser only once: a file may have half a million lines."""
    return _Options()
