"""CodeBuild: image builds and their logs."""

from botocore.exceptions import ClientError

from launch_agent.clients.aws import aws_client, translated
from launch_agent.image.build_failure import Build

_LINES = 50


class Builds:
    """The builds of the stack's project. Every method may raise AwsThrottled and AwsRefused."""

    def __init__(self) -> None:
        """Create the AWS clients; nothing is sent yet."""
        self._codebuild = aws_client("codebuild")
        self._logs = aws_client("logs")

    def find(self, build_id: str) -> Build | None:
        """Return a build, or None if it does not exist."""
        with translated():
            found = self._codebuild.batch_get_builds(ids=[build_id])["builds"]
        return Build.model_validate(found[0]) if found else None

    def log_tail(self, build: Build) -> list[str]:
        """Return the last 50 lines of a build's log; an empty list if there is no log."""
        if not build.logs.stream:
            return []
        try:
            with translated("ResourceNotFoundException"):
                events = self._logs.get_log_events(
                    logGroupName=build.logs.group, logStreamName=build.logs.stream, limit=_LINES
                )["events"]
        except ClientError:
            return []
        return [event["message"].rstrip("\n") for event in events]
