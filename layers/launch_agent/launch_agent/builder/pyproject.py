"""Converts the dependencies of a pyproject.toml to lines of a requirements file.

uv and pip refuse many pyproject.toml files as a whole: those without a version, those for another version of uv, and
those with faults in the sections of tools. The dependency sources of uv are kept
(https://docs.astral.sh/uv/concepts/projects/dependencies/#dependency-sources).
"""

import posixpath
import tomllib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from typing import Annotated, Any, TypeVar

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pydantic import BeforeValidator, Field, ValidationError

from launch_agent.image.dockerfile import CODE_FOLDER
from launch_agent.model import Wire

FILE = "pyproject.toml"

_MAX_DOTS = 1_000
"""The most dots of a line: tomllib takes time in proportion to the square of the number of parts of a key."""

Section = TypeVar("Section", bound=Wire)


class Project(Wire):
    """The `project` section."""

    name: str = ""
    dependencies: tuple[str, ...] = ()


class Source(Wire):
    """A dependency source of uv: one of the first five keys is set."""

    path: str | None = None
    git: str | None = None
    url: str | None = None
    index: str | None = None
    workspace: bool = False
    rev: str | None = None
    tag: str | None = None
    branch: str | None = None
    subdirectory: str | None = None
    marker: str | None = None
    extra: str | None = None
    group: str | None = None


class Index(Wire):
    """A package index in `tool.uv`."""

    url: str
    name: str | None = None
    default: bool = False
    explicit: bool = False


class Workspace(Wire):
    """The projects of a uv workspace."""

    members: tuple[str, ...] = ()


Sources = Annotated[tuple[Source, ...], BeforeValidator(lambda value: value if isinstance(value, list) else [value])]


class Uv(Wire):
    """The `tool.uv` section."""

    sources: Mapping[str, Sources] = {}
    index: tuple[Index, ...] = ()
    workspace: Workspace = Field(default_factory=Workspace)


def dependencies_of(files: Mapping[str, bytes]) -> list[str]:
    """Return the dependencies in `pyproject.toml` as lines; none if it has none or cannot be parsed.

    `files` are the files of the code by path; they include the members of a workspace.
    """
    document = _document(files.get(FILE, b""))
    project, uv = _section(document, Project, "project"), _section(document, Uv, "tool", "uv")
    if not project.dependencies:
        return []
    members = dict(_members(uv, files))
    sources = {canonicalize_name(name): each for name, each in uv.sources.items()}
    indexes: dict[str, None] = {}
    lines: list[str] = []
    for dependency in project.dependencies:
        try:
            requirement = Requirement(dependency)
        except (InvalidRequirement, RecursionError):
            lines.append(dependency)
            continue
        name = canonicalize_name(requirement.name)
        chosen = [each for each in sources.get(name, ()) if not each.extra and not each.group]
        addresses = [(each, _address(each, members.get(name))) for each in chosen]
        lines += [_at(requirement, address, each.marker) for each, address in addresses if address]
        if not any(address and not each.marker for each, address in addresses):
            lines.append(dependency)
        indexes |= dict.fromkeys(each.index for each in chosen if each.index)
    return [*_index_options(uv, indexes), *lines]


def _document(content: bytes) -> dict[str, Any]:
    if any(line.count(b".") > _MAX_DOTS for line in content.split(b"\n")):
        return {}
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _section(document: object, kind: type[Section], *path: str) -> Section:
    """Parse one section; a section that is not valid counts as empty."""
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    try:
        return kind.model_validate(document or {})
    except ValidationError:
        return kind()


def _members(uv: Uv, files: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    """Yield the name and the folder of each member of the workspace."""
    for path in files:
        folder = posixpath.dirname(path)
        if posixpath.basename(path) == FILE and any(fnmatch(folder, glob) for glob in uv.workspace.members):
            yield canonicalize_name(_section(_document(files[path]), Project, "project").name), folder


def _address(source: Source, member: str | None) -> str | None:
    """Return the address of a source's package; None if the source is an index."""
    fragment = f"#subdirectory={source.subdirectory}" if source.subdirectory else ""
    path = member if source.workspace else source.path
    if path is not None:
        return f"file://{posixpath.normpath(posixpath.join(CODE_FOLDER, path))}"
    if source.git:
        revision = source.rev or source.tag or source.branch
        return f"git+{source.git.removeprefix('git+')}{f'@{revision}' if revision else ''}{fragment}"
    return f"{source.url}{fragment}" if source.url else None


def _at(requirement: Requirement, address: str, marker: str | None) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    markers = [f"({each})" for each in (requirement.marker, marker) if each]
    condition = f" ; {' and '.join(markers)}" if markers else ""
    return f"{requirement.name}{extras} @ {address}{condition}"


def _index_options(uv: Uv, named: Mapping[str, None]) -> Iterator[str]:
    for index in uv.index:
        if index.url.startswith(("https://", "http://")) and (not index.explicit or index.name in named):
            yield f"--index-url {index.url}" if index.default else f"--extra-index-url {index.url}"
