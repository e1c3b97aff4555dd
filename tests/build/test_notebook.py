"""Notebooks become scripts that run without IPython."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launch_agent.builder.notebook import script_of
from launch_agent.errors import UnsupportedJobSource


def notebook(*cells: str | tuple[str, Any]) -> bytes:
    """Return a notebook; a cell without a kind is a code cell."""
    kinds = [cell if isinstance(cell, tuple) else ("code", cell) for cell in cells]
    return json.dumps(
        {"nbformat": 4, "cells": [{"cell_type": kind, "source": source} for kind, source in kinds]}
    ).encode()


def told(*cells: str | tuple[str, Any]) -> list[object]:
    """Run a notebook as a script; return the values that it passes to `tell`."""
    heard: list[object] = []
    exec(compile(script_of(notebook(*cells)).text, "script", "exec"), {"tell": heard.append})  # noqa: S102 - this is the code under test
    return heard


@pytest.mark.parametrize(
    "source",
    [b"[" * 3_000, b'{"cells": ' + b"[" * 3_000 + b"]" * 3_000 + b"}", notebook("x = " + "(" * 3_000 + ")" * 3_000)],
    ids=["no notebook", "nested", "nested code"],
)
def test_a_notebook_that_is_nested_too_deep_is_said_so(source: bytes) -> None:
    with pytest.raises(UnsupportedJobSource):
        script_of(source)


def test_the_code_of_a_notebook_runs_as_a_script() -> None:
    heard = told(
        ("markdown", "# Train"),
        ["!pip install wandb\n", "%matplotlib inline\n", "x = 1\n", "if x:\n", "    !nvidia-smi\n"],  # type: ignore[arg-type]  # Jupyter stores cells in this form
        ("raw", "rm -r /"),
        "",
        "tell(x + 1)",
    )
    assert heard == [2]


@pytest.mark.parametrize(
    "magic", ["%%time", "%%capture", "%%wandb", "%%timeit -n 1", "%%capture out --no-stderr", "\n%%time"]
)
def test_the_code_of_a_cell_with_a_magic_that_runs_it_runs(magic: str) -> None:
    assert told(f"{magic}\nx = 1\nfor each in range(2):\n    tell(each)\n") == [0, 1]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_as_the_parser_does(end: str) -> None:
    code = end.join(["%%time", "x = 'a\x0cb\u2028c'", "!ls", "y = !ls", "%time tell(len(x))", "tell(y)"])
    assert told(code) == [5, []]


def test_magics_in_magics_run_their_code() -> None:
    assert told("%%capture\n%%time\n!ls\n%time tell(1)\n") == [1]


@pytest.mark.parametrize(
    "code",
    [
        "tell(\n    'epoch %d'\n    % epoch\n)",
        "tell('epoch %d' \\\n% epoch)",
        "text = '''\n!pip install x\n%time\n%%bash\n? what\n'''\ntell('epoch 7')",
        "tell('epoch %d' % epoch)  # !not a command",
        "x = [\n    'epoch 7',\n    !epoch\n]".replace("!epoch", "not epoch") + "\ntell(x[0])",
        "y = 15\ny\\\n%8\ntell(f'epoch {y % 8}')",
        "tell('ep\u00f6ch 7'.replace('\u00f6', 'o'))",
        "x = 'a\x0cb\u2028c'\ntell('epoch 7' if len(x) == 5 else x)",
    ],
)
def test_valid_python_stays_as_it_is(code: str) -> None:
    assert f"# cell 2\n{code}\n" in script_of(notebook("epoch = 7", code)).text
    assert told("epoch = 7", code) == ["epoch 7"]


@pytest.mark.parametrize(
    ("code", "not_run"),
    [
        ("!pip install -q \\\n    transformers", "!pip install -q transformers"),
        ("if True:\n    !pip install -q \\\n      a \\\n      b", "!pip install -q a b"),
        ("!!ls -l", "!ls -l"),
        ("%pip install x", "%pip install x"),
        ("%cd /content", "%cd /content"),
        ("get_ipython().system('ls')", "!ls"),
        ("%%bash\nrm -r /\nexit 1", "%%bash"),
        ("%%writefile train.py\nimport nothing", "%%writefile train.py"),
        ("%%html\n<b>", "%%html"),
        ("%timeit -n 10 boom()", "%timeit -n 10 boom()"),
        ("%env PATH=$HOME", "%env PATH=$HOME"),
    ],
)
def test_what_is_not_python_goes_whole_and_is_named(code: str, not_run: str) -> None:
    assert told(code, "tell(1)") == [1]
    assert script_of(notebook(code)).not_run == (not_run,)


@pytest.mark.parametrize(
    "code", ["%matplotlib inline", "%load_ext autoreload\n%autoreload 2", "len?", "%wandb team/runs"]
)
def test_what_is_only_for_the_screen_goes_without_a_word(code: str) -> None:
    assert script_of(notebook(code)).not_run == ()
    assert told(code, "tell(1)") == [1]


def test_values_of_magics_and_commands_are_there() -> None:
    code = "ä = 'ä'; z = 1\nfiles = !ls ä\nx = %time 6 * 7\nnothing = %who\ntell((files, x, nothing))"
    assert told(code) == [([], 42, None)]


def test_an_environment_variable_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SET_BY_A_NOTEBOOK", raising=False)
    assert told("%env SET_BY_A_NOTEBOOK=a b\nimport os\ntell(os.environ['SET_BY_A_NOTEBOOK'])") == ["a b"]
    del os.environ["SET_BY_A_NOTEBOOK"]


def test_what_a_notebook_has_without_an_import_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert told("'colab' in str(get_ipython()) and boom()", "display(5)", "tell(get_ipython())") == [None]
    assert capsys.readouterr().out == "5\n"
    assert "get_ipython" not in script_of(notebook("x = 1")).text


def test_a_future_import_in_a_later_cell_comes_first() -> None:
    assert told("tell(1)", "from __future__ import annotations\ndef f(x: Unknown): pass\ntell(2)") == [1, 2]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("x = = 1", "invalid syntax in line 1"),
        ("\nif x:\nprint(1)", "expected an indented block .* in line 3"),
        ("await run()", "'await' outside function"),
        ("return 5", "'return' outside function"),
        ("%%time\nx = (", "was never closed"),
    ],
)
def test_a_cell_that_is_not_valid_is_named_by_its_number(code: str, why: str) -> None:
    with pytest.raises(UnsupportedJobSource, match=f"cell 3 of the job's notebook is not valid Python: .*{why}"):
        script_of(notebook(("markdown", "x"), "x = 1", code))


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{", b'{"worksheets": []}', b'{"cells": [{"source": "x"}]}', b"\xff\xfe"]
)
def test_what_is_no_notebook_is_said_so(text: bytes) -> None:
    with pytest.raises(UnsupportedJobSource, match="notebook format 4"):
        script_of(text)


def test_a_byte_order_mark_is_no_matter() -> None:
    assert script_of(b"\xef\xbb\xbf" + notebook("x = 1")).text == "# cell 1\nx = 1\n"


def test_the_script_needs_nothing_of_ipython(tmp_path: Path) -> None:
    script = script_of(notebook("%%time\n%matplotlib inline\n!ls\nx = 5", "display(x)"))
    (tmp_path / "train.py").write_text(script.text)
    command = [sys.executable, "-I", "-S", str(tmp_path / "train.py")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "5\n"


@pytest.mark.parametrize("lines", [500, 100_000])
def test_a_cell_with_more_magics_than_can_be_read_is_named(lines: int) -> None:
    with pytest.raises(UnsupportedJobSource, match=r"cell 1 of the job's notebook .*too many magics"):
        script_of(notebook("x = !ls\n" * lines))


def test_text_in_a_string_is_no_magic_however_much_there_is() -> None:
    text = "%comment\n" * 10_000
    assert text in script_of(notebook(f"""latex = '''{text}'''""")).text
