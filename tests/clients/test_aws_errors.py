"""How the AWS clients translate AWS's errors, over HTTP."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from launch_agent.clients import aws
from launch_agent.clients.codebuild import Builds
from launch_agent.clients.executions import Executions
from launch_agent.clients.image_claims import ImageClaims
from launch_agent.clients.image_repository import ImageRepository, public_registry_password, registry_password
from launch_agent.clients.logs import TrainingLogs
from launch_agent.clients.runs import Runs
from launch_agent.clients.sagemaker import SageMaker
from launch_agent.clients.secrets import WandbApiKey
from launch_agent.clients.task_tokens import TaskTokens
from launch_agent.errors import AwsRefused, AwsThrottled, CapacityUnavailable, TrainingJobRejected, WandbKeyRejected
from launch_agent.training.training_job import TrainingJob
from tests.answering import Answer, AnsweringServer, answering, aws_error
from tests.make import image_note, item_ref, run_record

ARN = "arn:aws:sagemaker:us-east-1:123456789012:training-job/abc"
REQUEST = {
    "TrainingJobName": "abc",
    "RoleArn": "arn:aws:iam::123456789012:role/Training",
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
}
DESCRIBED = {
    "TrainingJobName": "abc",
    "TrainingJobArn": ARN,
    "TrainingJobStatus": "InProgress",
    "SecondaryStatus": "Training",
    "LastModifiedTime": 1763985600.5,
    "TrainingStartTime": 1763985500,
    "FinalMetricDataList": None,
    "Environment": {"WANDB_API_KEY": "sekret"},
}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off botocore's own retries, which only wait."""
    monkeypatch.setattr(aws.CONFIG, "retries", {"total_max_attempts": 1})


def ask(server: AnsweringServer, monkeypatch: pytest.MonkeyPatch, call: Callable[[], Any]) -> Any:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    return call()


