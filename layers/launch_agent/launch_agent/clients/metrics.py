"""CloudWatch metrics in the embedded metric format: lines in a function's log that CloudWatch turns into metrics
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
"""

import json
from collections.abc import Mapping

from aws_lambda_powertools.metrics import EphemeralMetrics

from launch_agent.operations.metrics import NAMESPACE, UNITS, Metric


class Metrics:
    """The metrics of a stack. Nothing is sent, so no call can fail."""

    def __init__(self, stack_name: str) -> None:
        """Every metric has the dimension `service`, which is the name of the stack."""
        self._stack_name = stack_name

    def put(self, values: Mapping[Metric, float], **dimensions: str) -> None:
        """Write metrics. CloudWatch takes ASCII only in the values of dimensions."""
        if not values:
            return
        written = EphemeralMetrics(namespace=NAMESPACE, service=self._stack_name)
        for metric, value in values.items():
            written.add_metric(name=metric.value, unit=UNITS.get(metric, "Count"), value=value)
        for name, text in dimensions.items():
            written.add_dimension(name=name, value=ascii(text)[1:-1])
        print(json.dumps(written.serialize_metric_set()))  # noqa: T201 - a function's output is its log

    def count(self, *metrics: Metric) -> None:
        """Count one for each metric."""
        self.put(dict.fromkeys(metrics, 1))
