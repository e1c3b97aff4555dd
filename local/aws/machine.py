"""Executions of state machines: moto's interpreter evaluates them, behind ministack's Step Functions API.

Every task is a call to this AWS, signed with the state machine's role. jsonata-python evaluates JSONata, for which
the interpreter would need a JVM.
"""

import base64
import contextvars
import datetime
import hashlib
import json
import os
import random
import re
import threading
import time
import uuid
from functools import lru_cache
from typing import Any

import jsonata

from local import ACCOUNT_ID, REGION
from local.aws import build_task, seams
from local.aws.cloud import Cloud
from local.aws.codebuild import CodeBuild
from local.aws.iam import LOG_DELIVERY, Denied, Iam
from local.aws.logs import LogStream

_S = "ministack.services.stepfunctions:"
_ASL = "moto.stepfunctions.parser.asl."
_EVAL = f"{_ASL}eval."
_GONE = "Task Timed Out: 'Provided task does not exist anymore'"
_LOGGED_NAME = re.compile(r"[A-Za-z0-9_-]+")
"""Executions with other names have no log: StartExecutionInput.name in the service's model."""
_MAX_INPUT = 262_144
_TOO_LONG = (
    "1 validation error detected: Value '{}' at 'input' failed to satisfy constraint: "
    "Member must have length less than or equal to {}"
)
_TRACING = ("xray:GetSamplingRules", "xray:GetSamplingTargets", "xray:PutTelemetryRecords", "xray:PutTraceSegments")

_role = threading.local()


