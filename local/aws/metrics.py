"""CloudWatch's embedded metric format: turns the lines of functions' logs into metrics, which alarms watch."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from local.aws import seams


class Datum(NamedTuple):
    """A value of a metric."""

    namespace: str
    name: str
    value: float
    unit: str
    dimensions: dict[str, str]


def put_embedded_metrics(log: str) -> None:
    """Store the metrics in the lines of a log, and let the alarms see them."""
    found = [datum for line in log.splitlines() for datum in embedded_metrics(line)]
    for datum in found:
        seams.use("ministack.services.cloudwatch:record_metric")(*datum)
    if found:
        seams.use("ministack.services.cloudwatch:_evaluate_all_alarms")()


def embedded_metrics(line: str) -> Iterator[Datum]:
    """Yield the metrics in a line; none for any other line
    (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
    """
    try:
        event: Any = json.loads(line)
        directives = event["_aws"]["CloudWatchMetrics"]
    except (ValueError, TypeError, KeyError):
        return
    for directive in directives:
        for metric in directive["Metrics"]:
            values = event[metric["Name"]]
            for value in values if isinstance(values, list) else [values]:
                for names in directive["Dimensions"]:
                    dimensions = {name: event[name] for name in names}
                    yield Datum(directive["Namespace"], metric["Name"], value, metric.get("Unit", "None"), dimensions)
