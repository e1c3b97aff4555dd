"""docs/benchmarks.md: a table for each group of figures, with the machine that they were measured on."""

import os
import platform
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from launch_agent import __version__
from tests.bench.figure import Figure, Group
from tests.documents import ROOT

DOCUMENT = ROOT / "docs/benchmarks.md"
_PACKAGES = {"pydantic": ".venv", "botocore": ".venvs/lambda", "wandb": ".venvs/training"}


def write(name: str, group: Group) -> None:
    """Replace the part of the document between the comments of a group."""
    begin, end = f"<!-- bench: {name} -->", "<!-- end -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    text = "\n".join([begin, *_lines(group), *group.lines, end])
    DOCUMENT.write_text(pattern.sub(lambda _: text, DOCUMENT.read_text()))
    for path, content in group.files.items():
        path.write_text(content)


def _lines(group: Group) -> Iterator[str]:
    yield from (f"## {group.title}", "", group.about, "", f"Measured on {_machine()}.", "")
    with_peer = any(figure.peer is not None for figure in group.figures)
    yield "| Figure | This application | Unit |" + (" `wandb launch-agent` | Ratio |" if with_peer else "")
    yield "|---|---:|---|" + ("---:|---:|" if with_peer else "")
    yield from (_row(figure, with_peer=with_peer) for figure in group.figures)
    yield ""


def _row(figure: Figure, *, with_peer: bool) -> str:
    cells = [f"`{figure.name}`", f"{figure.value:,}", figure.unit]
    if with_peer:
        cells += ["" if value is None else f"{value:,}" for value in (figure.peer, figure.ratio)]
    return f"| {' | '.join(cells)} |"


def _machine() -> str:
    today = datetime.now(UTC).date().isoformat()
    processor = _processor()
    packages = ", ".join(f"{name} {_version(name, environment)}" for name, environment in _PACKAGES.items())
    versions = f"Python {platform.python_version()}, {packages}"
    load = f"{os.getloadavg()[1]:.1f} processes at a time"  # on a busy machine, the stock agent is slower
    return f"{today}: {os.cpu_count()} x {processor}, {platform.system()}, {load}; {versions}, version {__version__}"


def _version(name: str, environment: str) -> str:
    """Return the version of a package that is installed in an environment of this project."""
    (found,) = (ROOT / environment).glob(f"lib/python*/site-packages/{name}-*.dist-info")
    return found.name.removesuffix(".dist-info").rpartition("-")[2]


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", information.read_text()) if information.exists() else None
    return found[1] if found else platform.machine()
