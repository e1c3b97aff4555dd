"""Explains to the person who queued the run why a build failed."""

import re
from collections.abc import Iterable, Sequence

from pydantic import Field

from launch_agent.model import Wire
from launch_agent.remedies import ENDINGS, remedy

BUILDER_ERROR = "launch-agent: error:"
"""The beginning of the line in which the builder says why there is no image."""

_NO_BUILDS = "CodeBuild.AccountLimitExceededException"
_STEP = re.compile(r"#\d+ [\d.]+ ")
"""What BuildKit writes before each line of a RUN: its step, and the seconds."""
_ID = re.compile(r'"Id"\s*:\s*"(?P<id>[^":]+:[0-9a-fA-F-]{36})"')


class PhaseContext(Wire):
    """A message of CodeBuild about a phase."""

    message: str = ""


class BuildPhase(Wire):
    """One phase of a build."""

    name: str = Field(alias="phaseType")
    status: str = Field(alias="phaseStatus", default="")
    contexts: tuple[PhaseContext, ...] = ()


class BuildLogs(Wire):
    """Where a build's log is."""

    group: str = Field(alias="groupName", default="")
    stream: str = Field(alias="streamName", default="")
    page: str = Field(alias="deepLink", default="")


class Build(Wire):
    """A build as BatchGetBuilds shows it
    (https://docs.aws.amazon.com/codebuild/latest/APIReference/API_Build.html).
    """

    id: str
    status: str = Field(alias="buildStatus")
    phases: tuple[BuildPhase, ...] = ()
    logs: BuildLogs = Field(default_factory=BuildLogs)


def build_id_in(cause: str) -> str | None:
    """Return the build's id in the cause of a failed `startBuild.sync`, or None. The cause may be cut."""
    found = _ID.search(cause)
    return found["id"] if found else None


def explain(build: Build, log: Iterable[str]) -> str:
    """Return why a build ended without an image, from CodeBuild's answer and the last lines of the log."""
    if build.status in ENDINGS:
        return ENDINGS[build.status]
    lines = list(log)
    phase = next((each for each in build.phases if each.status not in ("", "SUCCEEDED")), None)
    where = f" in phase {phase.name}" if phase else ""
    said = [context.message for context in phase.contexts if context.message] if phase else []
    why = _builder_error(lines) or " ".join(said) or "CodeBuild gives no reason."
    whole = f"The image build failed{where}: {why} The end of its log is in error.log."
    return " ".join(filter(None, [_remedy_in(lines), whole]))


def explain_without_build(error: str, cause: str) -> str:
    """Return why no build was started, from the error and the cause of the state."""
    if error == _NO_BUILDS:
        return f"AWS CodeBuild cannot start another build: {cause} {ENDINGS[_NO_BUILDS]}"
    return f"AWS CodeBuild did not build the image: {error}: {cause}"


def _remedy_in(lines: Sequence[str]) -> str:
    """Return what to do about the last cause in a log. uv breaks its sentences into lines."""
    said = [_STEP.sub("", line).strip() for line in lines]
    windows = (" ".join(said[start : start + 3]) for start in reversed(range(len(said))))
    return next(filter(None, map(remedy, windows)), "")


def _builder_error(log: Iterable[str]) -> str:
    lines: Sequence[str] = [line for line in log if line.startswith(BUILDER_ERROR)]
    return lines[-1].removeprefix(BUILDER_ERROR).strip() if lines else ""
