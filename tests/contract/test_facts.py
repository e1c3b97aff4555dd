"""docs/facts.md: each fact has a source outside this repository, and an existing test."""

import re

import pytest

from tests.documents import ROOT

FACTS = [
    [cell.strip() for cell in line.strip().strip("|").split("|")]
    for line in (ROOT / "docs" / "facts.md").read_text().splitlines()
    if line.startswith("|") and not line.startswith(("| Fact", "|---"))
]


def test_there_are_facts() -> None:
    assert FACTS


@pytest.mark.parametrize("row", FACTS, ids=lambda row: row[0][:40])
def test_every_fact_has_a_source_and_a_test_that_exists(row: list[str]) -> None:
    _, source, shown_by = row
    assert re.search(r"https://|#\d+|`[^`]+`", source), "a source is an address, an issue, or a file of a named package"
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", shown_by) or [("", "")]:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"
