"""The report after a deployment: what to paste into W&B, and what is missing before runs can be launched."""

import json
from collections.abc import Iterator

from botocore.exceptions import ClientError

from launch_agent.operations.setup import Finding
from operate.account import Account
from operate.dialogue import say
from operate.errors import CannotOperate
from operate.polling import poll
from operate.setup import check_setup, sentences
from operate.verify.stack import Stack


def report(name: str, account: Account) -> None:
    """Print the configuration for the run queues, what is missing, and what the first poll said."""
    stack = Stack.deployed(name, account)
    configuration = json.loads(stack.outputs["QueueConfiguration"])
    say(f"\nThe stack {name} is deployed. Paste this configuration into its run queues in W&B:")
    print(f"\n{json.dumps(configuration, indent=2)}\n")
    for line in _lines(stack):
        say(line)
    print(f"\nExecutions: {stack.outputs['Executions']}")


def _lines(stack: Stack) -> Iterator[str]:
    try:
        findings = check_setup(stack)
        yield from sentences(findings)
        yield from (f"{name}: its configuration in W&B works with this stack." for name in _working(findings))
        yield f"The run queues were polled; W&B shows the launch agent as {poll(stack)}."
    except (CannotOperate, ClientError) as error:
        yield str(error)


def _working(findings: list[Finding]) -> list[str]:
    queues = dict.fromkeys(finding.queue for finding in findings if finding.queue)
    return [f"run queue {name}" for name in queues if not any(each.faults for each in findings if each.queue == name)]
