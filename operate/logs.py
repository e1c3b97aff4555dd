"""`make logs`: shows what the functions logged about a run, its image build and its training jobs, newest last."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from launch_agent.clients.aws import error_code
from launch_agent.clients.executions import execution_arn
from launch_agent.clients.logs import TRAINING_LOG_GROUP
from launch_agent.image.build_failure import build_id_in
from launch_agent.outcome.log_lines import plain
from operate.account import Account
from operate.errors import CannotOperate

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

_SINCE = re.compile(r"(\d+)\s*(m|h|d|min|minutes?|hours?|days?)")
_FUNCTION = re.compile(r"([A-Z]\w+)Function")
_SHOWN_FIRST = ("level", "message", "function_name", "exception", "exception_name")
_NOT_SHOWN = (
    *("cold_start", "function_arn", "function_memory_size", "function_request_id", "location", "service"),
    *("stack_trace", "timestamp", "xray_trace_id"),
)


def logs(stack: str, region: str | None, run: str, *, since: str, raw: bool) -> None:
    """Print the log lines of a run, given its id or its queue item's, oldest first.

    Raises CannotOperate if the functions have logged nothing about it. With `raw`, the lines are unchanged.
    """
    if not run:
        raise CannotOperate("Give the id of the run or of its queue item: make logs RUN=run-id")
    account = Account(region)
    outputs, client = account.outputs(stack), account.client("logs")
    begin = datetime.now(UTC) - duration(since)
    events = lines_of(client, outputs["FunctionsLogGroupName"], run, begin)
    if not events:
        raise CannotOperate(
            f"The stack {stack} has logged nothing about a run {run} since {begin.astimezone():%Y-%m-%d %H:%M}. Check "
            'the id, or search further back, for example with SINCE="7 days".'
        )
    said = [(timestamp, text if raw else line_for_people(timestamp, text)) for timestamp, text in events]
    fields = [fields_of(text) for _, text in events]
    for source, group, prefix in (*_builds(account, outputs, fields), *_training_jobs(fields)):
        lines = _all_lines(client, group, prefix, begin)
        said += [(timestamp, text if raw else line_of_source(source, timestamp, text)) for timestamp, text in lines]
    for _, line in sorted(said, key=lambda each: each[0]):
        print(line)


def _training_jobs(lines: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Yield the log group and the beginning of the streams' names of each training job."""
    for name in dict.fromkeys(line["training_job_name"] for line in lines if line.get("training_job_name")):
        yield "training", TRAINING_LOG_GROUP, f"{name}/"


def _builds(
    account: Account, outputs: Mapping[str, str], lines: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[str, str, str]]:
    """Yield the log group and the stream of each image build that the run's executions started."""
    states, codebuild = account.client("stepfunctions"), account.client("codebuild")
    for name in dict.fromkeys(line["execution"] for line in lines if line.get("execution")):
        arn = execution_arn(outputs["StateMachineArn"], name)
        try:
            pages = states.get_paginator("get_execution_history").paginate(executionArn=arn)
            events = [event for page in pages for event in page["events"]]
        except states.exceptions.ExecutionDoesNotExist:
            continue
        ids = list(dict.fromkeys(filter(None, map(_build_id, events))))
        for build in codebuild.batch_get_builds(ids=ids)["builds"] if ids else ():
            where = build.get("logs", {})
            if where.get("streamName"):
                yield "build", where["groupName"], where["streamName"]


def _build_id(event: Mapping[str, Any]) -> str | None:
    """Return the id of the build that an event of an execution is about, if it is about one."""
    for details in (value for name, value in event.items() if name.startswith("task")):
        if details["resourceType"] == "codebuild":
            return build_id_in(details.get("output") or details.get("cause") or "")
    return None


def _all_lines(client: "CloudWatchLogsClient", group: str, prefix: str, begin: datetime) -> Iterator[tuple[int, str]]:
    """Yield the time and text of each line in the streams whose names begin with `prefix`."""
    pages = client.get_paginator("filter_log_events").paginate(
        logGroupName=group, logStreamNamePrefix=prefix, startTime=int(begin.timestamp() * 1000)
    )
    try:
        for event in (event for page in pages for event in page["events"]):
            yield event["timestamp"], event["message"].rstrip()
    except ClientError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise


def line_of_source(source: str, timestamp: int, text: str) -> str:
    """Format a line of a build or a training job. It keeps its indent, so that a traceback can be read."""
    return f"{_time(timestamp)}  {source:8}  {' '.join(plain(text).splitlines())}".rstrip()


def _time(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp / 1000, UTC).astimezone().strftime("%H:%M:%S")


def duration(text: str) -> timedelta:
    """Parse a duration such as `30min`, `1 hour` or `2days`. Raises CannotOperate for any other text."""
    found = _SINCE.fullmatch(text.strip().lower())
    if not found:
        raise CannotOperate(f'SINCE="{text}" is not a duration. Write, for example, 30min, 1hour or 2days.')
    unit = {"m": "minutes", "h": "hours", "d": "days"}[found[2][0]]
    return timedelta(**{unit: int(found[1])})


def lines_of(client: "CloudWatchLogsClient", group: str, run: str, begin: datetime) -> list[tuple[int, str]]:
    """Return the time and text of each line about a run. Each line has the run's id, its queue item's id, or both."""
    found = set(_find(client, group, run, begin))
    items = {fields_of(text).get("run_queue_item_id", run) for _, text in found}
    for item in items - {run}:
        found |= set(_find(client, group, item, begin))
    return sorted(found)


def _find(client: "CloudWatchLogsClient", group: str, term: str, begin: datetime) -> Iterator[tuple[int, str]]:
    # The quotes make the filter search for the exact term; without them, a hyphen excludes the text after it.
    pages = client.get_paginator("filter_log_events").paginate(
        logGroupName=group, filterPattern=json.dumps(term), startTime=int(begin.timestamp() * 1000)
    )
    # The filter also finds the term inside longer words, such as the ids of other runs.
    whole = re.compile(rf"(?<![\w-]){re.escape(term)}(?![\w-])")
    for event in (event for page in pages for event in page["events"]):
        if whole.search(event["message"]):
            yield event["timestamp"], event["message"].rstrip()


def fields_of(text: str) -> Mapping[str, Any]:
    """Return the fields of a log line; empty if the line is not a JSON object."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def line_for_people(timestamp: int, text: str) -> str:
    """Format a log line for people: time, level, function, message, and the other fields."""
    fields = fields_of(text)
    when = _time(timestamp)
    if "message" not in fields:
        return f"{when}  {_one_line(text)}"
    function = _FUNCTION.search(fields.get("function_name", ""))
    exception = str(fields.get("exception") or "").strip().splitlines()
    more = (f"{name}={_one_line(value)}" for name, value in fields.items() if name not in (*_SHOWN_FIRST, *_NOT_SHOWN))
    words = [
        f"{fields.get('level', ''):7}",
        f"{function[1] if function else '':13}",
        _one_line(fields["message"]),
        *exception[-1:],
        *more,
    ]
    return "  ".join([when, *words])


def _one_line(value: object) -> str:
    return " ".join((value if isinstance(value, str) else json.dumps(value)).split())
