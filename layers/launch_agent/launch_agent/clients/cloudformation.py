"""AWS CloudFormation: the answers of custom resources, and the status of the stack."""

import json

import urllib3

from launch_agent.clients.aws import aws_client, translated
from launch_agent.clients.http import Http
from launch_agent.errors import AwsThrottled
from launch_agent.operations.stack_change import StackChange

_TIMEOUT = urllib3.Timeout(connect=5.0, read=10.0)
_RETRIES = urllib3.Retry(3, status_forcelist=(500, 502, 503, 504), allowed_methods=None, raise_on_status=False)


def answer(change: StackChange, failure: str = "") -> None:
    """Tell CloudFormation to continue or, with a failure, to fail.

    Raises AwsThrottled if it does not take the answer.
    """
    content = json.dumps(change.answer(failure)).encode()
    try:
        # Without a content type: the address is signed for none.
        response = Http(timeout=_TIMEOUT).request("PUT", change.response_url, body=content, retries=_RETRIES)
    except urllib3.exceptions.HTTPError as error:
        raise AwsThrottled(f"CloudFormation could not be answered: {type(error).__name__}") from None
    if response.status >= 300:
        raise AwsThrottled(f"CloudFormation did not take the answer: HTTP {response.status}")


def stack_status(stack_id: str) -> str:
    """Return a stack's status, for example UPDATE_ROLLBACK_IN_PROGRESS. Raises AwsThrottled and AwsRefused."""
    with translated():
        (stack,) = aws_client("cloudformation").describe_stacks(StackName=stack_id)["Stacks"]
    return stack["StackStatus"]
