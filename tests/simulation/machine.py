"""Step Functions: executes the real state machine in virtual time, with only the features that it uses."""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import jsonata

from tests.simulation.clock import Clock
from tests.simulation.dynamodb import Refused

MAX_PAYLOAD, MAX_CAUSE, MAX_TIMEOUT = 262_144, 32_768, 99_999_999
_UNCATCHABLE = ("States.DataLimitExceeded", "States.Runtime")
"""Errors that a rule for States.ALL does not match."""
_ILLEGAL_IN_A_NAME = re.compile(r"[\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]")
Done = Callable[[Any, "TaskFailed | None"], None]
"""A task calls this at its end, with its result or its failure."""


class TaskFailed(Exception):
    """A task's error, for Retry and Catch."""

    def __init__(self, error: str, cause: str = "") -> None:
        super().__init__(error)
        self.error, self.cause = error, cause


class Tasks(Protocol):
    """The tasks that executions call."""

    def invoke(self, function: str, payload: dict[str, Any], done: Done) -> None:
        """Invoke a Lambda function by its logical id."""

    def start_build(self, arguments: dict[str, Any], done: Done) -> str:
        """Start a build; return its id."""

    def stop_build(self, build_id: str) -> None:
        """Stop a build."""


@dataclass
class Execution:
    """One execution. `step` counts its steps, so that late results of earlier steps can be ignored."""

    arn: str
    name: str
    input: dict[str, Any]
    definition: Mapping[str, Any] = field(repr=False)
    """The state machine at the start of the execution."""
    status: str = "RUNNING"
    error: str = ""
    cause: str = ""
    output: Any = None
    state: str = ""
    state_input: Any = None
    variables: dict[str, Any] = field(default_factory=dict)
    tries: dict[int, int] = field(default_factory=dict)
    step: int = 0
    token: str = ""
    build_id: str = ""
    redrives: int = 0
    ended_at: float = 0.0
    path: list[str] = field(default_factory=list)


