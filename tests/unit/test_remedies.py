# ruff: noqa: E501, RUF001 - the texts are as they were captured
"""Captured texts of AWS, uv, pip and Python, and the sentence that fixes each. docs/facts.md names their sources."""

import pytest

from launch_agent.image.build_failure import Build, explain
from launch_agent.outcome.log_lines import headline
from launch_agent.remedies import REMEDIES, did_you_mean, explained, remedy

ROLE = "arn:aws:iam::123456789012:role/Training"
USER = "User: arn:aws:sts::123456789012:assumed-role/launch-StartTrainingRole/f is not authorized to perform: "

CAPTURED = {
    f"{USER}iam:PassRole on resource: {ROLE} because no identity-based policy allows the iam:PassRole action": (
        f"Deploy the stack with {ROLE} in the parameter TrainingRoleArns (roles are separated by commas), or name another "
        "role as RoleArn in the queue's configuration."
    ),
    f"Could not assume role {ROLE}. Please ensure that the role exists and allows principal 'sagemaker.amazonaws.com' to "
    "assume the role.": "add this statement to its trust policy",
    f"ClientError: SageMaker was unable to assume the role '{ROLE}'": '{"Service": "sagemaker.amazonaws.com"}',
    "ClientError: TrainingHostAgent Initialization failed:InvalidInputException: SageMaker is unable to perform: "
    "sts:AssumeRole on the role. Check if you have a trust relationship for 'sagemaker.amazonaws.com' to assume the "
    "role.": '"Action": "sts:AssumeRole"',
    f"{USER}sagemaker:CreateTrainingJob on resource: arn:aws:sagemaker:us-east-1:308085923257:training-job/wpi-cpu with an "
    "explicit deny": "A policy of the organization or the account denies sagemaker:CreateTrainingJob",
    f"{USER}sagemaker:AddTags on resource: arn:aws:sagemaker:us-east-1:1:training-job/x because no identity-based policy "
    "allows the sagemaker:AddTags action": 'Allow it: {"Effect": "Allow", "Action": "sagemaker:AddTags", "Resource": '
    '"arn:aws:sagemaker:us-east-1:1:training-job/x"}.',
    "Access denied for repository: wpi-cpu in registry ID: 118451457254. Please check if your ECR repository and image "
    f"exist and role {ROLE} has proper pull permissions for SageMaker: ecr:BatchCheckLayerAvailability, ecr:BatchGetImage, "
    "ecr:GetDownloadUrlForLayer": "on the repository wpi-cpu; a repository of another account (118451457254)",
    "The repository of your image 007439368137.dkr.ecr.eu-west-2.amazonaws.com/triton:25.09-py3 does not grant "
    "ecr:GetDownloadUrlForLayer, ecr:BatchGetImage, ecr:BatchCheckLayerAvailability permission to sagemaker.amazonaws.com "
    "service principal.": "policy of the image's repository: allow sagemaker.amazonaws.com ecr:BatchCheck",
    "ClientError: Cannot pull algorithm container. Either the image does not exist or its permissions are incorrect.": (
        "Check that the image and its tag exist in this region"
    ),
    'No S3 objects found under S3 URL "s3://data/train" given in input data source. Please ensure that the bucket exists '
    f'in the selected region (us-east-1), that objects exist under that S3 prefix, and that the role "{ROLE}" has '
    '"s3:ListBucket" permissions on bucket "data".': "Check S3Uri in InputDataConfig: s3://data/train has no object.",
    "ClientError: Data download failed:An error occurred (403) when calling the HeadObject operation: Forbidden": (
        "with the parameter InputBucketArns"
    ),
    "ClientError: Artifact upload failed:An error occurred (AccessDenied) when calling the PutObject operation: Access "
    "Denied": "Allow the job's role s3:PutObject on OutputDataConfig.S3OutputPath.",
    "The requested resource training-job/ml.p2.xlarge is not available in this region": "does not have ml.p2.xlarge",
    "The subnet ID 'subnet-1' does not exist": "Check Subnets and SecurityGroupIds in VpcConfig",
    "  cause: Because torchxyz was not found in the package registry and you require torchxyz, we can conclude that your "
    "requirements are unsatisfiable.": "No index has the package torchxyz.",
    "  cause: Because there is no version of torch==99.0 and you require torch==99.0, we can conclude that your "
    "requirements are unsatisfiable.": "No index has torch==99.0.",
    "  cause: Because you require numpy<1 and numpy>2, we can conclude that your requirements are unsatisfiable.": (
        "numpy<1 and numpy>2 exclude each other."
    ),
    "ERROR: No matching distribution found for torchxyz==9": "No index has torchxyz==9 for this Python.",
    "ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/en/latest/topics/dependency-resolution/": (
        "Versions in the requirements exclude each other."
    ),
    "ModuleNotFoundError: No module named 'sklearn.linear_model'": "Add the package of sklearn.linear_model to the job's",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has": "reduce the batch size",
    "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.28 TiB\nMemoryError": "choose a larger InstanceType",
    "AlgorithmError: , exit code: 137": "too little memory",
    "OSError: [Errno 28] No space left on device": "raise ResourceConfig.VolumeSizeInGB",
}
WRONG_TYPE = (
    "1 validation error detected: Value '{}' at 'resourceConfig.instanceType' failed to satisfy constraint: Member must "
    "satisfy enum value set: [ml.p2.xlarge, ml.m5.4xlarge, ml.m4.16xlarge, ml.p3.16xlarge, ml.m5.large, ml.c5.2xlarge]"
)


