"""CodeBuild's builds: runs a project's buildspec here, with the project's role, and sends its status events.

ministack keeps the projects. A build, like a function, inherits almost nothing from this process's environment. Its
`docker`, `aws` and `python3` replace those in CodeBuild's images
(https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html).
"""

import contextvars
import copy
import os
import shlex
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from local import ACCOUNT_ID, REGION
from local.aws import seams
from local.aws.cloud import Cloud
from local.aws.containers import Containers
from local.aws.delivery import publish
from local.aws.json_service import JsonService, Operation, Refused
from local.aws.logs import Log, log_stream
from local.folders import remove

_PHASES = ("INSTALL", "PRE_BUILD", "BUILD", "POST_BUILD")
_ENVIRONMENT_OVERRIDES = {"environmentTypeOverride": "type", "imageOverride": "image"}
_TAKEN = {"projectName", "environmentVariablesOverride", *_ENVIRONMENT_OVERRIDES}
_HOST_SETTINGS = ("PIP_", "UV_", "SSL_CERT_", "GIT_SSL_")
"""This machine's settings for package indexes and git servers. A build needs them to reach these."""


class _Ended(Exception):
    """A phase did not succeed: its status, and why."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class Build:
    """One build: its description, and its events for stopped and ended."""

    def __init__(self, project: dict[str, Any], asked: dict[str, Any], number: int) -> None:
        """Describe a new build from a project and a StartBuild request."""
        name, run = project["name"], str(uuid.uuid4())
        environment = copy.deepcopy(project["environment"])
        environment |= {key: asked[given] for given, key in _ENVIRONMENT_OVERRIDES.items() if given in asked}
        overridden = {each["name"]: each for each in asked.get("environmentVariablesOverride", [])}
        declared = {each["name"]: each for each in environment.get("environmentVariables", [])}
        environment["environmentVariables"] = list((declared | overridden).values())
        group = project.get("logGroup", f"/aws/codebuild/{name}")
        self.role = str(project["serviceRole"])
        self.spec = str(project["source"].get("buildspec", ""))
        self.stopped, self.ended = threading.Event(), threading.Event()
        self.described: dict[str, Any] = {
            "id": f"{name}:{run}",
            "arn": f"arn:aws:codebuild:{REGION}:{ACCOUNT_ID}:build/{name}:{run}",
            "buildNumber": number,
            "projectName": name,
            "serviceRole": self.role,
            "buildStatus": "IN_PROGRESS",
            "currentPhase": "SUBMITTED",
            "buildComplete": False,
            "startTime": time.time(),
            "phases": [],
            "source": {"type": project["source"]["type"]},
            "environment": environment,
            "timeoutInMinutes": project.get("timeoutInMinutes", 60),
            "logs": {"groupName": group, "streamName": run, "deepLink": _page(group, run)},
        }

    @property
    def session(self) -> str:
        """The name of the build's role session."""
        return f"AWSCodeBuild-{self.described['id'].rpartition(':')[2]}"

    def tell(self) -> None:
        """Send the build's status to EventBridge."""
        detail = {
            "build-id": self.described["arn"],
            "build-status": self.described["buildStatus"],
            "project-name": self.described["projectName"],
            "current-phase": self.described["currentPhase"],
        }
        publish("aws.codebuild", "CodeBuild Build State Change", detail, self.described["arn"])

    def begin(self, phase: str) -> dict[str, Any]:
        """Start a phase; return its description."""
        entered = {"phaseType": phase, "startTime": time.time()}
        self.described["currentPhase"] = phase
        self.described["phases"].append(entered)
        return entered


