"""SageMaker: training jobs."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, ParamValidationError

from launch_agent.clients.aws import aws_client, error_code, error_message, refused, throttled, translated
from launch_agent.errors import CapacityUnavailable, TrainingJobRejected
from launch_agent.remedies import explained
from launch_agent.runs.record import RunRecord
from launch_agent.training.echoes import without_echoes, without_shown_values
from launch_agent.training.training_job import ITEM_TAG, STACK_TAG, TrainingJob, item_in, tags_in

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import FilterTypeDef

_NOT_THERE = ("ValidationException", "ResourceNotFound")
_HIDDEN = (*_NOT_THERE, "AccessDeniedException")
_GONE = ("Requested resource not found", "Could not find", "Resource does not exist")


class SageMaker:
    """The training jobs of this stack. Every method may raise AwsThrottled and AwsRefused."""

    def __init__(self, stack_name: str) -> None:
        """Create the AWS client; nothing is sent yet."""
        self._stack_name = stack_name
        self._sagemaker = aws_client("sagemaker")

    def create(self, request: Mapping[str, Any]) -> bool:
        """Submit a training job; return False if its name is taken.

        Raises CapacityUnavailable if a quota is used up, and TrainingJobRejected if SageMaker or IAM refuse the job for
        another reason.
        """
        try:
            with throttled():
                self._sagemaker.create_training_job(**request)
        except ParamValidationError as error:
            raise TrainingJobRejected(
                f"the request is not valid for CreateTrainingJob. {without_shown_values(str(error))}"
            ) from None
        except ClientError as error:
            code = error_code(error)
            if code == "ResourceInUse":
                return False
            if code == "ResourceLimitExceeded":
                raise CapacityUnavailable(error_message(error)) from None
            said = without_echoes(error_message(error))
            raise TrainingJobRejected(explained(f"SageMaker refused the training job: {said} ({code})")) from None
        return True

    def describe(self, name: str) -> TrainingJob | None:
        """Return any training job of the account, or None if it does not exist or IAM hides it."""
        try:
            with translated(*_HIDDEN):
                return TrainingJob.model_validate(self._sagemaker.describe_training_job(TrainingJobName=name))
        except ClientError as error:
            if _is_hidden(error):
                return None
            raise refused(error) from None

    def item_of(self, job: TrainingJob) -> str | None:
        """Return the run queue item of a training job of this stack; None if another stack or a person created it."""
        tags = self._tags_of(job)
        return item_in(tags, self._stack_name) if tags is not None else None

    def is_known_not_ours(self, name: str) -> bool:
        """Whether the tags of a training job show that this stack did not create it. False if IAM hides the job."""
        job = self.describe(name)
        tags = self._tags_of(job) if job else None
        return tags is not None and item_in(tags, self._stack_name) is None

    def _tags_of(self, job: TrainingJob) -> Mapping[str, str] | None:
        """Return the tags of a training job; None if IAM hides them.

        SageMaker can return the job's ARN in lower case even if its name is not; ListTags does not find that ARN
        (https://github.com/boto/boto3/issues/4606).
        """
        for arn in dict.fromkeys([f"{job.arn.rpartition('/')[0]}/{job.name}", job.arn]):
            try:
                with translated(*_HIDDEN):
                    pages = self._sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
                    return tags_in([tag for page in pages for tag in page["Tags"]])
            except ClientError as error:
                if not _is_hidden(error):
                    raise refused(error) from None
        return None

    def job_of(self, record: RunRecord) -> TrainingJob | None:
        """Return the training job in a run's record; None if it does not exist or its tags name another item."""
        job = self.describe(record.training_job_name) if record.training_job_name else None
        return job if job and self.item_of(job) == record.item.id else None

    def live_jobs(self) -> Iterator[tuple[str, str | None]]:
        """Yield the name and the run queue item of each training job of this stack that is in progress.

        One search returns all of them (https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Search.html).
        """
        filters: list[FilterTypeDef] = [
            {"Name": "TrainingJobStatus", "Operator": "Equals", "Value": "InProgress"},
            {"Name": f"Tags.{STACK_TAG}", "Operator": "Equals", "Value": self._stack_name},
        ]
        pages = self._sagemaker.get_paginator("search").paginate(
            Resource="TrainingJob", SearchExpression={"Filters": filters}
        )
        with translated():
            for page in pages:
                for job in (result["TrainingJob"] for result in page["Results"]):
                    yield job["TrainingJobName"], tags_in(job.get("Tags")).get(ITEM_TAG)

    def stop(self, name: str) -> None:
        """Stop a training job. It is fine if it has ended or does not exist."""
        with suppress(ClientError), translated(*_NOT_THERE):
            self._sagemaker.stop_training_job(TrainingJobName=name)


def _is_hidden(error: ClientError) -> bool:
    """Whether the training job does not exist, or IAM hides it: policies can require this stack's tag."""
    return error_code(error) == "AccessDeniedException" or error_message(error).startswith(_GONE)
