"""Lists the licence of each package that is deployed, or installed by a build: `make licences`.

The packages are those of the locks. Their licences are in the metadata of this environment, which has the same
versions.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageMetadata, metadata, version
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from tests.documents import ROOT

PACKAGE = ROOT / "layers/launch_agent"
LOCKS = (
    PACKAGE / "requirements.txt",
    PACKAGE / "service_models.txt",
    PACKAGE / "launch_agent/builder/notebook.txt",
)
ALLOWED = frozenset(
    {
        *("Apache-2.0", "Apache 2.0", "Apache Software License", "Apache-2.0 OR BSD-2-Clause"),
        *("BSD License", "BSD-2-Clause", "BSD-3-Clause", "ISC License (ISCL)"),
        *("MIT", "MIT License", "MIT No Attribution License (MIT-0)", "PSF-2.0"),
    }
)
"""Licences, as packages write them, that ask for no more than a notice."""
_LOCKED = re.compile(r"^[\w.-]+==[^\\\n]+", re.MULTILINE)
_CLASSIFIER = "License :: OSI Approved :: "


class Licensed(NamedTuple):
    """A package with its version and its licences, as it writes them."""

    name: str
    version: str
    licences: tuple[str, ...]


def licensed(lock: Path) -> Iterator[Licensed]:
    """Yield the packages of a lock for this system. Raises PackageNotFoundError for one that is not installed."""
    for line in _LOCKED.findall(lock.read_text()):
        requirement = Requirement(line.strip())
        if requirement.marker is None or requirement.marker.evaluate():
            yield Licensed(requirement.name, version(requirement.name), _licences(metadata(requirement.name)))


def _licences(described: PackageMetadata) -> tuple[str, ...]:
    """Return an SPDX expression, else the classifiers, else the first line of the old field."""
    expression = described.get_all("License-Expression")
    if expression:
        return tuple(expression)
    classifiers = [each for each in described.get_all("Classifier") or () if each.startswith(_CLASSIFIER)]
    old = described.get_all("License") or ["unknown"]
    return tuple(each.removeprefix(_CLASSIFIER) for each in classifiers) or (old[0].partition("\n")[0],)


def main(locks: Sequence[Path] = LOCKS) -> int:
    """Print the licences of all packages; return 1 if one is not allowed."""
    found = sorted({each for lock in locks for each in licensed(lock)})
    for each in found:
        _say(f"{each.name:28} {each.version:12} {', '.join(each.licences)}")
    refused = [each for each in found if not ALLOWED.issuperset(each.licences)]
    _say(f"licences: {len(found)} packages, {len(refused)} with a licence that is not in ALLOWED of tests/licences.py")
    return 1 if refused else 0


def _say(line: str) -> None:
    print(line)  # noqa: T201 - the output of the command


if __name__ == "__main__":
    sys.exit(main())