class StateMachine:
    """One stack's state machine, its executions, and the API for them."""

    def __init__(
        self,
        arn: str,
        definition: Mapping[str, Any],
        *,
        clock: Clock,
        tasks: Tasks,
        written: Callable[[Any], None],
        ended: Callable[[Execution], None],
    ) -> None:
        """Call `written` with all data that a history would show, and `ended` with each ended execution."""
        self.arn = arn
        self._definition, self._clock, self._tasks = definition, clock, tasks
        self._written, self._ended = written, ended
        self.executions: dict[str, Execution] = {}
        self.running: dict[str, Execution] = {}
        self._waiting: dict[str, Execution] = {}
        self._tokens = 0

    # --- API
    def answer(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one request. Raises Refused."""
        operations: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "StartExecution": self._start,
            "StopExecution": self._stop,
            "DescribeExecution": lambda asked: self._described(self._find(asked)),
            "ListExecutions": self._list,
            "RedriveExecution": self._redrive,
            "SendTaskSuccess": lambda asked: self._settle(asked, json.loads(asked["output"]), None),
            "SendTaskFailure": lambda asked: self._settle(asked, None, TaskFailed(asked["error"], asked["cause"])),
        }
        return operations[operation](asked)

    def _start(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if _ILLEGAL_IN_A_NAME.search(asked["name"]):
            raise Refused("InvalidName", f"Invalid Name: '{asked['name']}'")
        arn = f"{self.arn.replace(':stateMachine:', ':execution:')}:{asked['name']}"
        given = json.loads(asked["input"])
        known = self.executions.get(arn)
        if known and (known.status != "RUNNING" or known.input != given):
            raise Refused("ExecutionAlreadyExists")
        if known is None:
            self._written(given)
            execution = self.executions[arn] = self.running[arn] = Execution(
                arn, asked["name"], given, self._definition
            )
            self._clock.after(0, lambda: self._enter(execution, execution.definition["StartAt"], given))
        return {"executionArn": arn, "startDate": self._clock.now}

    def _stop(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        execution = self._find(asked)
        if execution.status == "RUNNING":
            self.end(execution, "ABORTED", error=asked.get("error", ""), cause=asked.get("cause", ""))
        return {"stopDate": self._clock.now}

    def _find(self, asked: Mapping[str, Any]) -> Execution:
        execution = self.executions.get(asked["executionArn"])
        if execution is None:
            raise Refused("ExecutionDoesNotExist")
        return execution

    def _described(self, execution: Execution) -> dict[str, Any]:
        return {
            "executionArn": execution.arn,
            "stateMachineArn": self.arn,
            "name": execution.name,
            "status": execution.status,
            "startDate": self._clock.now,
            **({"stopDate": execution.ended_at} if execution.status != "RUNNING" else {}),
            **({"error": execution.error} if execution.error else {}),
            **({"cause": execution.cause} if execution.cause else {}),
        }

    def _list(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if asked["statusFilter"] != "RUNNING":
            raise Refused("ValidationException", "Only running executions are listed here.")
        found = list(self.running.values())
        start = int(asked.get("nextToken", 0))
        page = [self._described(each) for each in found[start : start + 100]]
        return {"executions": page, **({"nextToken": str(start + 100)} if start + 100 < len(found) else {})}

    def _redrive(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        execution = self._find(asked)
        if execution.status not in ("FAILED", "TIMED_OUT", "ABORTED"):
            raise Refused("ExecutionNotRedrivable")
        execution.status, execution.error, execution.cause = "RUNNING", "", ""
        self.running[execution.arn] = execution
        execution.redrives += 1
        self._clock.after(0, lambda: self._enter(execution, execution.state, execution.state_input))
        return {"redriveDate": self._clock.now}

    def _settle(self, asked: Mapping[str, Any], result: Any, failure: TaskFailed | None) -> dict[str, Any]:
        execution = self._waiting.pop(asked["taskToken"], None)
        if execution is None or execution.token != asked["taskToken"] or execution.status != "RUNNING":
            raise Refused("TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'")
        step = execution.step
        self._clock.after(0, lambda: self._done(execution, step, result, failure))
        return {}

    # --- stored executions
    def is_awaited(self, token: str) -> bool:
        """Return whether an execution waits for a task token."""
        return token in self._waiting

    def restore(self, execution: Execution, *, awaits_token: bool) -> Done:
        """Continue a stored execution; return the callback for the end of the task that it waits for.

        If it waited neither for a token nor for a build, it calls its task again, like a Retry.
        """
        self.executions[execution.arn] = execution
        self._tokens = max(self._tokens, int(execution.token.rpartition("/")[2]))
        if execution.status == "RUNNING":
            self.running[execution.arn] = execution
        if awaits_token:
            self._waiting[execution.token] = execution
        elif not execution.build_id:
            self._clock.after(1, lambda: self._try_again(execution, 0))
        return lambda result, failure: self._done(execution, 0, result, failure)

    # --- states
    def _enter(self, execution: Execution, state: str, given: Any) -> None:
        if execution.status != "RUNNING":
            return
        execution.state, execution.state_input, execution.tries = state, given, {}
        execution.path.append(state)
        self._work(execution)

    def _work(self, execution: Execution) -> None:
        """Run the current state; a task calls `_done` at its end."""
        execution.step += 1
        state = execution.definition["States"][execution.state]
        if state["Type"] == "Succeed":
            self.end(execution, "SUCCEEDED", output=execution.state_input)
        elif state["Type"] == "Fail":
            shown = self._evaluated(execution, {"error": state["Error"], "cause": state["Cause"]})
            self.end(execution, "FAILED", **shown)
        elif state["Type"] == "Choice":
            chosen = (rule["Next"] for rule in state["Choices"] if self._evaluated(execution, rule["Condition"]))
            self._enter(execution, next(chosen, state.get("Default", "")), execution.state_input)
        else:
            self._task(execution, state)

    def _task(self, execution: Execution, state: Mapping[str, Any]) -> None:
        step = execution.step
        self._tokens += 1
        execution.token = f"{self.arn.rpartition(':')[2]}/{self._tokens}"
        try:
            limit = _timeout(self._evaluated(execution, state["TimeoutSeconds"]))
            arguments = _payload(self._evaluated(execution, state["Arguments"]))
        except TaskFailed as failure:
            self._done(execution, step, None, failure)
            return
        self._clock.after(limit, lambda: self._done(execution, step, None, TaskFailed("States.Timeout")))
        self._written(arguments)
        if "codebuild" in state["Resource"]:
            execution.build_id = self._tasks.start_build(arguments, lambda *end: self._done(execution, step, *end))
            return
        waits = state["Resource"].endswith(".waitForTaskToken")
        if waits:
            self._waiting[execution.token] = execution

        def returned(result: Any, failure: TaskFailed | None) -> None:
            if failure or not waits:
                self._done(execution, step, {"Payload": result}, failure)

        self._tasks.invoke(arguments["FunctionName"].strip("${}"), arguments["Payload"], returned)

    def _done(self, execution: Execution, step: int, result: Any, failure: TaskFailed | None) -> None:
        """Continue after the end of a task."""
        if execution.status != "RUNNING" or execution.step != step:
            return
        execution.step += 1
        if execution.build_id:
            if failure and failure.error == "States.Timeout":
                self._tasks.stop_build(execution.build_id)
            execution.build_id = ""
        self._waiting.pop(execution.token, None)
        state = execution.definition["States"][execution.state]
        if failure is None:
            try:
                self._written(_payload(result))
                self._leave(execution, state, {"result": result})
            except TaskFailed as too_large:
                failure = too_large
        if failure:
            self._failed(execution, state, failure, step=step + 1)

    def _failed(self, execution: Execution, state: Mapping[str, Any], failure: TaskFailed, *, step: int) -> None:
        """Retry the task, continue where the error is caught, or end the execution."""
        self._written([failure.error, failure.cause])
        delay = self._delay_of_retry(execution, state, failure.error)
        if delay is not None:
            self._clock.after(delay, lambda: self._try_again(execution, step))
            return
        for rule in state.get("Catch", []):
            if _matches(rule["ErrorEquals"], failure.error):
                error_output = {"Error": failure.error, "Cause": failure.cause[:MAX_CAUSE]}
                self._leave(execution, rule, {"errorOutput": error_output})
                return
        self.end(execution, "FAILED", error=failure.error, cause=failure.cause)

    def _try_again(self, execution: Execution, step: int) -> None:
        if execution.status == "RUNNING" and execution.step == step:
            self._work(execution)

    def _delay_of_retry(self, execution: Execution, state: Mapping[str, Any], error: str) -> float | None:
        for number, rule in enumerate(state.get("Retry", [])):
            if _matches(rule["ErrorEquals"], error):
                tried = execution.tries.get(number, 0)
                if tried >= rule.get("MaxAttempts", 3):
                    return None
                execution.tries[number] = tried + 1
                # The limit applies long before the power exceeds a float.
                delay = rule.get("IntervalSeconds", 1) * math.pow(rule.get("BackoffRate", 2), min(tried, 100))
                delay = min(delay, rule.get("MaxDelaySeconds", math.inf))
                return self._clock.random.uniform(0, delay) if rule.get("JitterStrategy") == "FULL" else delay
        return None

    def _leave(self, execution: Execution, how: Mapping[str, Any], states: dict[str, Any]) -> None:
        assigned = _payload(self._evaluated(execution, how.get("Assign", {}), states))
        given = states.get("result", states.get("errorOutput"))
        output = _payload(self._evaluated(execution, how["Output"], states)) if "Output" in how else given
        execution.variables.update(assigned)
        self._enter(execution, how["Next"], output)

    def end(self, execution: Execution, status: str, *, error: str = "", cause: str = "", output: Any = None) -> None:
        """End an execution, and the build that it waits for."""
        execution.status, execution.error, execution.cause, execution.output = status, error, cause[:MAX_CAUSE], output
        self.running.pop(execution.arn, None)
        execution.ended_at = self._clock.now
        execution.step += 1
        self._written([error, cause, output])
        if execution.build_id:
            self._tasks.stop_build(execution.build_id)
            execution.build_id = ""
        self._ended(execution)

    def _evaluated(self, execution: Execution, value: Any, states: Mapping[str, Any] | None = None) -> Any:
        context = {
            "Execution": {
                "Id": execution.arn,
                "Input": execution.input,
                "Name": execution.name,
                "RedriveCount": execution.redrives,
            },
            "State": {"Name": execution.state},
            "Task": {"Token": execution.token},
        }
        bound = {"input": execution.state_input, "context": context, **(states or {})}
        return evaluated(value, {**execution.variables, "states": bound})


def _matches(names: list[str], error: str) -> bool:
    return error in names or ("States.ALL" in names and error not in _UNCATCHABLE)


def _timeout(seconds: Any) -> int:
    """Return a state's TimeoutSeconds. Raises TaskFailed for an invalid value."""
    if isinstance(seconds, int) and 0 < seconds <= MAX_TIMEOUT:
        return seconds
    raise TaskFailed("States.QueryEvaluationError", f"TimeoutSeconds is out of range: {seconds}")


def _payload(value: Any) -> Any:
    """Return a state's input or output unchanged. Raises TaskFailed if it is too large."""
    if len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")) > MAX_PAYLOAD:
        words = "has a size exceeding the maximum number of bytes service limit"
        raise TaskFailed("States.DataLimitExceeded", f"The state/task {words}.")
    return value


def evaluated(value: Any, bindings: Mapping[str, Any]) -> Any:
    """Evaluate every JSONata expression in a value."""
    if isinstance(value, dict):
        return {key: evaluated(item, bindings) for key, item in value.items()}
    if isinstance(value, list):
        return [evaluated(item, bindings) for item in value]
    if isinstance(value, str) and value.startswith("{%"):
        expression = _compiled(value[2:-2].strip())
        frame = expression.create_frame()
        for name, bound in bindings.items():
            frame.bind(name, bound)
        return expression.evaluate(None, frame)
    return value


@cache
def _compiled(expression: str) -> Any:
    return jsonata.Jsonata(expression)