RUN = run_record(item=item_ref(run_id="é"))
NOTE = image_note()
CALLS: dict[str, Callable[[], Any]] = {
    "sagemaker create": lambda: SageMaker("stack").create(REQUEST),
    "sagemaker describe": lambda: SageMaker("stack").describe("abc"),
    "sagemaker stop": lambda: SageMaker("stack").stop("abc"),
    "sagemaker tags": lambda: SageMaker("stack").item_of(TrainingJob.model_validate(DESCRIBED)),
    "runs get": lambda: Runs("runs", "details").get("item"),
    "runs acknowledged": lambda: Runs("runs", "details").acknowledged("item"),
    "secret": lambda: WandbApiKey("arn")(),
    "start execution": lambda: Executions().start("arn", "run-1", {}),
    "answer token": lambda: TaskTokens().answer("t" * 10, {}),
    "fail token": lambda: TaskTokens().fail("t" * 10, error="CapacityUnavailable", cause="none"),
    "stop execution": lambda: Executions().stop("arn", error="Stopped", cause="somebody"),
    "find execution": lambda: Executions().find("arn"),
    "running executions": lambda: list(Executions().running("arn")),
    "live jobs": lambda: list(SageMaker("stack").live_jobs()),
    "open runs": lambda: list(Runs("runs", "details").unreported_runs()),
    "log tails": lambda: TrainingLogs().tails("abc"),
    "image": lambda: ImageRepository("123456789012.dkr.ecr.us-east-1.amazonaws.com/launch").has("sha256:0"),
    "public registry password": public_registry_password,
    "registry password": lambda: registry_password("123456789012.dkr.ecr.us-east-1.amazonaws.com"),
    "image built": lambda: ImageClaims("runs").built("tag", "item", "token", NOTE),
    "known image": lambda: ImageClaims("runs").find("tag"),
    "claim of an image": lambda: ImageClaims("runs").claim("tag", "item"),
    "release of an image": lambda: ImageClaims("runs").release("tag", "item"),
    "build": lambda: Builds().find("project:id"),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "answer",
    [
        aws_error("ThrottlingException"),
        aws_error("ServiceUnavailable", status=503),
        aws_error("InternalServerError", status=500),
        Answer(503, b"<html>Service Unavailable</html>"),
        Answer(0),
    ],
    ids=str,
)
def test_what_may_work_later_is_throttled(name: str, answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(answer) as server, pytest.raises(AwsThrottled):
        ask(server, monkeypatch, CALLS[name])


HIDDEN = {"sagemaker describe", "sagemaker tags"}
"""Calls that treat a job that IAM refuses to show like a job that does not exist: it may belong to others."""


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *((name, "AccessDeniedException") for name in sorted(set(CALLS) - HIDDEN - {"sagemaker create"})),
        *((name, "KMSInvalidStateException") for name in sorted(set(CALLS) - {"sagemaker create"})),
    ],
)
def test_what_aws_refuses_for_good_is_said_in_its_words(name: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error = WandbKeyRejected if name == "secret" else AwsRefused
    with (
        answering(aws_error(code, "not like this")) as server,
        pytest.raises(error, match=f"not like this .{code}.") as raised,
    ):
        ask(server, monkeypatch, CALLS[name])
    assert raised.value.__suppress_context__


def test_a_training_job_is_created(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(Answer(200, {"TrainingJobArn": ARN})) as server:
        assert ask(server, monkeypatch, CALLS["sagemaker create"]) is True
    assert server.asked[0].target == "CreateTrainingJob"
    assert server.asked[0].json == REQUEST


def test_a_taken_name_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(aws_error("ResourceInUse")) as server:
        assert ask(server, monkeypatch, CALLS["sagemaker create"]) is False


def test_a_used_up_quota_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "The account-level service limit 'ml.g5.xlarge for training job usage' is 0 Instances"
    with answering(aws_error("ResourceLimitExceeded", text)) as server, pytest.raises(CapacityUnavailable, match=text):
        ask(server, monkeypatch, CALLS["sagemaker create"])


@pytest.mark.parametrize("code", ["ValidationException", "AccessDeniedException", "ResourceNotFound", "SomethingNew"])
def test_any_other_no_to_a_training_job_is_passed_on_in_awss_words(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        answering(aws_error(code, "does not work")) as server,
        pytest.raises(TrainingJobRejected, match="does not work"),
    ):
        ask(server, monkeypatch, CALLS["sagemaker create"])


def test_a_request_botocore_itself_refuses_is_rejected_without_showing_the_environment() -> None:
    request = {**REQUEST, "Bogus": 1, "Environment": {"WANDB_API_KEY": "sekret"}}
    with pytest.raises(TrainingJobRejected, match="Bogus") as raised:
        SageMaker("stack").create(request)
    assert "sekret" not in str(raised.value)


@pytest.mark.parametrize(
    "value",
    [["sekret"], {"a": "sekret"}, 90210123, b"sekret, type: sekret", ["sekret, valid types: "]],
)
def test_botocores_words_for_a_value_of_the_wrong_type_do_not_show_it(value: object) -> None:
    with pytest.raises(TrainingJobRejected, match=r"Environment\.K") as raised:
        SageMaker("stack").create({**REQUEST, "Environment": {"K": value, "L": 7}})
    assert "sekret" not in str(raised.value)
    assert "90210123" not in str(raised.value)
    assert "valid types" in str(raised.value)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Value '{K=sekret, L=b}' at 'environment' failed", "The value at 'environment' failed"),
        ("Value 'it's sekret' at 'environment.K.member' failed", "The value at 'environment.K.member' failed"),
        (
            "Value '{K=it's' at 'x, L=sekret}' at 'environment' failed; Value 'x' at 'hyperParameters.p.member' failed",
            "The value at 'environment' failed; The value at 'hyperParameters.p.member' failed",
        ),
        (
            "Value '[--token, sekret]' at 'algorithmSpecification.containerArguments' failed",
            "The value at 'algorithmSpecification.containerArguments' failed",
        ),
        (
            "Value 'ml.x' at 'resourceConfig.instanceType' failed",
            "Value 'ml.x' at 'resourceConfig.instanceType' failed",
        ),
    ],
)
def test_what_sagemaker_repeats_of_a_request_is_not_passed_on(
    said: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(aws_error("ValidationException", said)) as server, pytest.raises(TrainingJobRejected) as raised:
        ask(server, monkeypatch, CALLS["sagemaker create"])
    assert str(raised.value) == f"SageMaker refused the training job: {shown} (ValidationException)"


def test_a_training_job_is_described_without_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(Answer(200, DESCRIBED)) as server:
        job = ask(server, monkeypatch, CALLS["sagemaker describe"])
    assert (job.name, job.status, job.verdict) == ("abc", "InProgress", None)
    assert job.modified_at.year == 2025
    assert "sekret" not in repr(job)


@pytest.mark.parametrize("name", ["sagemaker describe", "sagemaker tags"])
@pytest.mark.parametrize(
    ("code", "message"),
    [("ValidationException", "Requested resource not found."), ("AccessDeniedException", "no identity-based policy")],
)
def test_a_training_job_that_is_not_there_or_not_to_be_seen_is_not_ours(
    name: str, code: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(aws_error(code, message)) as server:
        assert ask(server, monkeypatch, CALLS[name]) is None


@pytest.mark.parametrize("code", ["ValidationException", "ResourceNotFound"])
def test_stopping_an_ended_job_is_fine(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(aws_error(code)) as server:
        ask(server, monkeypatch, CALLS["sagemaker stop"])
    assert server.asked[0].target == "StopTrainingJob"


@pytest.mark.parametrize(
    ("item", "stack", "is_ours"), [("item", "stack", True), ("other", "stack", False), ("item", "other", False)]
)
def test_a_runs_job_has_its_item_and_its_stack_in_the_tags_on_whatever_page(
    item: str, stack: str, is_ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = (
        Answer(200, DESCRIBED),
        Answer(200, {"Tags": [{"Key": "LaunchStack", "Value": stack}], "NextToken": "more"}),
        Answer(200, {"Tags": [{"Key": "WandbRunQueueItemId", "Value": item}]}),
    )
    run = RUN.model_copy(update={"training_job_name": "abc"})
    with answering(*pages) as server:
        job = ask(server, monkeypatch, lambda: SageMaker("stack").job_of(run))
    assert bool(job) is is_ours


@pytest.mark.parametrize("shown", ["training-job/mixedcase", "training-job/MixedCase"])
def test_the_tags_of_a_training_job_are_found_whatever_the_case_of_its_arn(
    shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = ARN.replace("training-job/abc", shown)
    job = TrainingJob.model_validate({**DESCRIBED, "TrainingJobName": "MixedCase", "TrainingJobArn": arn})
    tags = {"LaunchStack": "stack", "WandbRunQueueItemId": "item"}
    with answering(Answer(200, {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]})) as server:
        assert ask(server, monkeypatch, lambda: SageMaker("stack").item_of(job)) == "item"
    assert [each.json["ResourceArn"] for each in server.asked] == [ARN.replace("/abc", "/MixedCase")]
    gone = aws_error("ValidationException", "Resource does not exist.")
    with answering(gone, Answer(200, {"Tags": []})) as server:
        assert ask(server, monkeypatch, lambda: SageMaker("stack").item_of(job)) is None
    assert [each.json["ResourceArn"] for each in server.asked][1:] == ([arn] if arn.islower() else [])


def test_a_run_without_a_named_job_has_none() -> None:
    assert SageMaker("stack").job_of(RUN) is None


def test_an_execution_that_has_been_there_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(aws_error("ExecutionAlreadyExists")) as server:
        assert ask(server, monkeypatch, CALLS["start execution"]) is False


@pytest.mark.parametrize("code", ["TaskDoesNotExist", "TaskTimedOut", "InvalidToken"])
def test_a_settled_token_is_no_error(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(aws_error(code)) as server:
        assert ask(server, monkeypatch, CALLS["answer token"]) is False


@pytest.mark.parametrize("value", ["sekret", '{"api_key": "sekret"}', '{"WANDB_API_KEY": "sekret"}', " sekret\n"])
def test_the_api_key_is_read_as_text_and_as_json_and_once(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(Answer(200, {"SecretString": value})) as server:
        key = ask(server, monkeypatch, lambda: WandbApiKey("arn"))
        assert key() == "sekret"
        assert key() == "sekret"
    assert len(server.asked) == 1


@pytest.mark.parametrize("value", ["", "{}", '{"other": "sekret"}'])
def test_a_secret_without_a_key_is_said_so_without_its_contents(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(Answer(200, {"SecretString": value})) as server, pytest.raises(WandbKeyRejected) as raised:
        ask(server, monkeypatch, CALLS["secret"])
    assert "sekret" not in str(raised.value)


def test_the_tail_of_every_hosts_log_is_read_and_of_no_other_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = (
        Answer(200, {"logStreams": [{"logStreamName": "abc/algo-1-1"}, {"logStreamName": "abc/algo-2-1"}]}),
        Answer(200, {"events": [{"message": "one"}, {"message": "two"}]}),
        Answer(200, {"events": []}),
    )
    with answering(*answers) as server:
        tails = ask(server, monkeypatch, CALLS["log tails"])
    assert tails == [("abc/algo-1-1", ["one", "two"]), ("abc/algo-2-1", [])]
    assert server.asked[0].json["logStreamNamePrefix"] == "abc/"


def test_a_job_that_wrote_no_log_has_no_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(aws_error("ResourceNotFoundException")) as server:
        assert ask(server, monkeypatch, CALLS["log tails"]) == []


def test_the_input_of_an_execution_is_the_same_for_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(Answer(200, {"executionArn": "a", "startDate": 1})) as server:
        for _ in range(2):
            ask(server, monkeypatch, lambda: Executions().start("arn", "run-1", {}))
    first, second = (json.loads(asked.body)["input"] for asked in server.asked)
    assert first == second
