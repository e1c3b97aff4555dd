"""The scenarios without a fault, and that each call has one. `make faults` lets each call fail."""

import re

import pytest

from tests.contract.test_documents import statements
from tests.documents import template
from tests.handlers import NAMES
from tests.simulation.attack import on_a_quiet_day, scenarios, sites
from tests.simulation.faults import Site
from tests.simulation.refusals import CLOSES_LATER, Refusal

IAM = {"eventbridge": "events", "cloudwatch-logs": "logs", "sfn": "states", "secrets-manager": "secretsmanager"}
WITHOUT_CALL = {
    # SageMaker and CodeBuild check them themselves during a call; see the embedded AWS.
    "iam:PassRole",
    "sagemaker:AddTags",
    # SageMaker, Secrets Manager, DynamoDB, S3 and SQS check them if volumes, secrets, tables and so on have keys.
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:GenerateDataKey",
    # Lambda delivers a function's output, and the events that it failed with.
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:SendMessage",
    # Lambda gives messages of a queue to a function.
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
    # The simulated world writes no log.
    "logs:GetLogEvents",
    # S3 checks it to distinguish a missing object from a forbidden one.
    "s3:ListBucket",
}


ELSEWHERE = {"sweep_runs": {"pricing:GetProducts"}}
"""Allowed calls that no scenario makes: a sweep finds an ended job of a stopped execution in tests/e2e/test_page.py."""


@pytest.mark.parametrize("name", list(scenarios()))
def test_a_scenario_ends_as_it_should_on_a_quiet_day(name: str) -> None:
    assert on_a_quiet_day(name)[0].wrong == []


@pytest.mark.parametrize("site", CLOSES_LATER, ids=str)
def test_a_call_without_which_a_run_cannot_close_is_one(site: Site) -> None:
    end = Refusal(site, CLOSES_LATER[site], 0).run(1)
    assert end.wrong == []
    assert end.verdict.endswith(", later")


def test_every_call_that_a_function_is_allowed_to_make_is_attacked() -> None:
    made: dict[str, set[str]] = {}
    for site in {site for counts in sites().values() for site in counts}:
        actions = {"HeadBucket": {"ListBucket"}, "TransactWriteItems": {"UpdateItem"}}.get(
            site.operation, {site.operation}
        )
        made.setdefault(site.function, set()).update(
            f"{IAM.get(site.service, site.service)}:{action}" for action in actions
        )
    for function, allowed in allowed_actions().items():
        if function == "check_setup":  # it launches nothing: tests/clients/test_check_setup.py compares its calls
            continue
        assert allowed - made[function] - WITHOUT_CALL - ELSEWHERE.get(function, set()) == set(), function


def allowed_actions() -> dict[str, set[str]]:
    """Each function's allowed actions in the template, in its own and in shared policies."""
    allowed: dict[str, set[str]] = {name: set() for name in NAMES}
    for holder, statement in statements():
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        for name in NAMES:
            if name in holders(holder):
                allowed[name].update(actions)
    return allowed


def holders(resource: str) -> set[str]:
    """The functions that have the permissions of a function's or a policy's resource in the template."""
    roles = template()["Resources"][resource]["Properties"].get("Roles", [{"Ref": resource}])
    # If a role depends on a condition, this uses its value when the condition is true.
    refs = [role["Fn::If"][1]["Ref"] if "Fn::If" in role else role["Ref"] for role in roles]
    names = [re.sub(r"(?<!^)([A-Z])", r"_\1", ref.removesuffix("Role")).lower() for ref in refs]
    return {name.removesuffix("_function") for name in names}
