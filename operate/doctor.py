"""`make doctor`: checks what a deployed stack needs before it can launch runs, and prints what is missing."""

from collections.abc import Callable

from botocore.exceptions import ClientError

from launch_agent.operations.setup import Finding
from operate.account import Account
from operate.dialogue import say
from operate.errors import CannotOperate
from operate.polling import check_schedule, poll
from operate.setup import check_setup
from operate.verify.stack import Stack

_INDENT = " " * 13


def doctor(name: str, region: str | None) -> None:
    """Print what was checked, and every fault with what to do. Raises CannotOperate if there is a fault."""
    account = Account(region)
    stack = Stack.deployed(name, account)
    print(f"The stack {name} of account {account.id}, region {account.region}:\n", flush=True)
    findings = [
        *check_setup(stack),
        _tried("the schedule of polls", lambda: check_schedule(stack)),
        _tried("a poll", lambda: poll(stack)),
    ]
    for finding in findings:
        print(f"{finding.status:{len(_INDENT)}}{finding.what}")
        for text in [*finding.faults, finding.not_checked]:
            say(text, indent=_INDENT)
    faults = sum(len(finding.faults) for finding in findings)
    if faults:
        raise CannotOperate(f"\nThe setup has {faults} {'faults' if faults > 1 else 'fault'}.")
    print("\nRuns can be launched.")


def _tried(what: str, check: Callable[[], object]) -> Finding:
    try:
        check()
    except CannotOperate as error:
        return Finding(what=what, faults=(str(error),))
    except ClientError as error:
        return Finding(what=what, not_checked=str(error))
    return Finding(what=what)
