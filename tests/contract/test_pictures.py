"""The pictures in the documents match the code."""

import json
import re

import pytest

from tests import pictures
from tests.documents import MACHINE, ROOT


@pytest.mark.parametrize("document", pictures.PICTURES)
def test_the_picture_in_a_document_is_the_one_that_make_picture_draws(document: str) -> None:
    assert pictures.in_document(ROOT / document) == pictures.PICTURES[document]()


def test_the_picture_of_the_state_machine_has_every_state_and_every_way() -> None:
    drawn = pictures.state_machine()
    assert set(re.findall(r'^    \w+[\[{(]+"([^"<]+)', drawn, re.MULTILINE)) == {*MACHINE["States"], "run queue item"}
    ways = re.findall(r'"(?:Next|Default|StartAt)": "', json.dumps(MACHINE))
    assert len(re.findall("->", drawn)) == len(ways)
