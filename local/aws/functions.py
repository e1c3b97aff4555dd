"""Lambda functions: each execution environment is a process, with only the Lambda runtime's packages."""

import contextlib
import datetime
import hashlib
import io
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from local import ACCOUNT_ID, REGION
from local.aws import seams
from local.aws.cloud import Cloud
from local.aws.iam import Iam
from local.aws.metrics import put_embedded_metrics

_BOOTSTRAP = Path(__file__).with_name("bootstrap.py")
_IDLE_SECONDS = 120.0
_INIT_SECONDS = 10.0


class Died(Exception):
    """An environment's process ended instead of answering."""


class Environment:
    """One execution environment: a process, two pipes for messages, and a file for its output."""

    def __init__(self, cloud: Cloud, config: dict[str, Any], code: bytes) -> None:
        """Unpack the code and the layers, and start the process; it inherits no environment variables."""
        self.temporary = Path(tempfile.mkdtemp(prefix="function-", dir=cloud.data))
        self.last_used = time.monotonic()
        # Computed now, because the configuration can change later.
        self.identity = _identity(config)
        self.function: str = config["FunctionName"]
        self._output = (self.temporary / "output").open("w+b")
        self._read_so_far = 0
        task = _unpacked(cloud, code)
        resolve = seams.use("ministack.services.lambda_svc:_resolve_layer_zip")
        layers = [_unpacked(cloud, resolve(layer)) for layer in config.get("Layers") or []]
        to_child, self._to_child = os.pipe()
        self._from_child, from_child = os.pipe()
        self.process = subprocess.Popen(
            [str(cloud.lambda_python), "-u", str(_BOOTSTRAP), config["Handler"], str(to_child), str(from_child)],
            cwd=task,
            env=self._variables(cloud, config, [task, *(layer / "python" for layer in layers)]),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            pass_fds=(to_child, from_child),
            start_new_session=True,
        )
        os.close(to_child)
        os.close(from_child)

    def _variables(self, cloud: Cloud, config: dict[str, Any], folders: list[Path]) -> dict[str, str]:
        logging = config.get("LoggingConfig") or {}
        name = config["FunctionName"]
        reserved = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "HOME": str(self.temporary),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
            "LAMBDA_TASK_ROOT": str(folders[0]),
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "_HANDLER": config["Handler"],
            "AWS_ENDPOINT_URL": cloud.url,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{config['Runtime']}",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config.get("MemorySize", 128)),
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": config.get("Version", "$LATEST"),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_FORMAT": logging.get("LogFormat", "Text"),
            "AWS_LAMBDA_LOG_GROUP_NAME": logging.get("LogGroup", f"/aws/lambda/{name}"),
            "AWS_LAMBDA_LOG_STREAM_NAME": f"[$LATEST]{self.temporary.name}",
            "AWS_SDK_UA_APP_ID": self.temporary.name,  # not set by Lambda: call_faults.py needs it
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }
        own = (config.get("Environment") or {}).get("Variables") or {}
        return {**own, **reserved, **cloud.credentials(config["Role"], name)}

    def printed(self) -> str:
        """Return the process's output since the last call."""
        content = os.pread(self._output.fileno(), 1 << 26, self._read_so_far)
        self._read_so_far += len(content)
        return content.decode(errors="replace").rstrip("\n")

    def receive(self, seconds: float) -> dict[str, Any]:
        """Return the next message. Raises TimeoutError, or Died if the process has ended."""
        deadline = time.monotonic() + seconds
        size = struct.unpack(">I", self._read(4, deadline))[0]
        message: dict[str, Any] = json.loads(self._read(size, deadline))
        return message

    def _read(self, size: int, deadline: float) -> bytes:
        content = b""
        while len(content) < size:
            if not select.select([self._from_child], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError
            part = os.read(self._from_child, size - len(content))
            if not part:
                raise Died
            content += part
        return content

    def send(self, message: dict[str, Any]) -> None:
        """Send a message. Raises Died if the process has ended."""
        content = json.dumps(message).encode()
        content = struct.pack(">I", len(content)) + content
        try:
            while content:
                content = content[os.write(self._to_child, content) :]
        except BrokenPipeError:
            raise Died from None

    def kill(self) -> None:
        """Kill the process and all processes that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> str:
        """Kill the process, remove its files, and return the rest of its output."""
        self.kill()
        self.process.wait()
        printed = self.printed()
        for pipe in (self._to_child, self._from_child):
            os.close(pipe)
        self._output.close()
        shutil.rmtree(self.temporary, ignore_errors=True)
        return printed


class Functions:
    """Runs invocations in environments, and reuses idle ones."""

    def __init__(self, cloud: Cloud, iam: Iam) -> None:
        """Run functions in this cloud, and check permissions with `iam`."""
        self._cloud, self._iam = cloud, iam
        self._idle: dict[str, list[Environment]] = {}
        self._lock = threading.Lock()
        self.environments: WeakValueDictionary[str, Environment] = WeakValueDictionary()
        """Environments by name; the calls that they make contain the name."""
        self.counts = {"cold": 0, "warm": 0}

    def install(self) -> None:
        """Replace ministack's worker pool."""
        seams.replace("ministack.services.lambda_svc:_execute_function_warm", self.execute)
        seams.wrap("ministack.services.lambda_svc:_emit_lambda_logs", self._log)

    def execute(self, func: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        """Run one invocation; return {"body", "log"} and, if it failed, "error"."""
        config = func.get("config") or func
        environment = self._warm(config)
        started = environment is None
        environment = environment or Environment(self._cloud, config, func["code_zip"])
        self.environments[environment.temporary.name] = environment
        self.counts["cold" if started else "warm"] += 1
        return self._invoke(environment, config, event, request_id, cold=started)

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
        self, environment: Environment, config: dict[str, Any], event: Any, request_id: str, *, cold: bool
    ) -> dict[str, Any]:
        timeout = float(config.get("Timeout") or 3)
        try:
            if cold:
                ready = environment.receive(max(_INIT_SECONDS, timeout))
                if ready["kind"] == "init error":
                    return {"body": json.loads(ready["body"]), "error": True, "log": environment.close()}
            work = {
                "request_id": request_id,
                "function_arn": config["FunctionArn"],
                "event": json.dumps(event),
                "deadline_ms": int((time.time() + timeout) * 1000),
            }
            environment.send(work)
            answer = environment.receive(timeout)
            environment.receive(timeout)  # it is idle when it asks for the next invocation
        except TimeoutError:
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            message = f"{now} {request_id} Task timed out after {timeout:.2f} seconds"
            return _failure("Sandbox.Timedout", message, environment.close())
        except Died:
            log = environment.close()
            code = environment.process.returncode
            how = f"signal: {signal.Signals(-code).name.lower()}" if code < 0 else f"exit status {code}"
            message = f"RequestId: {request_id} Error: Runtime exited with error: {how}"
            return _failure("Runtime.ExitError", message, log)
        self._keep(environment)
        result = {"body": json.loads(answer["body"] or "null"), "log": environment.printed()}
        return result if answer["kind"] == "result" else {**result, "error": True}

    def _warm(self, config: dict[str, Any]) -> Environment | None:
        with self._lock:
            self._drop_idle(time.monotonic() - _IDLE_SECONDS)
            kept = self._idle.get(_identity(config))
            return kept.pop() if kept else None

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
        """Kill all processes, including busy ones."""
        for environment in list(self.environments.values()):
            environment.kill()


def _failure(error_type: str, message: str, log: str) -> dict[str, Any]:
    body = {"errorType": error_type, "errorMessage": message}
    return {"body": body, "error": True, "log": f"{log}\n{message}"}


def _identity(config: dict[str, Any]) -> str:
    """Return a text that differs between functions, and between versions and configurations of one function."""
    names = ("FunctionArn", "Version", "CodeSha256", "Handler", "Runtime", "Role", "Environment", "Timeout", "Layers")
    return json.dumps({name: config.get(name) for name in names}, sort_keys=True, default=str)


def _unpacked(cloud: Cloud, archive: bytes) -> Path:
    """Unpack an archive, unless it was unpacked before; return its folder."""
    folder = cloud.data / "code" / hashlib.sha256(archive).hexdigest()[:24]
    if not folder.is_dir():
        folder.parent.mkdir(exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            opened.extractall(unfinished)
        try:
            unfinished.rename(folder)
        except OSError:  # another invocation was faster
            shutil.rmtree(unfinished)
    return folder