@pytest.mark.parametrize("text", CAPTURED)
def test_a_captured_text_has_the_sentence_that_fixes_it(text: str) -> None:
    assert CAPTURED[text] in remedy(text)
    assert explained(text) == f"{text} {remedy(text)}"


def test_each_row_of_the_table_has_a_captured_text() -> None:
    found = {next(each for each in REMEDIES if each.found_in(text)) for text in CAPTURED}
    assert found == set(REMEDIES)


@pytest.mark.parametrize(("given", "meant"), [("ml.m5.larg", "ml.m5.large"), ("ml.c5.2xlagre", "ml.c5.2xlarge")])
def test_a_wrong_instance_type_is_answered_with_the_one_that_was_meant(given: str, meant: str) -> None:
    text = explained(f"SageMaker refused the training job: {WRONG_TYPE.format(given)} (ValidationException)")
    assert text.endswith(f"Member must satisfy enum value set (ValidationException) Did you mean {meant}?")


def test_an_instance_type_that_is_like_none_is_not_guessed() -> None:
    assert remedy(WRONG_TYPE.format("tpu-v4")) == "Choose an InstanceType that SageMaker trains on."


def test_a_text_without_a_known_cause_stays_as_it_is() -> None:
    assert (remedy("hm", ""), explained("hm")) == ("", "hm")
    assert did_you_mean("zzz", ["ml.m5.large"]) == ""


@pytest.mark.parametrize(
    "lines",
    [
        [
            "#9 3.1 error: No solution found",
            "#9 3.1   cause: Because torchxyz was not found in the package registry and you",
        ],
        [
            "#9 3.1   × No solution found",
            "#9 3.1   ╰─▶ Because torchxyz was not found in the package",
            "#9 3.1    registry and",
        ],
    ],
)
def test_a_build_without_a_package_begins_with_it(lines: list[str]) -> None:
    failed = Build.model_validate({"id": "b", "buildStatus": "FAILED"})
    log = [*lines, "launch-agent: error: ImageBuildFailed: docker buildx build failed: exit code: 1"]
    reason = explain(failed, log)
    assert reason.startswith("No index has the package torchxyz. Check its name in the requirements")
    assert "The image build failed: ImageBuildFailed: docker buildx build failed: exit code: 1" in reason


def test_the_line_that_matters_is_followed_by_what_to_do() -> None:
    tail = ["Traceback (most recent call last):", "  import torchx", "ModuleNotFoundError: No module named 'torchx'"]
    assert headline("The training job failed.", [("algo-1", tail)]) == (
        "ModuleNotFoundError: No module named 'torchx'. Add the package of torchx to the job's requirements, or to its "
        "image. The training job failed."
    )
