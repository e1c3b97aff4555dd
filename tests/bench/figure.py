"""A figure: what was measured, and the stock launch agent's figure from the same run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Figure(NamedTuple):
    """One measured value. `peer` is the same of `wandb launch-agent`; None if it has no such figure."""

    name: str
    value: float
    unit: str
    peer: float | None = None

    @property
    def ratio(self) -> float | None:
        """The value as a multiple of the peer's."""
        return round(self.value / self.peer, 3) if self.peer else None

    @property
    def line(self) -> str:
        """The figure as a line of JSON."""
        values = {"value": self.value, "unit": self.unit, "peer": self.peer, "ratio": self.ratio}
        return json.dumps({"figure": self.name, **values})


class Group(NamedTuple):
    """Figures that are measured together. `about` says how, for the table in docs/benchmarks.md."""

    title: str
    about: str
    figures: tuple[Figure, ...]
    lines: tuple[str, ...] = ()
    """What follows the table in the document."""
    files: Mapping[Path, str] = {}
    """The contents of other files that are written with the document."""
