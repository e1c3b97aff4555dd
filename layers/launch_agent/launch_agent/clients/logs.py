"""CloudWatch Logs: the last log lines of a training job's containers."""

from botocore.exceptions import ClientError

from launch_agent.clients.aws import aws_client, translated

TRAINING_LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_LINES = 100
_HOSTS = 20
_LINE = 2_000


class TrainingLogs:
    """The log group of training containers."""

    def __init__(self) -> None:
        """Create the AWS client; nothing is sent yet."""
        self._logs = aws_client("logs")

    def tails(self, training_job_name: str) -> list[tuple[str, list[str]]]:
        """Return the name and the last 100 lines of each host's log stream, of at most 20 hosts.

        An empty list if the job has no log. Raises AwsThrottled and AwsRefused.
        """
        try:
            with translated("ResourceNotFoundException"):
                found = self._logs.describe_log_streams(
                    logGroupName=TRAINING_LOG_GROUP, logStreamNamePrefix=f"{training_job_name}/", limit=_HOSTS
                )
                return [
                    (stream["logStreamName"], self._tail(stream["logStreamName"])) for stream in found["logStreams"]
                ]
        except ClientError:
            return []

    def _tail(self, stream: str) -> list[str]:
        events = self._logs.get_log_events(logGroupName=TRAINING_LOG_GROUP, logStreamName=stream, limit=_LINES)
        return [_cut(event["message"]) for event in events["events"]]


def _cut(line: str) -> str:
    return line if len(line) <= _LINE else f"{line[:_LINE]}..."
