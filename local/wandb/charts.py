"""Charts: the finite numbers in a history, whatever else it contains."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def charts(rows: Iterable[Any], *, points: int = 300, most: int = 40) -> list[dict[str, Any]]:
    """Return the metrics of a history as series of step and value, by name. A long one is thinned out to `points`."""
    series: dict[str, list[tuple[float, float]]] = {}
    for index, row in enumerate(row for row in rows if isinstance(row, dict)):
        step = _number(row.get("_step"))
        for name, value in _numbers(row):
            series.setdefault(name, []).append((index if step is None else step, value))
    chosen = sorted(series.items())[:most]
    return [{"name": name[:200], "points": _thinned(each, points), "steps": len(each)} for name, each in chosen]


def _numbers(row: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    for key, value in row.items():
        if isinstance(value, dict) and above.count(".") < 3:
            yield from _numbers(value, f"{above}{key}.")
        elif not key.startswith("_") and (number := _number(value)) is not None:
            yield f"{above}{key}", number


def _number(value: Any) -> float | None:
    """Return a finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _thinned(series: list[tuple[float, float]], points: int) -> list[tuple[float, float]]:
    """Return at most this many points, the last one always."""
    every = math.ceil(len(series) / points) or 1
    return [*series[:-1:every], *series[-1:]]
