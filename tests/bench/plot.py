"""A plot as SVG: lines over numbers of very different sizes, in colors for light and dark pages."""

from collections.abc import Iterator, Mapping
from html import escape

_WIDTH, _HEIGHT, _LEFT, _TOP, _ROW = 640, 90, 120, 40, 110
_FONT = 'font-family="sans-serif" font-size="12"'
_INK, _LINE = "#6e7781", "#1f77b4"


def plot(title: str, lines: Mapping[str, Mapping[int, float]]) -> str:
    """Return a plot with a row for each line. The numbers are one step apart each, and the values begin at zero."""
    height = _TOP + _ROW * len(lines) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {_FONT}>',
        f"<title>{escape(title)}</title>",
        f'<text x="{_LEFT}" y="20" fill="{_INK}" font-size="14">{escape(title)}</text>',
    ]
    for row, (name, values) in enumerate(lines.items()):
        parts += _row(name, values, bottom=_TOP + _ROW * row + _HEIGHT)
    numbers = list(next(iter(lines.values())))
    parts += [
        f'<text x="{_x(step, len(numbers))}" y="{height - 8}" text-anchor="middle" fill="{_INK}">{number:,}</text>'
        for step, number in enumerate(numbers)
    ]
    return "\n".join([*parts, "</svg>", ""])


def _row(name: str, values: Mapping[int, float], *, bottom: int) -> Iterator[str]:
    top = max(values.values()) or 1
    points = [
        (_x(step, len(values)), round(bottom - 60 * value / top, 1)) for step, value in enumerate(values.values())
    ]
    right = _WIDTH - 40
    yield f'<text x="{_LEFT - 16}" y="{bottom - 26}" text-anchor="end" fill="{_INK}">{escape(name)}</text>'
    yield f'<line x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}" stroke="{_INK}" stroke-width="0.5"/>'
    path = " ".join(f"{x},{y}" for x, y in points)
    yield f'<polyline points="{path}" fill="none" stroke="{_LINE}" stroke-width="2"/>'
    for (x, y), value in zip(points, values.values(), strict=True):
        yield f'<circle cx="{x}" cy="{y}" r="3" fill="{_LINE}"/>'
        yield f'<text x="{x}" y="{y - 8}" text-anchor="middle" fill="{_INK}">{value:,.4g}</text>'


def _x(step: int, steps: int) -> int:
    return _LEFT + 30 + step * (_WIDTH - 80 - _LEFT - 30) // (steps - 1)
