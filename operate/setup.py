"""The setup of a deployed stack, as its function check_setup finds it."""

import json
from collections.abc import Sequence
from typing import Any

from botocore.config import Config
from pydantic import TypeAdapter

from launch_agent.operations.setup import Finding
from operate.errors import CannotOperate
from operate.verify.stack import Stack

ONE_CALL = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=250)
_FINDINGS = TypeAdapter(list[Finding])


def check_setup(stack: Stack, *, create_queues: bool = False) -> list[Finding]:
    """Let the stack check what it needs; return what it found. Raises CannotOperate if it cannot check."""
    answer = invoke(stack, "CheckSetupFunctionName", {"create_queues": create_queues})
    return _FINDINGS.validate_python(answer)


def invoke(stack: Stack, output: str, payload: Any) -> Any:
    """Invoke the function that an output names; return its answer. Raises CannotOperate if it fails."""
    if output not in stack.outputs:
        raise CannotOperate(
            f"The stack {stack.name} is older than this command. Deploy it: make deploy STACK={stack.name}"
        )
    function, lambdas = stack.outputs[output], stack.account.client("lambda", config=ONE_CALL)
    answer = lambdas.invoke(FunctionName=function, Payload=json.dumps(payload).encode())
    said: Any = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        raise CannotOperate(
            f"The function {function} failed: {said.get('errorMessage', said)} docs/errors.md says what to do about "
            f"{said.get('errorType', 'it')}."
        )
    return said


def sentences(findings: Sequence[Finding]) -> list[str]:
    """Return each fault with what it is about."""
    return [f"{finding.what}: {fault}" for finding in findings for fault in finding.faults]
