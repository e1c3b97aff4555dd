"""SageMaker: training jobs."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError, ParamValidationError

from launch_agent.clients.aws import CONFIG, error_code, error_message, refused, throttled, translated
from launch_agent.errors import CapacityUnavailable, TrainingJobRejected
from launch_agent.runs.record import RunRecord
from launch_agent.training.training_job import ITEM_TAG, STACK_TAG, TrainingJob, item_in, tags_in

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import FilterTypeDef

_ECHO = re.compile(
    r"Value '(?:[\[{].*[\]}]|.*(?=' at '(?:environment|hyperParameters)\b))' at '", re.IGNORECASE | re.DOTALL
)
"""The whole of a map or list, or one value out of those that can be secret, as SageMaker repeats it."""
_SHOWN_VALUE = re.compile(r", value: .*, (?=type: |valid )", re.DOTALL)
_NOT_THERE = ("ValidationException", "ResourceNotFound")
_HIDDEN = (*_NOT_THERE, "AccessDeniedException")
_GONE = ("Requested resource not found", "Could not find", "Resource does not exist")


class SageMaker:
    """The training jobs of this stack. Every method may raise AwsThrottled and AwsRefused."""

    def __init__(self, stack_name: str) -> None:
        """Take the stack's name; nothing is sent yet."""
        self._stack_name = stack_name
        self._sagemaker = boto3.client("sagemaker", config=CONFIG)

    def create(self, request: Mapping[str, Any]) -> bool:
        """Submit a training job; False when its name is taken.

        Raises CapacityUnavailable for a quota that is used up, and TrainingJobRejected for everything else SageMaker
        or IAM says no to.
        """
        try:
            with throttled():
                self._sagemaker.create_training_job(**request)
        except ParamValidationError as error:
            raise TrainingJobRejected(
                f"the request is not one of CreateTrainingJob. {_without_values(error)}"
            ) from None
        except ClientError as error:
            code = error_code(error)
            if code == "ResourceInUse":
                return False
            if code == "ResourceLimitExceeded":
                raise CapacityUnavailable(error_message(error)) from None
            said = _ECHO.sub("The value at '", error_message(error))
            raise TrainingJobRejected(f"SageMaker refused the training job: {said} ({code})") from None
        return True

    def describe(self, name: str) -> TrainingJob | None:
        """Return a training job, whoever made it; None when there is none of this name that we may see."""
        try:
            with translated(*_HIDDEN):
                return TrainingJob.model_validate(self._sagemaker.describe_training_job(TrainingJobName=name))
        except ClientError as error:
            if _is_hidden(error):
                return None
            raise refused(error) from None

    def item_of(self, job: TrainingJob) -> str | None:
        """Return the run queue item that this stack made a training job for; None when the job is not ours."""
        tags = self._tags_of(job)
        return item_in(tags, self._stack_name) if tags is not None else None

    def is_known_not_ours(self, name: str) -> bool:
        """Return whether a training job shows that this stack did not make it; not where IAM hides it."""
        job = self.describe(name)
        tags = self._tags_of(job) if job else None
        return tags is not None and item_in(tags, self._stack_name) is None

    def _tags_of(self, job: TrainingJob) -> Mapping[str, str] | None:
        """Return the tags of a training job; None where they are hidden.

        An ARN can be shown in lower case whatever the job's name, and then has no tags
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
        """Return the training job that a run's record names; None when there is none, or it is not proven the run's."""
        job = self.describe(record.training_job_name) if record.training_job_name else None
        return job if job and self.item_of(job) == record.item.id else None

    def live_jobs(self) -> Iterator[tuple[str, str | None]]:
        """Yield the name, and the run queue item, of each training job of this stack that is in progress.

        One search answers for all of them
        (https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Search.html).
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
        """Stop a training job; one that has ended, or is not there, is as wanted."""
        with suppress(ClientError), translated(*_NOT_THERE):
            self._sagemaker.stop_training_job(TrainingJobName=name)


def _without_values(error: ParamValidationError) -> str:
    """Return botocore's words for what is wrong with a request, without the values that are."""
    return _SHOWN_VALUE.sub(", ", str(error))


def _is_hidden(error: ClientError) -> bool:
    """Whether there is no such training job, or IAM hides it: policies can ask for this stack's tag."""
    return error_code(error) == "AccessDeniedException" or error_message(error).startswith(_GONE)
