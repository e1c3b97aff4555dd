"""Notebooks become scripts."""

import json

import pytest

from launch_agent.builder.notebook import script_of
from launch_agent.errors import UnsupportedJobSource


def notebook(*cells: tuple[str, object]) -> str:
    return json.dumps({"nbformat": 4, "cells": [{"cell_type": kind, "source": source} for kind, source in cells]})


def test_the_code_of_a_notebook_runs_as_a_script() -> None:
    text = notebook(
        ("markdown", "# Train"),
        ("code", ["!pip install wandb\n", "%matplotlib inline\n", "x = 1\n", "if x:\n", "    !nvidia-smi\n"]),
        ("code", "%%bash\nrm -r /\n"),
        ("code", "print(x + 1)"),
    )
    script = script_of(text)
    assert "# Train" not in script
    assert "rm -r" not in script
    told: list[int] = []
    exec(compile(script, "script", "exec"), {"print": told.append})  # noqa: S102 - it is the very thing to be tested
    assert told == [2]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"worksheets": []}', '{"cells": [{"source": "x"}]}'])
def test_what_is_no_notebook_is_said_so(text: str) -> None:
    with pytest.raises(UnsupportedJobSource, match="notebook format 4"):
        script_of(text)
