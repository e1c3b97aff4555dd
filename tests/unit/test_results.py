"""What a run in W&B shows of its training job."""

from datetime import timedelta
from typing import Any

import pytest

from launch_agent.outcome.results import Prices, config_keys, summary_keys
from launch_agent.runs.record import RunRecord
from launch_agent.training.training_job import TrainingJob
from tests.golden.cases import DEPLOYMENT
from tests.make import NOW, run_record, training_job

EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:LaunchRun:item"
RESOURCES = {"InstanceType": "ml.m5.large", "InstanceCount": 2}
PAGES = {
    "sagemaker/job_url": DEPLOYMENT.training_job_page("job"),
    "sagemaker/log_url": DEPLOYMENT.training_logs_page("job"),
    "sagemaker/execution_url": DEPLOYMENT.execution_page(EXECUTION),
}


def record() -> RunRecord:
    return run_record(execution_arn=EXECUTION)


def job(status: str = "Completed", secondary: str = "", **more: Any) -> TrainingJob:
    return training_job(status, secondary, CreationTime=NOW, ResourceConfig=RESOURCES, **more)


def summary(ended: TrainingJob, prices: Prices | None = None) -> dict[str, Any]:
    return summary_keys(DEPLOYMENT, record(), ended, prices or Prices())


def test_the_config_names_the_job_before_it_exists() -> None:
    request = {"TrainingJobName": "job", "ResourceConfig": RESOURCES, "EnableManagedSpotTraining": True}
    assert config_keys(DEPLOYMENT, record(), request) == {
        "sagemaker/job_name": "job",
        "sagemaker/job_arn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/job",
        "sagemaker/region": "us-east-1",
        **PAGES,
        "sagemaker/instance_type": "ml.m5.large",
        "sagemaker/instance_count": 2,
        "sagemaker/spot": True,
    }


def test_the_summary_has_the_job_its_seconds_and_its_metrics() -> None:
    ended = job(
        TrainingStartTime=NOW + timedelta(seconds=60),
        TrainingEndTime=NOW + timedelta(seconds=660),
        TrainingTimeInSeconds=600,
        BillableTimeInSeconds=180,
        EnableManagedSpotTraining=True,
        ModelArtifacts={"S3ModelArtifacts": "s3://b/job/output/model.tar.gz"},
        FinalMetricDataList=[{"MetricName": "validation:rmse", "Value": 0.5}],
    )
    assert summary(ended, Prices({"ml.m5.large": 0.115}, "2026-11-24")) == {
        "sagemaker/job_name": "job",
        "sagemaker/job_arn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/job",
        "sagemaker/region": "us-east-1",
        **PAGES,
        "sagemaker/instance_type": "ml.m5.large",
        "sagemaker/instance_count": 2,
        "sagemaker/spot": True,
        "sagemaker/status": "Completed",
        "sagemaker/secondary_status": "Completed",
        "sagemaker/queued_seconds": 0,
        "sagemaker/starting_seconds": 60,
        "sagemaker/training_seconds": 600,
        "sagemaker/billable_seconds": 180,
        "sagemaker/spot_saving_percent": 70,
        "sagemaker/estimated_cost_usd": 0.0115,
        "sagemaker/price_day": "2026-11-24",
        "sagemaker/model_uri": "s3://b/job/output/model.tar.gz",
        "sagemaker/metrics/validation:rmse": 0.5,
    }


def test_a_failed_job_has_its_reason_and_no_model() -> None:
    keys = summary(job("Failed", FailureReason="AlgorithmError: x", ModelArtifacts={"S3ModelArtifacts": "s3://b/m"}))
    assert keys["sagemaker/failure_reason"] == "AlgorithmError: x"
    assert "sagemaker/model_uri" not in keys


@pytest.mark.parametrize("prices", [Prices(), Prices({"ml.g5.xlarge": 1.0}, "2026-11-24")])
def test_without_a_price_there_is_no_cost_and_no_saving_without_spot(prices: Prices) -> None:
    keys = summary(job(TrainingTimeInSeconds=10, BillableTimeInSeconds=10), prices)
    assert not [key for key in keys if "cost" in key or "price" in key or "saving" in key]


def test_a_run_that_version_0_1_0_opened_has_no_link_to_its_execution() -> None:
    keys = summary_keys(DEPLOYMENT, run_record(), job(), Prices())
    assert "sagemaker/execution_url" not in keys
