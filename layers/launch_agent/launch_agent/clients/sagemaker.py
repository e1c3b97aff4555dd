"""SageMaker: training jobs."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError, ParamValidationError

from launch_agent.clients.aws import CONFIG, error_code, error_message, translated
from launch_agent.errors import CapacityUnavailable, TrainingJobRejected
from launch_agent.runs.record import RunRecord
from launch_agent.training.training_job import ITEM_TAG, STACK_TAG, TrainingJob

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import FilterTypeDef

_GONE = ("Requested resource not found", "Could not find")


class SageMaker:
    """The account's SageMaker in this region. Every method may raise AwsThrottled."""

    def __init__(self) -> None:
        """Make the client; nothing is sent yet."""
        self._sagemaker = boto3.client("sagemaker", config=CONFIG)

    def create(self, request: Mapping[str, Any]) -> bool:
        """Submit a training job; False when its name is taken.

        Raises CapacityUnavailable for a quota that is used up, and TrainingJobRejected for everything else SageMaker
        or IAM says no to.
        """
        try:
            with translated():
                self._sagemaker.create_training_job(**request)
        except ParamValidationError as error:
            raise TrainingJobRejected(f"the request is not one of CreateTrainingJob. {error}") from None
        except ClientError as error:
            code = error_code(error)
            if code == "ResourceInUse":
                return False
            if code == "ResourceLimitExceeded":
                raise CapacityUnavailable(error_message(error)) from None
            raise TrainingJobRejected(f"SageMaker refused the training job: {error_message(error)} ({code})") from None
        return True

    def describe(self, name: str) -> TrainingJob | None:
        """Return a training job; None when there is none of this name."""
        try:
            with translated():
                return TrainingJob.model_validate(self._sagemaker.describe_training_job(TrainingJobName=name))
        except ClientError as error:
            if error_message(error).startswith(_GONE):
                return None
            raise

    def job_of(self, record: RunRecord) -> TrainingJob | None:
        """Return the training job that a run's record names; None when there is none, or it is another item's."""
        job = self.describe(record.training_job_name) if record.training_job_name else None
        return job if job and self._item_of(job) == record.item.id else None

    def live_jobs(self, stack_name: str) -> Iterator[tuple[str, str | None]]:
        """Yield the name, and the run queue item, of each training job of a stack that is in progress.

        One search answers for all of them
        (https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Search.html).
        """
        filters: list[FilterTypeDef] = [
            {"Name": "TrainingJobStatus", "Operator": "Equals", "Value": "InProgress"},
            {"Name": f"Tags.{STACK_TAG}", "Operator": "Equals", "Value": stack_name},
        ]
        pages = self._sagemaker.get_paginator("search").paginate(
            Resource="TrainingJob", SearchExpression={"Filters": filters}
        )
        with translated():
            for page in pages:
                for job in (result["TrainingJob"] for result in page["Results"]):
                    tags = {tag["Key"]: tag["Value"] for tag in job.get("Tags", [])}
                    yield job["TrainingJobName"], tags.get(ITEM_TAG)

    def stop(self, name: str) -> None:
        """Stop a training job; one that has ended, or is not there, is as wanted."""
        try:
            with translated():
                self._sagemaker.stop_training_job(TrainingJobName=name)
        except ClientError as error:
            if error_code(error) not in ("ValidationException", "ResourceNotFound"):
                raise

    def _item_of(self, job: TrainingJob) -> str | None:
        """Return the run queue item a training job was made for, by its tag."""
        with translated():
            pages = self._sagemaker.get_paginator("list_tags").paginate(ResourceArn=job.arn)
            tags = {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}
        return tags.get(ITEM_TAG)