class Machine:
    """Runs executions, and handles the calls with their task tokens."""

    def __init__(self, cloud: Cloud, iam: Iam, builds: CodeBuild) -> None:
        """Call tasks in this cloud, check permissions with `iam`, and wait for `builds`."""
        self._cloud, self._iam, self._builds = cloud, iam, builds
        self._workers: dict[str, Any] = {}
        self._settled: set[str] = set()
        self._left: dict[str, Any] = {}
        """The final environments of executions that did not succeed, by ARN; a redrive continues from them."""
        self.traced: list[str] = []
        """The ARNs of the executions that AWS X-Ray has traced."""
        self._began_with: dict[str, dict[str, Any]] = {}
        """The state machine of each execution, as it was at its start; a later update does not change it."""

    def install(self) -> None:
        """Replace ministack's engine, and add the interpreter's missing parts."""
        handlers = seams.use("ministack.app:SERVICE_HANDLERS")
        handlers["states"] = self._with_redrive(handlers["states"])
        seams.replace(f"{_S}_run_execution", self._run)
        seams.wrap(f"{_S}_start_execution", self._start)
        seams.wrap(f"{_S}_stop_execution", self._stop)
        seams.wrap(f"{_S}_create_state_machine", self._create)
        seams.replace(f"{_S}_send_task_success", self._send_task_success)
        seams.replace(f"{_S}_send_task_failure", self._send_task_failure)
        seams.replace(f"{_S}_send_task_heartbeat", self._send_task_heartbeat)
        seams.wrap("ministack.services.cloudformation.provisioners:_sfn_definition", self._definition)
        task = f"{_ASL}component.state.exec.state_task.service.state_task_service:StateTaskService._eval_execution"
        seams.wrap(task, _with_role)
        boto3 = _Boto3(self._cloud)
        seams.replace(f"{_ASL}utils.boto_client:boto3", boto3)
        build_task.install(lambda: boto3.client("codebuild"), self._builds.wait)
        seams.replace(f"{_ASL}component.common.retry.retrier_decl:time", _ScaledTime(self._cloud))
        seams.replace(f"{_ASL}jsonata.jsonata:_eval_jsonata", evaluate)
        seams.replace(f"{_EVAL}states:long_uid", _task_token)
        for module in ("jsonata.jsonata", "eval.states", "eval.variable_store"):
            seams.replace(f"{_ASL}{module}:encode_jsonata_variable_declarations", _declarations)
        stubs = seams.use(f"{_ASL}component.intrinsic.jsonata:_DECLARATION_BY_VARIABLE_REFERENCE")
        for name in _FUNCTIONS:
            stubs.pop(f"${name}", None)  # the stubs say "currently not supported"; evaluate() registers our functions

    # --- executions
    def _run(self, exec_arn: str) -> None:
        """Evaluate an execution to its end, in its own thread."""
        execution = seams.use(f"{_S}_executions")[exec_arn]
        machine = dict(seams.use(f"{_S}_state_machines")[execution["stateMachineArn"]])
        machine = self._began_with.setdefault(exec_arn, machine)
        log = self._log(machine, exec_arn)
        if machine.get("isTraced"):
            self._trace(machine["roleArn"], exec_arn)
        worker = seams.use("moto.stepfunctions.parser.backend.execution_worker:ExecutionWorker")(
            evaluation_details=_details(execution, machine),
            exec_comm=_NoOne(),
            cloud_watch_logging_session=log,
            activity_store={},
        )
        _continue_from(worker, self._left.pop(exec_arn, None), redrives=execution.get("redriveCount", 0))
        self._workers[exec_arn] = worker
        broken: list[Exception] = []
        logic = threading.Thread(target=_keeping_errors, args=(worker._execution_logic, broken), daemon=True)
        logic.start()
        while logic.is_alive() and execution["status"] == "RUNNING":
            logic.join(0.02)
            self._show_history(execution, worker)
        if execution["status"] == "RUNNING":
            self._end(execution, worker, broken)
        if execution["status"] != "SUCCEEDED":
            self._left[exec_arn] = worker.env
        self._forget(exec_arn, worker)
        if log:
            log.close()

    def _trace(self, role_arn: str, exec_arn: str) -> None:
        """Trace an execution if its machine's role may: https://docs.aws.amazon.com/step-functions/latest/dg/xray-iam.html."""
        if all(self._iam.allows(role_arn, action) for action in _TRACING):
            self.traced.append(exec_arn)

    def _show_history(self, execution: dict[str, Any], worker: Any) -> None:
        if worker.env is not None and execution["status"] == "RUNNING":
            execution["events"] = worker.env.event_manager._history_event_list

    def _end(self, execution: dict[str, Any], worker: Any, broken: list[Exception]) -> None:
        self._show_history(execution, worker)
        state = worker.env.program_state() if worker.env is not None else None
        execution["stopDate"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        if isinstance(state, seams.use(f"{_EVAL}program_state:ProgramEnded")):
            execution["output"] = json.dumps(worker.env.states.get_input(), separators=(",", ":"))
            execution["status"] = "SUCCEEDED"
        elif isinstance(state, seams.use(f"{_EVAL}program_state:ProgramTimedOut")):
            execution["status"] = "TIMED_OUT"
        elif isinstance(state, seams.use(f"{_EVAL}program_state:ProgramError")):
            execution.update(status="FAILED", error=state.error.get("error"), cause=state.error.get("cause"))
        else:
            execution.update(status="FAILED", error="States.Runtime", cause=f"{broken or state}")
        seams.use(f"{_S}_emit_execution_status_event")(execution)

    def _forget(self, exec_arn: str, worker: Any) -> None:
        self._workers.pop(exec_arn, None)
        if worker.env is not None:
            self._settled.update(worker.env.callback_pool_manager._pool)

    def _start(self, old: Any, data: dict[str, Any]) -> Any:
        """Refuse a long input. While an execution runs, return it for a second start with the same name and input."""
        if len(data.get("input", "").encode()) > _MAX_INPUT:
            return _refusal("ValidationException", _TOO_LONG.format(data["input"], _MAX_INPUT))
        base = seams.use(f"{_S}_resolve_state_machine_arn")(data.get("stateMachineArn", ""))
        if base and data.get("name"):
            arn = f"{base.replace(':stateMachine:', ':execution:')}:{data['name']}"
            known = seams.use(f"{_S}_executions").get(arn)
            if known and known["status"] == "RUNNING" and known["input"] == data.get("input", "{}"):
                answer = {"executionArn": arn, "startDate": known["startDate"]}
                return seams.use("ministack.core.responses:json_response")(answer)
        return old(data)

    def _stop(self, old: Any, data: dict[str, Any]) -> Any:
        """Stop an execution, interrupt its waiting tasks, and invalidate their tokens."""
        worker = self._workers.get(data.get("executionArn", ""))
        execution = seams.use(f"{_S}_executions").get(data.get("executionArn", ""))
        if execution and worker and worker.env is not None:
            # The interpreter may still append to its list; the history must end with the abort.
            execution["events"] = list(worker.env.event_manager._history_event_list)
        answer = old(data)
        if worker and worker.env is not None:
            now = datetime.datetime.now(datetime.UTC)
            worker.env.set_stop(stop_date=now, error=data.get("error"), cause=data.get("cause"))
            self._settled.update(worker.env.callback_pool_manager._pool)
            for endpoint in list(worker.env.callback_pool_manager._pool.values()):
                endpoint.interrupt_all()
        return answer

    def _with_redrive(self, old: Any) -> Any:
        """Add RedriveExecution, which ministack does not have."""

        async def handle(method: str, path: str, headers: Any, body: Any, query: Any) -> Any:
            if headers.get("x-amz-target", "").endswith(".RedriveExecution"):
                return self._redrive(json.loads(body))
            return await old(method, path, headers, body, query)

        return handle

    def _redrive(self, data: dict[str, Any]) -> Any:
        arn = data["executionArn"]
        execution = seams.use(f"{_S}_executions").get(arn)
        if execution is None:
            return _refusal("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'")
        if arn not in self._left:
            return _refusal("ExecutionNotRedrivable", f"Execution is {execution['status']} and cannot be redriven")
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        again = {"status": "RUNNING", "redriveCount": execution.get("redriveCount", 0) + 1, "redriveDate": now}
        execution.update(again, stopDate=None, error=None, cause=None)
        threading.Thread(target=contextvars.copy_context().run, args=(self._run, arn), daemon=True).start()
        return seams.use("ministack.core.responses:json_response")({"redriveDate": now})

    # --- task tokens
    def _send_task_success(self, data: dict[str, Any]) -> Any:
        try:
            json.loads(data.get("output", ""))
        except ValueError:
            return _refusal("InvalidOutput", "Invalid Output: 'Invalid JSON'")
        success = seams.use(f"{_EVAL}callback.callback:CallbackOutcomeSuccess")
        return self._answer(data, success(callback_id=data["taskToken"], output=data["output"]))

    def _send_task_failure(self, data: dict[str, Any]) -> Any:
        failure = seams.use(f"{_EVAL}callback.callback:CallbackOutcomeFailure")
        token = data["taskToken"]
        return self._answer(data, failure(callback_id=token, error=data.get("error"), cause=data.get("cause")))

    def _send_task_heartbeat(self, data: dict[str, Any]) -> Any:
        return self._answer(data, None)

    def _answer(self, data: dict[str, Any], outcome: Any) -> Any:
        """Pass an outcome, or a heartbeat if it is None, to the task that waits for the token."""
        token = data["taskToken"]
        for worker in list(self._workers.values()):
            if worker.env is None or token in self._settled:
                continue
            pool = worker.env.callback_pool_manager
            if pool.get(token) is None:
                continue
            if outcome is not None:
                self._settled.add(token)
            try:
                _ = pool.heartbeat(token) if outcome is None else pool.notify(token, outcome)
            except seams.use(f"{_EVAL}callback.callback:CallbackNotifyConsumerError"):
                return _refusal("TaskTimedOut", _GONE)
            return seams.use("ministack.core.responses:json_response")({})
        if token in self._settled:
            return _refusal("TaskTimedOut", _GONE)
        return _refusal("InvalidToken", "Invalid Token: 'Invalid token'")

    # --- definitions
    def _create(self, old: Any, data: dict[str, Any]) -> Any:
        try:
            self._check(data.get("definition", ""), data.get("roleArn", ""), data.get("loggingConfiguration"))
        except Denied as error:
            return _refusal("AccessDeniedException", str(error))
        except ValueError as error:
            return _refusal("InvalidDefinition", str(error))
        return old(data)

    def _definition(self, old: Any, props: dict[str, Any]) -> str:
        """Check a definition from CloudFormation; an error fails the deployment."""
        text: str = old(props)
        try:
            self._check(text, props.get("RoleArn", ""), props.get("LoggingConfiguration"))
        except Denied as error:
            raise ValueError(str(error)) from None
        return text

    def _check(self, definition: str, role_arn: str, logging: dict[str, Any] | None) -> None:
        left = sorted(set(re.findall(r"\$\{\w+\}", definition)))
        if left:
            raise ValueError(f"Invalid State Machine Definition: nothing is substituted for {', '.join(left)}")
        try:
            _program(definition)
        except Exception as error:
            raise ValueError(f"Invalid State Machine Definition: {error}") from error
        if not self._iam.trusts(role_arn, "states.amazonaws.com"):
            raise Denied(f"states.amazonaws.com is not authorized to assume the provided role: {role_arn}")
        if {key.lower(): value for key, value in (logging or {}).items()}.get("level", "OFF") != "OFF":
            self._iam.need(role_arn, LOG_DELIVERY)
        if build_task.RESOURCE in definition:
            self._iam.need(role_arn, build_task.RULE_ACTIONS, build_task.RULE_ARN)

    def _log(self, machine: dict[str, Any], exec_arn: str) -> "_ExecutionLog | None":
        config = _lower(machine.get("loggingConfiguration") or {})
        name = exec_arn.rsplit(":", 1)[-1]
        if config.get("level", "OFF") == "OFF" or not _LOGGED_NAME.fullmatch(name):
            return None
        arn = config["destinations"][0]["cloudwatchlogsloggroup"]["loggrouparn"]
        group = arn.split(":log-group:")[1].split(":")[0]
        day = time.strftime("%Y-%m-%d-%H-%M", time.gmtime())
        stream = f"states/{machine['name']}/{day}/{name}"
        return _ExecutionLog(self._cloud, group, stream, exec_arn, config)


class _ExecutionLog:
    """The object that the interpreter writes an execution's log to."""

    def __init__(self, cloud: Cloud, group: str, stream: str, exec_arn: str, config: dict[str, Any]) -> None:
        self.execution_arn, self.configuration, self._level = exec_arn, self, config["level"]
        self.include_execution_data = bool(config.get("includeexecutiondata"))
        self._stream = LogStream(cloud.client("logs"), group, re.sub(r"[:*]", "-", stream))

    def log_level_filter(self, history_event_type: Any) -> bool:
        enabled: bool = seams.use(f"{_EVAL}event.logging:is_logging_enabled_for")(self._level, history_event_type)
        return enabled

    def publish_history_log(self, history_log: Any) -> None:
        self._stream.put(json.dumps(history_log, default=str))

    def close(self) -> None:
        self._stream.close()


class _NoOne:
    """Receives the interpreter's notice that it has ended, and ignores it: `_run` checks that itself."""

    def terminated(self) -> None:
        """Ignore the notice."""


class _Boto3:
    """Replaces boto3 in the interpreter: its clients call this AWS with the current execution's role."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def client(self, service_name: str, **_: Any) -> Any:
        return self._cloud.client(service_name, _role.arn, _role.session)


class _ScaledTime:
    """Replaces `time` in the interpreter: waits between retries pass at the cloud's speed."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def sleep(self, seconds: float) -> None:
        time.sleep(self._cloud.scaled(seconds))


@lru_cache(maxsize=64)
def _program(definition: str) -> Any:
    """Parse a definition. To evaluate a program does not change it, so all executions of a definition share one."""
    return seams.use(f"{_ASL}parse.asl_parser:AmazonStateLanguageParser").parse(definition)[0]


def _continue_from(worker: Any, left: Any, *, redrives: int) -> None:
    """Make an execution start in the state where it ended before, with that state's input and all variables.

    Also set the number of redrives in the context object, which the interpreter lacks.
    """
    make, parse = worker._get_evaluation_environment, worker._get_evaluation_entrypoint

    def made() -> Any:
        env = make()
        env.states.context_object.context_object_data["Execution"]["RedriveCount"] = redrives
        if left:
            env.variable_store = left.variable_store
            env.states.reset(left.states.get_input())
        return env

    def parsed() -> Any:
        if not left:
            return _program(worker._evaluation_details.state_machine_details.definition)
        program = parse()
        program.start_at.start_at_name = left.states.context_object.context_object_data["State"]["Name"]
        return program

    worker._get_evaluation_environment, worker._get_evaluation_entrypoint = made, parsed


def _with_role(old: Any, task: Any, env: Any) -> Any:
    """Evaluate a task with its execution's role as the current one, and with a new task token for each retry."""
    context = env.states.context_object
    if "Task" in context.context_object_data and context.context_object_data["State"]["RetryCount"]:
        # The interpreter uses one token for all attempts; the second would get the answer to the first.
        env.callback_pool_manager.add(context.update_task_token())
    _role.arn = env.aws_execution_details.role_arn
    _role.session = env.states.context_object.context_object_data["Execution"]["Name"][:60]
    return old(task, env)


def _details(execution: dict[str, Any], machine: dict[str, Any]) -> Any:
    role, arn, given = machine["roleArn"], execution["executionArn"], json.loads(execution["input"] or "{}")
    make = {
        name: seams.use(f"{_EVAL}evaluation_details:{name}")
        for name in ("EvaluationDetails", "AWSExecutionDetails", "ExecutionDetails", "StateMachineDetails")
    }
    return make["EvaluationDetails"](
        aws_execution_details=make["AWSExecutionDetails"](ACCOUNT_ID, REGION, role),
        execution_details=make["ExecutionDetails"](arn, execution["name"], role, given, execution["startDate"]),
        state_machine_details=make["StateMachineDetails"](
            machine["stateMachineArn"], machine["name"], machine["type"], machine["definition"]
        ),
    )


def _keeping_errors(logic: Any, errors: list[Exception]) -> None:
    try:
        logic()
    except Exception as error:  # noqa: BLE001 - any error of the interpreter fails the execution
        errors.append(error)


def _refusal(code: str, message: str) -> Any:
    return seams.use("ministack.core.responses:error_response_json")(code, message, 400)


def _task_token() -> str:
    """Return a token as long as a real one, so that it does not fit where a real one would not."""
    return "AQCUAAAAKgAAAAMAAAAAAAAAA" + base64.b64encode(os.urandom(540)).decode()


def _lower(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.lower(): _lower(item) for key, item in value.items()}
    return [_lower(item) for item in value] if isinstance(value, list) else value


# --- JSONata
def evaluate(expression: str) -> Any:
    """Evaluate a JSONata expression with the functions that Step Functions adds."""
    compiled = jsonata.Jsonata(expression)
    for name, function in _FUNCTIONS.items():
        compiled.register_lambda(name, function)
    try:
        return _plain(compiled.evaluate(None))
    except Exception as error:
        raise seams.use(f"{_ASL}jsonata.jsonata:JSONataException")("UNKNOWN", str(error)) from error


def _declarations(bindings: dict[str, Any]) -> str:
    """Return variables as JSONata assignments; the interpreter's own function does not escape quotes."""
    texts = {name: json.dumps(value, default=str, ensure_ascii=False) for name, value in bindings.items()}
    return "".join(f"{name}:={text};" for name, text in texts.items())


def _plain(value: Any) -> Any:
    """Return plain JSON values: built-in lists and dictionaries, and whole numbers as integers."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _hash(text: str, algorithm: str) -> str:
    return hashlib.new(algorithm.replace("-", "").lower(), str(text).encode()).hexdigest()


_FUNCTIONS: dict[str, Any] = {
    # https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html
    "hash": _hash,
    "parse": json.loads,
    "partition": lambda values, size: [values[at : at + int(size)] for at in range(0, len(values), int(size))],
    "random": lambda *seed: random.Random(*seed).random(),  # noqa: S311 - the real function does not promise more
    "range": lambda first, last, step: list(range(int(first), int(last) + 1, int(step))),
    "uuid": lambda: str(uuid.uuid4()),
}
