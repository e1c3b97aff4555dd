"""A notebook as the script that a training job can run."""

import json
from collections.abc import Iterator

from pydantic import ValidationError

from launch_agent.errors import UnsupportedJobSource
from launch_agent.model import Wire

_FOR_NOTEBOOKS_ONLY = ("!", "%")


class _Cell(Wire):
    cell_type: str
    source: str | list[str] = ""


class _Notebook(Wire):
    cells: list[_Cell]


def script_of(notebook: str) -> str:
    """Return the code of a notebook's cells, without lines that only a notebook understands.

    Raises UnsupportedJobSource when the text is no notebook of format 4
    (https://nbformat.readthedocs.io/en/latest/format_description.html).
    """
    try:
        parsed = _Notebook.model_validate(json.loads(notebook))
    except (ValueError, ValidationError):
        raise UnsupportedJobSource("the job's notebook cannot be read. Save it in notebook format 4.") from None
    return "\n\n".join("\n".join(_lines(cell)) for cell in parsed.cells if cell.cell_type == "code") + "\n"


def _lines(cell: _Cell) -> Iterator[str]:
    text = cell.source if isinstance(cell.source, str) else "".join(cell.source)
    if text.startswith("%%"):
        return  # a cell in another language
    for line in text.splitlines():
        commented = line.lstrip().startswith(_FOR_NOTEBOOKS_ONLY)
        yield f"{line[: len(line) - len(line.lstrip())]}pass  # {line.lstrip()}" if commented else line
