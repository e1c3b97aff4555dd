"""Metrics from a function's log to an alarm and the dashboard, in the deployed application."""

import json
from datetime import UTC, datetime, timedelta

from local.stack import STACK_NAME
from tests.e2e.conftest import Application, wait_for


def test_a_run_is_counted_in_cloudwatch(app: Application) -> None:
    began = datetime.now(UTC) - timedelta(minutes=1)
    app.outcome(app.quick())
    cloudwatch = app.deployed.cloud.client("cloudwatch")

    def counted() -> float:
        found = cloudwatch.get_metric_statistics(
            Namespace="WandbLaunch",
            MetricName="RunsLaunched",
            Dimensions=[{"Name": "service", "Value": STACK_NAME}],
            StartTime=began,
            EndTime=datetime.now(UTC) + timedelta(minutes=1),
            Period=60,
            Statistics=["Sum"],
        )
        return float(sum(each["Sum"] for each in found["Datapoints"]))

    assert wait_for(counted, within=30) >= 1


def test_the_dashboard_is_deployed_with_the_names_of_this_stack(app: Application) -> None:
    name = app.deployed.outputs["DashboardPage"].rpartition("/")[2]
    body = app.deployed.cloud.client("cloudwatch").get_dashboard(DashboardName=name)["DashboardBody"]
    assert "${AWS" not in body
    assert len(json.loads(body)["widgets"]) == 9
