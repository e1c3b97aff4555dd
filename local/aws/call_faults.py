"""Calls of functions that go wrong on purpose: the function dies at one, or never hears what became of it."""

import re
from collections.abc import Mapping
from typing import Any

from local.aws.functions import Functions
from local.loopback import Application, Message

_ENVIRONMENT = re.compile(r"\bapp/(\S+)")


class CallFaults:
    """The calls that are to go wrong, each {"function", "operation", "how", "times"}.

    `function` is a part of its name, and `how` is `killed before`, `killed after` or `answer lost`.
    """

    def __init__(self, functions: Functions) -> None:
        """Take the functions whose calls these are."""
        self._functions = functions
        self.planned: list[dict[str, Any]] = []

    def due(self, headers: Mapping[str, str]) -> dict[str, Any] | None:
        """Return what is to go wrong with a call, and count it down."""
        environment = self._environment(headers)
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        for fault in self.planned:
            mine = environment and fault["function"] in environment.function and fault["operation"] == operation
            if mine and fault.get("times", 1) > 0:
                fault["times"] = fault.get("times", 1) - 1
                return fault
        return None

    async def fail(
        self, fault: Mapping[str, Any], headers: Mapping[str, str], app: Application, scope: Message, receive: Any
    ) -> None:
        """Let a call go wrong: nothing is answered, and before that the call is made or is not."""
        if fault["how"] != "killed before":
            await app(scope, receive, _unheard)
        environment = self._environment(headers)
        if environment and fault["how"].startswith("killed"):
            environment.kill()

    def _environment(self, headers: Mapping[str, str]) -> Any:
        found = _ENVIRONMENT.search(headers.get("user-agent", ""))
        return self._functions.environments.get(found[1]) if found else None


async def _unheard(message: Message) -> None:
    """Answer nobody."""
