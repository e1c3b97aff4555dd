"""Lambda functions: runs invocations in execution environments, and reuses idle ones."""

import datetime
import json
import secrets
import signal
import threading
import time
from typing import Any
from weakref import WeakSet

from local import ACCOUNT_ID, REGION
from local.aws import seams
from local.aws.cloud import Cloud
from local.aws.environments import Died, Environment, InitFailed, Template, identity_of
from local.aws.iam import Iam
from local.aws.metrics import put_embedded_metrics

_IDLE_SECONDS = 300.0
_INIT_SECONDS = 10.0


class Functions:
    """Runs invocations in environments, and reuses idle ones."""

    def __init__(self, cloud: Cloud, iam: Iam) -> None:
        """Run functions in this cloud, and check permissions with `iam`."""
        self._cloud, self._iam = cloud, iam
        self._idle: dict[str, list[Environment]] = {}
        self._templates: dict[str, Template] = {}
        self._lock, self._starting = threading.Lock(), threading.Lock()
        self._environments: WeakSet[Environment] = WeakSet()
        self.running: dict[str, Environment] = {}
        """The environments that run an invocation, by its trace id, which is in the calls that it makes."""
        self.counts = {"cold": 0, "warm": 0}
        self._closed = False

    def install(self) -> None:
        """Replace ministack's worker pool."""
        seams.replace("ministack.services.lambda_svc:_execute_function_warm", self.execute)
        seams.wrap("ministack.services.lambda_svc:_emit_lambda_logs", self._log)

    def execute(self, func: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        """Run one invocation; return {"body", "log"} and, if it failed, "error"."""
        config = func.get("config") or func
        timeout = _timeout(config)
        environment = self._warm(config)
        self.counts["warm" if environment else "cold"] += 1
        try:
            environment = environment or self._cold(config, func["code_zip"], max(_INIT_SECONDS, timeout))
        except InitFailed as failed:
            if failed.error:
                return {"body": failed.error, "error": True, "log": failed.log}
            if failed.exit_code is None:
                return _timed_out(request_id, timeout, failed.log)
            return _exited(request_id, failed.exit_code, failed.log)
        self._environments.add(environment)
        if self._closed:
            environment.kill()
        trace_id = f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)};Sampled=0"
        self.running[trace_id] = environment
        try:
            return self._invoke(environment, config, event, request_id, trace_id)
        finally:
            del self.running[trace_id]

    def _log(self, old: Any, func: dict[str, Any], *rest: Any, **named: Any) -> None:
        """Log a call if the function's role may do so; writing to a deleted log group also requires CreateLogGroup."""
        config = func.get("config") or func
        group = (config.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{config['FunctionName']}"
        actions = ["logs:CreateLogStream", "logs:PutLogEvents"]
        if group not in seams.use("ministack.services.cloudwatch_logs:_log_groups"):
            actions.insert(0, "logs:CreateLogGroup")
        arn = f"arn:aws:logs:{REGION}:{ACCOUNT_ID}:log-group:{group}:log-stream:"
        if all(self._iam.allows(config["Role"], action, arn) for action in actions):
            old(func, *rest, **named)
            put_embedded_metrics(rest[1] if len(rest) > 1 else named["log_text"])

    def _invoke(
        self, environment: Environment, config: dict[str, Any], event: Any, request_id: str, trace_id: str
    ) -> dict[str, Any]:
        timeout = _timeout(config)
        work = {
            "request_id": request_id,
            "trace_id": trace_id,
            "function_arn": config["FunctionArn"],
            "event": json.dumps(event),
            "deadline_ms": int((time.time() + timeout) * 1000),
        }
        try:
            environment.send(work)
            answer = environment.receive(timeout)
            environment.receive(timeout)  # it is idle when it asks for the next invocation
        except TimeoutError:
            return _timed_out(request_id, timeout, environment.close())
        except Died:
            code = environment.exit_code()
            return _exited(request_id, code, environment.close())
        self._keep(environment)
        result = {"body": json.loads(answer["body"] or "null"), "log": environment.printed()}
        return result if answer["kind"] == "result" else {**result, "error": True}

    def _warm(self, config: dict[str, Any]) -> Environment | None:
        with self._lock:
            self._drop_idle(time.monotonic() - _IDLE_SECONDS)
            kept = self._idle.get(identity_of(config))
            return kept.pop() if kept else None

    def _cold(self, config: dict[str, Any], code: bytes, seconds: float) -> Environment:
        """Return a new environment. Raises InitFailed, also once the embedded AWS ends."""
        identity = identity_of(config)
        with self._starting:
            if self._closed:
                raise InitFailed(exit_code=-signal.SIGKILL)
            for known, template in list(self._templates.items()):
                if template.failure or (known != identity and template.last_used < time.monotonic() - _IDLE_SECONDS):
                    self._templates.pop(known).close()
            if identity not in self._templates:
                self._templates[identity] = Template(self._cloud, config, code)
            template = self._templates[identity]
            template.last_used = time.monotonic()
        return template.environment(seconds)

    def _keep(self, environment: Environment) -> None:
        environment.last_used = time.monotonic()
        with self._lock:
            self._idle.setdefault(environment.identity, []).append(environment)

    def _drop_idle(self, before: float) -> None:
        for key, kept in self._idle.items():
            for environment in [each for each in kept if each.last_used < before]:
                environment.close()
            self._idle[key] = [each for each in kept if each.last_used >= before]

    def close(self) -> None:
        """Kill all processes, including busy ones, and start no more."""
        with self._starting:
            self._closed = True
        for template in list(self._templates.values()):
            template.close()
        for environment in list(self._environments):
            environment.kill()


def _timeout(config: dict[str, Any]) -> float:
    return float(config.get("Timeout") or 3)


def _timed_out(request_id: str, timeout: float, log: str) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return _failure("Sandbox.Timedout", f"{now} {request_id} Task timed out after {timeout:.2f} seconds", log)


def _exited(request_id: str, code: int, log: str) -> dict[str, Any]:
    how = f"signal: {signal.Signals(-code).name.lower()}" if code < 0 else f"exit status {code}"
    return _failure("Runtime.ExitError", f"RequestId: {request_id} Error: Runtime exited with error: {how}", log)


def _failure(error_type: str, message: str, log: str) -> dict[str, Any]:
    body = {"errorType": error_type, "errorMessage": message}
    return {"body": body, "error": True, "log": f"{log}\n{message}"}
