"""docs/iam.md has every permission of the template, with the reason, and what deploys and operates a stack."""

import re

from tests.contract.test_documents import statements
from tests.documents import ROOT, template
from tests.iam_document import CALLS, CONDITIONS, DOCUMENT, WHY, document, permissions


def test_the_document_is_the_one_that_the_template_gives() -> None:
    assert DOCUMENT.read_text() == document()


def test_every_allowed_action_of_the_template_is_in_the_document() -> None:
    allowed = {
        action
        for _, each in statements()
        for action in ([each["Action"]] if isinstance(each["Action"], str) else each["Action"])
    }
    assert allowed == {
        action for each in permissions() if each.statement["Effect"] == "Allow" for action in each.actions
    }


def test_nothing_is_explained_that_does_not_exist() -> None:
    found = list(permissions())
    assert {each.policy for each in found} == set(WHY)
    assert {name for each in found for name in each.only_if} == set(CONDITIONS)
    used = {action for each in found for action in (*each.actions, *(f"{each.policy} {of}" for of in each.actions))}
    assert set(CALLS) <= used


def test_every_command_of_operators_is_in_the_document() -> None:
    makefile = (ROOT / "Makefile").read_text()
    verbs = re.findall(r"^(\w+): .*\n\t@\$\(BIN\)/python -m operate", makefile, re.MULTILINE)
    assert {"deploy", "doctor", "destroy"} <= set(verbs)
    assert [verb for verb in verbs if verb != "build" and f"`make {verb}`" not in DOCUMENT.read_text()] == []


def test_every_kind_of_resource_is_in_the_document() -> None:
    for each in template()["Resources"].values():
        kind = each["Type"].replace("Serverless::StateMachine", "StepFunctions::StateMachine")
        if not kind.startswith("Custom::"):
            assert f"`{kind.replace('Serverless', 'Lambda')}`" in DOCUMENT.read_text()


def test_every_check_that_is_left_out_of_the_audit_has_its_reason() -> None:
    _, _, skipped = (ROOT / ".checkov.yaml").read_text().partition("skip-check:\n")
    assert skipped.count("  - CKV") >= 1
    assert re.fullmatch(r"(?:(?:  # .+\n)+  - CKV\w+\n)+", skipped)
