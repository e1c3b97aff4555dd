"""Execution environments of functions: processes with only the Lambda runtime's packages.

As with Lambda's SnapStart, a function is initialized once, in a template: a process that has imported the handler. Each
environment is a copy of it, so that starting one takes milliseconds.
"""

import contextlib
import hashlib
import io
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

from local import REGION
from local.aws import seams
from local.aws.cloud import Cloud

_BOOTSTRAP = Path(__file__).with_name("bootstrap.py")
_END_SECONDS = 1.0


class Died(Exception):
    """An environment's process ended instead of answering."""


class InitFailed(Exception):
    """A function could not be initialized: with its own error, or with an exit code, or else in time."""

    def __init__(self, error: dict[str, Any] | None = None, exit_code: int | None = None) -> None:
        """The error is in Lambda's form."""
        super().__init__()
        self.error, self.exit_code, self.log = error, exit_code, ""


class _Pipes:
    """Messages to and from a process: two pipes, and a file for its output."""

    def __init__(self, temporary: Path) -> None:
        """Create them; `theirs` are the process's ends: to read, to write, and for output."""
        self._output = (temporary / "output").open("w+b")
        self._read_so_far = 0
        read, self._to_child = os.pipe()
        self._from_child, write = os.pipe()
        self.theirs = [read, write, self._output.fileno()]

    def started(self) -> None:
        """Close the process's ends of the pipes, after the process has got them."""
        for end in self.theirs[:2]:
            os.close(end)

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

    def close(self) -> None:
        """Close this side's ends."""
        for pipe in (self._to_child, self._from_child):
            os.close(pipe)
        self._output.close()


class Template:
    """A process that has imported a function's handler, and copies itself for each environment."""

    def __init__(self, cloud: Cloud, config: dict[str, Any], code: bytes) -> None:
        """Unpack the code and the layers, and start the process; it inherits no environment variables."""
        self._cloud = cloud
        self.function: str = config["FunctionName"]
        self.identity = identity_of(config)
        self.last_used = time.monotonic()
        self.said = ""
        """The output of the initialization, which is in the log of each environment."""
        self.failure: InitFailed | None = None
        self._is_initialized = False
        self._lock = threading.Lock()
        self._temporary = Path(tempfile.mkdtemp(prefix="function-", dir=cloud.data))
        self._pipes = _Pipes(self._temporary)
        task = _unpacked(cloud, code)
        resolve = seams.use("ministack.services.lambda_svc:_resolve_layer_zip")
        layers = [_unpacked(cloud, resolve(layer)) for layer in config.get("Layers") or []]
        self.requests, theirs = socket.socketpair()
        read, write, output = self._pipes.theirs
        ends = [read, write, theirs.fileno()]
        self._process = subprocess.Popen(
            [str(cloud.lambda_python), "-u", str(_BOOTSTRAP), config["Handler"], *map(str, ends)],
            cwd=task,
            env={
                **_variables(cloud, config, [task, *(layer / "python" for layer in layers)]),
                **own_variables(self._temporary),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=ends,
            start_new_session=True,
        )
        theirs.close()
        self._pipes.started()

    def environment(self, seconds: float) -> "Environment":
        """Return a new environment. Raises InitFailed if the function is not initialized within this time."""
        with self._lock:
            if self.failure is None and not self._is_initialized:
                self._initialize(seconds)
            if self.failure:
                raise self.failure
            try:
                return Environment(self, Path(tempfile.mkdtemp(prefix="function-", dir=self._cloud.data)))
            except Died:
                raise self._fail(InitFailed(exit_code=self._exit_code())) from None

    def _initialize(self, seconds: float) -> None:
        try:
            ready = self._pipes.receive(seconds)
        except TimeoutError:
            self._fail(InitFailed())
        except Died:
            self._fail(InitFailed(exit_code=self._exit_code()))
        else:
            if ready["kind"] == "init error":
                self._fail(InitFailed(error=json.loads(ready["body"])))
            self._is_initialized, self.said = True, self._pipes.printed()

    def _exit_code(self) -> int:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(_END_SECONDS)
        return -signal.SIGKILL

    def _fail(self, failure: InitFailed) -> InitFailed:
        failure.log = self._pipes.printed()
        self.failure = failure
        return failure

    def close(self) -> None:
        """End the process; its environments live on."""
        self._process.kill()
        with self._lock:
            self.requests.close()
            self._process.wait()
            self._pipes.close()
            shutil.rmtree(self._temporary, ignore_errors=True)


class Environment:
    """One execution environment: a copy of a function's template."""

    def __init__(self, template: Template, temporary: Path) -> None:
        """Copy the template, with its own folder for temporary files. Raises Died if the template has ended."""
        self.function, self.identity = template.function, template.identity
        self.temporary, self.last_used = temporary, time.monotonic()
        self._pipes, self._said = _Pipes(temporary), template.said
        self.send, self.receive = self._pipes.send, self._pipes.receive
        self._status, status = os.pipe()
        request = json.dumps(own_variables(temporary)).encode() + b"\n"
        try:
            socket.send_fds(template.requests, [request], [*self._pipes.theirs, status])
        except OSError:
            raise Died from None
        finally:
            os.close(status)
            self._pipes.started()
        # The copy leads a process group. Its parent reports how it ends.
        group = os.read(self._status, 4)
        if not group:
            raise Died
        self._group = struct.unpack(">I", group)[0]

    def printed(self) -> str:
        """Return the process's output since the last call, which begins with that of the initialization."""
        said, self._said = self._said, ""
        return "\n".join(filter(None, (said, self._pipes.printed())))

    def kill(self) -> None:
        """Kill the process and all processes that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._group, signal.SIGKILL)

    def exit_code(self) -> int:
        """Return the exit code of a process that has ended, as Popen does; one that has not is killed."""
        if not select.select([self._status], [], [], _END_SECONDS)[0]:
            self.kill()
        status = os.read(self._status, 4)
        return os.waitstatus_to_exitcode(struct.unpack(">I", status)[0]) if status else -signal.SIGKILL

    def close(self) -> str:
        """Kill the process, remove its files, and return the rest of its output."""
        self.kill()
        while os.read(self._status, 4):
            pass
        os.close(self._status)
        printed = self.printed()
        self._pipes.close()
        shutil.rmtree(self.temporary, ignore_errors=True)
        return printed


def identity_of(config: dict[str, Any]) -> str:
    """Return a text that differs between functions, and between versions and configurations of one function."""
    names = ("FunctionArn", "Version", "CodeSha256", "Handler", "Runtime", "Role", "Environment", "Timeout", "Layers")
    return json.dumps({name: config.get(name) for name in names}, sort_keys=True, default=str)


def _variables(cloud: Cloud, config: dict[str, Any], folders: list[Path]) -> dict[str, str]:
    """Return the variables that all environments of a function have."""
    logging = config.get("LoggingConfig") or {}
    name = config["FunctionName"]
    reserved = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
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
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }
    if sys.platform == "darwin":
        # Without this, macOS ends a copy of a process that uses its frameworks, as looking for proxies does.
        reserved["OBJC_DISABLE_INITIALIZE_FORK_SAFETY"] = "YES"
    own = (config.get("Environment") or {}).get("Variables") or {}
    return {**own, **reserved, **cloud.credentials(config["Role"], name)}


def own_variables(temporary: Path) -> dict[str, str]:
    """Return the variables that differ between the environments of a function."""
    return {
        "HOME": str(temporary),
        "TMPDIR": str(temporary),
        "AWS_LAMBDA_LOG_STREAM_NAME": f"[$LATEST]{temporary.name}",
    }


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
