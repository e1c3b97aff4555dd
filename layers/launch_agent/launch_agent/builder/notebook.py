"""Converts a notebook to a script that a training job can run without IPython.

As in `wandb launch-agent`, IPython's own transformer parses magics and shell commands. Magics that run Python become
that Python, and `%env` sets the variable. Other magics and shell commands are left out.
"""

import ast
import json
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from launch_agent.builder.commands import run
from launch_agent.errors import ImageBuildFailed, UnsupportedJobSource
from launch_agent.model import Wire

_RUN_THEIR_CELL = ("capture", "memit", "prun", "time", "timeit", "wandb")
_RUN_THEIR_LINE = ("memit", "prun", "time", "timeit")
_SET_A_VARIABLE = ("env", "set_env")
_FOR_THE_SCREEN = ("autoreload", "config", "load_ext", "matplotlib", "pinfo", "pinfo2", "reload_ext", "wandb")
_MAGICS = ("getoutput", "run_cell_magic", "run_line_magic", "system")
_DEFINITIONS = {"get_ipython": "def get_ipython(): return None", "display": "display = print"}
"""Names that a notebook has without an import. Outside a notebook, IPython's get_ipython() returns None too."""

_ESCAPE = re.compile(r"(?:^|=)[ \t]*[!%?]", re.MULTILINE)
_MOST_MAGICS = 500
_MOST_READ = 300_000
"""The most magics times lines of a cell. A cell with this product takes about ten seconds."""


class Script(NamedTuple):
    """The script for a notebook."""

    text: str
    not_run: tuple[str, ...]
    """The magics and shell commands that are not in the script, and the first line of each cell in another language."""


class _Cell(Wire):
    cell_type: str
    source: str | list[str] = ""


class _Notebook(Wire):
    cells: list[_Cell]


def script_of(notebook: bytes) -> Script:
    """Return the code of a notebook's cells as a script that compiles.

    Raises UnsupportedJobSource if it is not a notebook of format 4
    (https://nbformat.readthedocs.io/en/latest/format_description.html) or a cell is not valid Python, and
    ImageBuildFailed if IPython cannot be installed.
    """
    try:
        parsed = _Notebook.model_validate(json.loads(notebook.decode("utf-8-sig")))
    except (ValueError, RecursionError, ValidationError):
        raise UnsupportedJobSource("the job's notebook cannot be read. Save it in notebook format 4.") from None
    _provide_ipython()
    script = _Script()
    for number, cell in enumerate(parsed.cells, start=1):
        if cell.cell_type == "code":
            source = cell.source if isinstance(cell.source, str) else "".join(cell.source)
            script.add(number, source.replace("\r\n", "\n").replace("\r", "\n"))
    return Script(script.text(), tuple(script.not_run))


def _provide_ipython() -> None:
    """Install the locked IPython if it is missing: only notebooks need it, and it would be large for the layer."""
    if find_spec("IPython"):
        return
    folder = tempfile.mkdtemp(prefix="ipython-")
    lock = Path(__file__).with_name("notebook.txt")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", "--target", folder, "--requirement", str(lock)]
    finished = run(command, variables={})
    if finished.code:
        raise ImageBuildFailed(f"IPython, which converts notebooks, could not be installed: {finished.errors[-500:]}")
    sys.path.append(folder)


