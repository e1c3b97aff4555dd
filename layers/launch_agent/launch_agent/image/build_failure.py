"""Why a build ended without an image, in words for the person who queued the run."""

import re
from collections.abc import Iterable, Sequence

from pydantic import Field

from launch_agent.model import Wire

BUILDER_ERROR = "launch-agent: error:"
"""How the line begins with which the builder says why there is no image."""

_ID = re.compile(r'"Id"\s*:\s*"(?P<id>[^":]+:[0-9a-fA-F-]{36})"')


class PhaseContext(Wire):
    """What CodeBuild says about a phase."""

    message: str = ""


class BuildPhase(Wire):
    """One phase of a build."""

    name: str = Field(alias="phaseType")
    status: str = Field(alias="phaseStatus", default="")
    contexts: tuple[PhaseContext, ...] = ()


class BuildLogs(Wire):
    """Where the log of a build is."""

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
    logs: BuildLogs = BuildLogs()


def build_id_in(cause: str) -> str | None:
    """Return the id of the build in the cause of a failed `startBuild.sync`, which may be cut; None without one."""
    found = _ID.search(cause)
    return found["id"] if found else None


def explain(build: Build, log: Iterable[str]) -> str:
    """Say why a build ended without an image, from what CodeBuild and the end of its log say."""
    if build.status in _REASONS:
        return _REASONS[build.status]
    phase = next((each for each in build.phases if each.status not in ("", "SUCCEEDED")), None)
    where = f" in phase {phase.name}" if phase else ""
    said = [context.message for context in phase.contexts if context.message] if phase else []
    why = _builder_error(log) or " ".join(said) or "CodeBuild gives no reason."
    return f"The build of the image failed{where}: {why} The end of its log is in error.log."


def explain_without_build(error: str, cause: str) -> str:
    """Say why no build was started, from the error of the state."""
    if error.endswith("AccountLimitExceededException"):
        return (
            f"AWS CodeBuild has no room for another build: {cause} Ask for more concurrently running builds in the "
            "Service Quotas console; a new account can have none."
        )
    return f"AWS CodeBuild did not build the image: {error}: {cause}"


_REASONS = {
    "FAULT": "AWS CodeBuild itself failed. Queue the run again.",
    "STOPPED": "Somebody stopped the build of the image.",
    "TIMED_OUT": "The image was not built within the time a build may take. Install less, or start from a base image "
    "that has it: builder.accelerator.base_image or builder.base_image in the queue's configuration.",
}


def _builder_error(log: Iterable[str]) -> str:
    lines: Sequence[str] = [line for line in log if line.startswith(BUILDER_ERROR)]
    return lines[-1].removeprefix(BUILDER_ERROR).strip() if lines else ""
