"""CloudWatch's alarms on the metrics of a simulated world: our own, and AWS's of functions and executions."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tests.documents import resources, template
from tests.handlers import logical_id
from tests.simulation.machine import Done, TaskFailed
from tests.simulation.world import World

_COMPARED: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
}
_STATISTICS: dict[str, Callable[[list[float]], float]] = {"Sum": sum, "Maximum": max}


class Point(NamedTuple):
    """A value of a metric. `of` is what its dimension says: a resource of the template, or the name of the stack."""

    time: float
    metric: str
    of: str
    value: float


class CloudWatch:
    """Collects the metrics of a world with one stack, from its beginning on."""

    def __init__(self, made: World) -> None:
        """Watch the functions."""
        self._made, self._began = made, made.clock.now
        self._points: list[Point] = []
        (self._stack,) = made.stacks.values()
        invoke = self._stack.functions.invoke

        def watched(name: str, event: Any, done: Done) -> None:
            self._add("Invocations", logical_id(name), 1)

            def ended(result: Any, failure: TaskFailed | None) -> None:
                self._add("Errors", logical_id(name), int(failure is not None))
                done(result, failure)

            invoke(name, event, ended)

        self._stack.functions.invoke = watched  # type: ignore[method-assign]  # this is the point

    def _add(self, metric: str, of: str, value: float) -> None:
        self._points.append(Point(self._made.clock.now, metric, of, value))

    def points(self) -> Iterator[Point]:
        """Yield every value so far."""
        yield from self._points
        for each in self._made.metrics:
            written = each["_aws"]["CloudWatchMetrics"][0]
            at = datetime.fromtimestamp(each["_aws"]["Timestamp"] / 1000, UTC).timestamp()
            for metric in written["Metrics"]:
                yield from (Point(at, metric["Name"], each["service"], value) for value in each[metric["Name"]])
        for execution in self._stack.machine.executions.values():
            if execution.status == "FAILED":
                yield Point(execution.ended_at, "ExecutionsFailed", "LaunchRun", 1)
        if self._made.undelivered:
            yield Point(
                self._made.clock.now - 1, "ApproximateNumberOfMessagesVisible", "FailedEvents", self._made.undelivered
            )

    def alarms(self) -> set[str]:
        """Return the alarms that have gone on."""
        found = list(self.points())
        return {name for name, alarm in resources("AWS::CloudWatch::Alarm").items() if self._goes_on(alarm, found)}

    def _goes_on(self, alarm: dict[str, Any], points: list[Point]) -> bool:
        """Whether enough of the periods in a row that count were over the threshold."""
        period, counted = alarm["Period"], alarm["EvaluationPeriods"]
        needed = alarm.get("DatapointsToAlarm", counted)
        (dimension,) = alarm["Dimensions"]
        of = self._named(dimension["Value"])
        periods: dict[int, list[float]] = {}
        for point in points:
            if (point.metric, point.of) == (alarm["MetricName"], of):
                periods.setdefault(int(point.time // period), []).append(point.value)
        numbers = range(int(self._began // period), int(self._made.clock.now // period))
        over = [self._is_over(alarm, periods.get(number)) for number in numbers]
        return any(sum(over[start : start + counted]) >= needed for start in range(len(over)))

    def _is_over(self, alarm: dict[str, Any], values: list[float] | None) -> bool:
        if not values:
            return bool(alarm["TreatMissingData"] == "breaching")
        threshold = alarm["Threshold"]
        if isinstance(threshold, dict):
            threshold = template()["Parameters"][threshold["Ref"]]["Default"]
        return _COMPARED[alarm["ComparisonOperator"]](_STATISTICS[alarm["Statistic"]](values), threshold)

    def _named(self, value: dict[str, Any]) -> str:
        if value == {"Ref": "AWS::StackName"}:
            return self._stack.name
        return str(value.get("Ref") or value["Fn::GetAtt"].partition(".")[0])