class CodeBuild:
    """The account's builds, and the API for them."""

    def __init__(self, cloud: Cloud, containers: Containers) -> None:
        """Start without builds. They will run in this cloud, and build images with `containers`."""
        self._cloud, self._containers = cloud, containers
        self._builds: dict[str, Build] = {}
        self._threads: list[threading.Thread] = []
        self._room = threading.Event()
        self._room.set()
        self._operations: dict[str, Operation] = {
            "StartBuild": self._start,
            "StopBuild": self._stop,
            "BatchGetBuilds": self._get,
            "ListBuildsForProject": self._list,
        }

    def install(self) -> None:
        """Handle the API calls for builds; ministack handles those for projects."""
        handlers = seams.use("ministack.app:SERVICE_HANDLERS")
        service = JsonService(
            "codebuild", self._operations, invalid="InvalidInputException", otherwise=handlers["codebuild"]
        )
        handlers["codebuild"] = service.handle

    def hold(self, held: bool) -> None:
        """Keep new builds in the phase QUEUED, or let them continue."""
        if held:
            self._room.clear()
        else:
            self._room.set()

    def wait(self, build_id: str, seconds: float) -> bool:
        """Wait this many seconds for a build to end; return whether it has ended."""
        return self._builds[build_id].ended.wait(seconds)

    def close(self) -> None:
        """Stop all builds, and wait until they have ended."""
        for build in self._builds.values():
            build.stopped.set()
        for thread in self._threads:
            thread.join()

    # --- operations
    def _start(self, asked: dict[str, Any], _: dict[str, str]) -> dict[str, Any]:
        unknown = sorted(set(asked) - _TAKEN)
        if unknown:
            raise Refused("InvalidInputException", f"{', '.join(unknown)}: not overridden in the embedded AWS")
        project = seams.use("ministack.services.codebuild:_projects").get(asked["projectName"])
        if project is None:
            raise Refused("ResourceNotFoundException", f"Project cannot be found: {asked['projectName']}")
        build = Build(project, asked, len(self._builds) + 1)
        self._builds[build.described["id"]] = build
        build.tell()
        thread = threading.Thread(target=contextvars.copy_context().run, args=(self._live, build), daemon=True)
        self._threads.append(thread)
        thread.start()
        return {"build": build.described}

    def _stop(self, asked: dict[str, Any], _: dict[str, str]) -> dict[str, Any]:
        build = self._find(asked["id"])
        if build is None:
            raise Refused("ResourceNotFoundException", f"Build {asked['id']} cannot be found")
        build.stopped.set()
        build.ended.wait(10)
        return {"build": build.described}

    def _get(self, asked: dict[str, Any], _: dict[str, str]) -> dict[str, Any]:
        found = {each: self._find(each) for each in asked["ids"]}
        return {
            "builds": [build.described for build in found.values() if build],
            "buildsNotFound": [each for each, build in found.items() if not build],
        }

    def _list(self, asked: dict[str, Any], _: dict[str, str]) -> dict[str, Any]:
        ids = [key for key, each in self._builds.items() if each.described["projectName"] == asked["projectName"]]
        return {"ids": ids if asked.get("sortOrder") == "ASCENDING" else ids[::-1]}

    def _find(self, name: str) -> Build | None:
        return self._builds.get(name.rpartition(":build/")[2])

    # --- a build's life
    def _live(self, build: Build) -> None:
        """Take a build through its phases, in its own thread."""
        folder = self._cloud.data / "builds" / build.session
        folder.mkdir(parents=True)
        status = "SUCCEEDED"
        try:
            for phase in ("SUBMITTED", "QUEUED", "PROVISIONING", "DOWNLOAD_SOURCE"):
                entered = build.begin(phase)
                while phase == "QUEUED" and not self._room.wait(0.02) and not build.stopped.is_set():
                    pass
                entered.update(phaseStatus="SUCCEEDED", endTime=time.time())
            self._run(build, folder)
        except _Ended as error:
            status = error.status
        except Exception:
            status = "FAULT"  # CodeBuild's status for an error in the service itself
            raise
        finally:
            remove(folder)
            build.begin("COMPLETED")
            build.described.update(buildStatus=status, buildComplete=True, endTime=time.time())
            build.ended.set()
            build.tell()

    def _run(self, build: Build, folder: Path) -> None:
        """Run the buildspec. Raises _Ended if a phase does not succeed."""
        spec = yaml.safe_load(build.spec)
        log = self._log(build)
        try:
            environment = self._environment(build, folder)
            deadline = time.monotonic() + build.described["timeoutInMinutes"] * 60
            for phase in _PHASES:
                commands = (spec["phases"].get(phase.lower()) or {}).get("commands", [])
                self._phase(build, phase, _script(commands, folder), environment, log, deadline)
            for phase in ("UPLOAD_ARTIFACTS", "FINALIZING"):
                build.begin(phase).update(phaseStatus="SUCCEEDED", endTime=time.time())
        finally:
            log.close()

    def _phase(
        self, build: Build, name: str, script: str, environment: dict[str, str], log: Log, deadline: float
    ) -> None:
        phase = build.begin(name)
        log.put(f"[Container] Entering phase {name}")
        try:
            self._shell(build, script, environment, log, deadline)
        except _Ended as error:
            context = {"statusCode": "COMMAND_EXECUTION_ERROR", "message": str(error)}
            phase.update(phaseStatus=error.status, endTime=time.time(), contexts=[context])
            log.put(f"[Container] Phase complete: {name} State: {error.status}")
            raise
        phase.update(phaseStatus="SUCCEEDED", endTime=time.time(), contexts=[{"statusCode": "", "message": ""}])
        log.put(f"[Container] Phase complete: {name} State: SUCCEEDED")

    def _shell(self, build: Build, script: str, environment: dict[str, str], log: Log, deadline: float) -> None:
        """Run a phase's commands. Raises _Ended if they fail, take too long or are stopped."""
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=environment["CODEBUILD_SRC_DIR"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        lines: list[str] = []
        reader = threading.Thread(target=_read, args=(process, log, lines), daemon=True)
        reader.start()
        while process.poll() is None:
            late = time.monotonic() > deadline
            if late or build.stopped.wait(0.02):
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise _Ended("TIMED_OUT" if late else "STOPPED", "Build timed out." if late else "Build was stopped.")
        reader.join(5)
        if process.returncode:
            command = next((line for line in reversed(lines) if line.startswith(_RUNNING)), _RUNNING)
            raise _Ended(
                "FAILED",
                f"Error while executing command: {command.removeprefix(_RUNNING).strip()}. "
                f"Reason: exit status {process.returncode}",
            )

    def _environment(self, build: Build, folder: Path) -> dict[str, str]:
        described = build.described
        source, home = folder / "src", folder / "home"
        source.mkdir()
        home.mkdir()
        declared = {each["name"]: each["value"] for each in described["environment"]["environmentVariables"]}
        return {
            **{name: value for name, value in os.environ.items() if name.startswith(_HOST_SETTINGS)},
            **declared,
            **self._cloud.credentials(build.role, build.session),
            **self._containers.build_environment(),
            **({"GIT_SSL_CAINFO": str(self._cloud.trust_ca)} if self._cloud.trust_ca else {}),
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self._cloud.url,
            "AWS_REGION": REGION,
            "CODEBUILD_BUILD_ARN": described["arn"],
            "CODEBUILD_BUILD_ID": described["id"],
            "CODEBUILD_BUILD_IMAGE": described["environment"]["image"],
            "CODEBUILD_BUILD_NUMBER": str(described["buildNumber"]),
            "CODEBUILD_SRC_DIR": str(source),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "TMPDIR": str(home),
        }

    def _log(self, build: Build) -> Log:
        logs = build.described["logs"]
        client = self._cloud.client("logs", build.role, build.session)
        return log_stream(client, logs["groupName"], logs["streamName"])


_RUNNING = "[Container] Running command"


def _script(commands: list[str], folder: Path) -> str:
    """Return a phase as one script. It uses the environment of the previous phase, and ends at a failing command."""
    state = shlex.quote(str(folder / "environment"))
    return "\n".join([f"[ -f {state} ] && . {state}", *_steps(commands), f"export -p > {state}"])


def _steps(commands: list[str]) -> Iterator[str]:
    for command in commands:
        first = next(iter(command.strip().splitlines()), "")
        yield f"echo {shlex.quote(f'{_RUNNING} {first}')}"
        yield f"{command}\n__status=$?; [ $__status -eq 0 ] || exit $__status"


def _read(process: subprocess.Popen[str], log: Log, lines: list[str]) -> None:
    for line in process.stdout or ():
        log.put(line)
        lines.append(line.rstrip("\n"))


def _page(group: str, stream: str) -> str:
    there = f"group/{group.replace('/', '$252F')}/log-events/{stream}"
    return f"https://{REGION}.console.aws.amazon.com/cloudwatch/home?region={REGION}#logsV2:log-groups/log-{there}"
