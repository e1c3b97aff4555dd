"""The policies of the functions, enforced in the simulated world. `make prove-iam` takes each action away in turn."""

import pytest

from tests.simulation.attack import scenarios
from tests.simulation.permissions import Entry, Iam, Need, arn, entries
from tests.simulation.prove_iam import SURVIVES, denied_without, enforced, of_functions, reason

PART = 4
"""The suite runs one of four scenarios, so that it stays quick."""
WITH_TICKS = "image, polled every five seconds"


def entry(role: str, policy: str, action: str) -> Entry:
    (found,) = [each for each in entries() if (each.role, each.policy, each.action) == (role, policy, action)]
    return found


@pytest.mark.parametrize("name", dict.fromkeys([WITH_TICKS, *list(scenarios())[::PART]]))
def test_a_scenario_ends_without_a_denial(name: str) -> None:
    ended = enforced(name, Iam())
    assert ended.iam.denied == []
    assert ended.iam.used
    assert ended.verdict == scenarios()[name].verdict


@pytest.mark.parametrize(
    ("role", "policy", "action"),
    [
        ("PollQueuesFunctionRole", "OpenAndCloseRuns", "dynamodb:UpdateItem"),
        ("PollQueuesFunctionRole", "SendTicks", "sqs:SendMessage"),
        ("PollQueuesFunctionRole", "StartExecutions", "states:StartExecution"),  # it is called by threads
        ("StartTrainingFunctionRole", "CreateTrainingJobs", "sagemaker:AddTags"),
        ("ReportOutcomeFunctionRole", "DeleteCredentials", "s3:DeleteObject"),
    ],
)
def test_a_call_is_denied_without_its_action(role: str, policy: str, action: str) -> None:
    assert denied_without(entry(role, policy, action), WITH_TICKS)


@pytest.mark.parametrize(
    ("function", "need"),
    [
        (
            "start_training",
            Need("dynamodb:UpdateItem", arn("dynamodb", "table/launch"), {"dynamodb:LeadingKeys": ["a"]}),
        ),
        (
            "start_training",
            Need("dynamodb:UpdateItem", arn("dynamodb", "table/other"), {"dynamodb:LeadingKeys": ["run#1"]}),
        ),
        ("resume_run", Need("sagemaker:StopTrainingJob", arn("sagemaker", "training-job/j"), {})),
        ("plan_run", Need("states:StartExecution", arn("states", "stateMachine:launch"), {})),
        ("report_outcome", Need("s3:ListBucket", "arn:aws:s3:::credentials", {"s3:prefix": ["short"]})),
    ],
)
def test_another_resource_another_item_and_a_foreign_job_are_denied(function: str, need: Need) -> None:
    assert not Iam().allows(function, [need])


def test_every_reason_for_a_survivor_is_of_an_action_that_exists() -> None:
    used = {key for key in SURVIVES for each in of_functions() if reason(each) == SURVIVES[key]}
    assert used == set(SURVIVES)
