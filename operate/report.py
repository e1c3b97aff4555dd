"""The report after a deployment: what to paste into W&B, and what is missing before runs can be launched."""

import json

from botocore.exceptions import ClientError

from operate.account import Account
from operate.dialogue import say
from operate.errors import CannotOperate
from operate.polling import poll
from operate.setup import check_setup, sentences
from operate.verify.stack import Stack


def report(name: str, account: Account) -> None:
    """Print what is missing, the configuration for run queues that need one, and what the first poll said."""
    stack = Stack.deployed(name, account)
    say(f"\nThe stack {name} is deployed.")
    try:
        _report_setup(stack)
        say(f"The run queues were polled; W&B shows the launch agent as {poll(stack)}.")
    except (CannotOperate, ClientError) as error:
        say(str(error))
    print(f"\nExecutions: {stack.outputs['Executions']}")


def _report_setup(stack: Stack) -> None:
    findings = check_setup(stack)
    for line in sentences(findings):
        say(line)
    queues = dict.fromkeys(finding.queue for finding in findings if finding.queue)
    failing = {finding.queue for finding in findings if finding.faults}
    for name in (name for name in queues if name not in failing):
        say(f"run queue {name}: its configuration in W&B works with this stack.")
    without = [each.queue for each in findings if each.faults and each.what.startswith("configuration of")]
    if without:
        say(f"This configuration works. Paste it in W&B into {' and '.join(f'run queue {name}' for name in without)}:")
        print(f"\n{json.dumps(json.loads(stack.outputs['QueueConfiguration']), indent=2)}\n")