class _Script:
    """A script that grows cell by cell."""

    def __init__(self) -> None:
        from IPython.core.inputtransformer2 import TransformerManager  # _provide_ipython may have just installed it

        self._transformer = TransformerManager()  # type: ignore[no-untyped-call]  # IPython's types are not complete
        self._cells: list[str] = []
        self._futures: list[str] = []
        self._names: set[str] = set()
        self.not_run: list[str] = []

    def add(self, number: int, source: str) -> None:
        """Add a cell. Raises UnsupportedJobSource if it is not valid Python."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                code = self._python(source)
                compile(code, "cell", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            where = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            why = error.msg if isinstance(error, SyntaxError) else error
            raise UnsupportedJobSource(
                f"cell {number} of the job's notebook is not valid Python: {why}{where} of the cell. Cells are counted "
                "from 1, including those with text."
            ) from None
        self._cells.append(f"# cell {number}\n" + code.strip("\n"))

    def text(self) -> str:
        """Return the whole script."""
        futures = [f"from __future__ import {', '.join(dict.fromkeys(self._futures))}\n"] if self._futures else []
        defined = [f"{line}\n" for name, line in _DEFINITIONS.items() if name in self._names]
        return "\n\n".join(["".join([*futures, *defined]), *self._cells]).lstrip("\n") + "\n"

    def _python(self, source: str) -> str:
        """Return the code of a cell as plain Python. Raises SyntaxError."""
        lines = source.split("\n")  # as the parser counts lines; splitlines() splits at other characters too
        first = next((number for number, line in enumerate(lines) if line.strip()), 0)
        if lines[first].startswith("%%"):
            if lines[first][2:].partition(" ")[0].strip() in _RUN_THEIR_CELL:
                return self._python("\n" * (first + 1) + "\n".join(lines[first + 1 :]))
            self.not_run.append(lines[first].rstrip())
            return "\n".join(f"# {line}" for line in lines)
        # The transformer removes empty lines at the beginning, which line numbers in messages count.
        return self._without_magics("\n" * first + self._transformed(source).rstrip("\n"))

    def _transformed(self, source: str) -> str:
        """Return a cell after IPython's transformer. Raises ValueError for a cell with too many magics.

        The transformer parses the whole cell again for each magic, and raises RuntimeError after 500 times.
        """
        if _is_python(source):
            return source
        magics = len(_ESCAPE.findall(source))
        if magics >= _MOST_MAGICS or magics * (source.count("\n") + 1) > _MOST_READ:
            raise ValueError("it has too many magics and shell commands for its length. Split it into several cells")
        try:
            return str(self._transformer.transform_cell(source))
        except RuntimeError as error:
            raise ValueError(f"IPython cannot read it: {error}") from None

    def _without_magics(self, code: str) -> str:
        """Replace the calls that IPython's transformer made from magics and shell commands with Python."""
        tree = ast.parse(code)
        lines = [line.encode() for line in code.split("\n")]
        for node, instead in reversed(list(self._replaced(tree))):
            _put(lines, node, instead)
        self._names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        return b"\n".join(lines).decode()

    def _replaced(self, tree: ast.AST) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
        """Yield each node to replace with its replacement, in the order of the code."""
        statements = {id(node.value): node for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found = [node for node in ast.walk(tree) if isinstance(node, (ast.ImportFrom, ast.Call))]
        for node in sorted(found, key=lambda each: (each.lineno, each.col_offset)):
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                self._futures += [each.name for each in node.names]
                yield node, "pass"
            elif isinstance(node, ast.Call) and (magic := _magic(node)):
                yield statements.get(id(node), node), self._instead(*magic, is_statement=id(node) in statements)

    def _instead(self, kind: str, arguments: list[str], *, is_statement: bool) -> str:
        """Return the Python that replaces one magic or shell command."""
        name, line = (arguments[0], arguments[1]) if kind == "run_line_magic" else ("", arguments[0])
        if name in _RUN_THEIR_LINE and not line.startswith("-"):
            inner = self._python(line)
            return inner if is_statement else f"({inner})"
        if name in _SET_A_VARIABLE and "=" in line and not set(line) & set("${"):
            variable, _, value = line.partition("=")
            return f'__import__("os").environ[{variable.strip()!r}] = {value.strip()!r}'
        shown = " ".join((f"%{name} {line}" if name else f"!{line}").split())
        if name not in _FOR_THE_SCREEN:
            self.not_run.append(shown)
        return f"pass  # {shown}" if is_statement else "[]" if kind == "getoutput" else "None"


def _is_python(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True


def _magic(call: ast.Call) -> tuple[str, list[str]] | None:
    """Return the kind and the arguments of a call of `get_ipython()` that IPython's transformer makes."""
    function = call.func
    if not (isinstance(function, ast.Attribute) and function.attr in _MAGICS and isinstance(function.value, ast.Call)):
        return None
    of, arguments = function.value.func, [each.value for each in call.args if isinstance(each, ast.Constant)]
    if not (isinstance(of, ast.Name) and of.id == "get_ipython") or not arguments:
        return None
    return function.attr, [*map(str, arguments), ""]


def _put(lines: list[bytes], node: ast.stmt | ast.expr, code: str) -> None:
    """Replace a node with code. Positions are in bytes of UTF-8, as in the parser."""
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    before, after = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
    if after.strip():
        code = code.partition("  #")[0] if code.startswith("pass") else code
    lines[first : last + 1] = [before + code.encode() + after]
