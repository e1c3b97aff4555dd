"""What to do about a failure: one table from the words of AWS, Docker, pip, uv and Python to a sentence.

docs/facts.md has the source of the words, and tests/unit/test_remedies.py has each of them as it was written.
"""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import NamedTuple


class Remedy(NamedTuple):
    """A cause, and what to do about it."""

    words: str
    """A pattern that finds the cause in a text, in any case. Its groups are in the sentence."""
    sentence: str

    def found_in(self, text: str) -> re.Match[str] | None:
        """Return the cause in a text. Patterns are compiled only here: a cold start has no time for all of them."""
        return re.search(self.words, text, re.IGNORECASE)


_ROLE = r"(?P<role>arn:[\w-]{1,20}:iam::\d{12}:role/[\w+=,.@/-]{1,576})"
_TRUST = '{{"Effect": "Allow", "Principal": {{"Service": "sagemaker.amazonaws.com"}}, "Action": "sts:AssumeRole"}}'
_PULL = "ecr:BatchCheckLayerAvailability, ecr:BatchGetImage and ecr:GetDownloadUrlForLayer"

REMEDIES = (
    # --- roles
    Remedy(
        rf"not authorized to perform: iam:PassRole on resource: {_ROLE}",
        "Deploy the stack with {role} in the parameter TrainingRoleArns (roles are separated by commas), or name "
        "another role as RoleArn in the queue's configuration.",
    ),
    Remedy(
        rf"(?:could not assume role|unable to assume the role|sts:AssumeRole on the role)(?: '?{_ROLE})?",
        f"Check that the role exists, and add this statement to its trust policy: {_TRUST}.",
    ),
    Remedy(
        r"not authorized to perform: (?P<action>[\w-]{2,40}:\w{2,60}) on resource: (?P<resource>\S{1,300}?)[,.]? "
        r"(?:with an explicit deny|because a service control policy)",
        "A policy of the organization or the account denies {action} on {resource}. Its owner has to allow it.",
    ),
    Remedy(
        r"not authorized to perform: (?P<action>[\w-]{2,40}:\w{2,60}) on resource: (?P<resource>[^\s,]{1,300})",
        'Allow it: {{"Effect": "Allow", "Action": "{action}", "Resource": "{resource}"}}.',
    ),
    # --- images
    Remedy(
        r"Access denied for repository: (?P<repository>\S{1,256}) in registry ID: (?P<account>\d{12})",
        f"Check that the image exists. Allow the job's role {_PULL} on the repository {{repository}}; a repository of "
        "another account ({account}) needs a policy that allows it too.",
    ),
    Remedy(
        r"(?:repository of your image|image) (?P<image>\S{1,400}) does not grant ecr:",
        f"Add to the policy of the image's repository: allow sagemaker.amazonaws.com {_PULL}.",
    ),
    Remedy(
        r"Cannot pull algorithm container",
        f"Check that the image and its tag exist in this region, and allow the job's role {_PULL} on its repository.",
    ),
    # --- buckets
    Remedy(
        r'No S3 objects found under S3 URL "(?P<uri>s3://[^"]{1,1024})"',
        "Check S3Uri in InputDataConfig: {uri} has no object. If it has some, allow the job's role s3:ListBucket on "
        "the bucket and s3:GetObject on its objects.",
    ),
    Remedy(
        r"(?:Data download failed|Failed to download data).{0,300}(?:AccessDenied|Access Denied|Forbidden|\(403\))",
        "Allow the job's role s3:GetObject and s3:ListBucket on the bucket of InputDataConfig; the stack's own role "
        "gets them with the parameter InputBucketArns.",
    ),
    Remedy(
        r"Artifact upload failed.{0,300}(?:AccessDenied|Access Denied|Forbidden|Insufficient permissions|\(403\))",
        "Allow the job's role s3:PutObject on OutputDataConfig.S3OutputPath.",
    ),
    # --- instances
    Remedy(
        r"The requested resource training-job/(?P<type>ml\.[\w.-]{1,40}) is not available in this region",
        "SageMaker does not have {type} in this region. Choose another InstanceType.",
    ),
    Remedy(
        r"No default VPC|subnets? .{0,80} (?:does not|do not) exist",
        "Check Subnets and SecurityGroupIds in VpcConfig: they have to exist in this region.",
    ),
    # --- packages: uv, then pip
    Remedy(
        r"Because (?P<package>[\w.\[\]-]{1,100}) was not found in the package registry",
        "No index has the package {package}. Check its name in the requirements, or name the index that has it with "
        "--extra-index-url.",
    ),
    Remedy(
        r"Because there is no version of (?P<package>[^\s,]{1,150})",
        "No index has {package}. Ask for a version that exists for this Python.",
    ),
    Remedy(
        r"No matching distribution found for (?P<package>[^\s,]{1,150})",
        "No index has {package} for this Python. Check its name and version in the requirements, or name the index "
        "that has it with --extra-index-url.",
    ),
    Remedy(
        r"Because you require (?P<one>[^\s,]{1,150}) and (?P<other>[^\s,]{1,150})",
        "{one} and {other} exclude each other. Relax one of them in the requirements.",
    ),
    Remedy(
        r"ResolutionImpossible",
        "Versions in the requirements exclude each other. The end of the log says which; relax one of them.",
    ),
    # --- Python and the operating system
    Remedy(
        r"ModuleNotFoundError: No module named '(?P<module>[\w.]{1,100})'",
        "Add the package of {module} to the job's requirements, or to its image.",
    ),
    Remedy(
        r"CUDA out of memory|CUDA_ERROR_OUT_OF_MEMORY",
        "The GPU has too little memory: reduce the batch size, or choose an InstanceType with a larger GPU.",
    ),
    Remedy(
        r"\bMemoryError\b|exit code: 137\b",
        "The instance has probably too little memory: choose a larger InstanceType, or load less data at a time.",
    ),
    Remedy(
        r"No space left on device",
        "The disk is full: raise ResourceConfig.VolumeSizeInGB.",
    ),
)
"""The first that is found counts."""

_WRONG_TYPE = (
    r"Value '(?P<given>[^']{1,80})' at '[\w.]{0,80}instanceType' failed to satisfy constraint: Member must satisfy "
    r"enum value set: \[(?P<types>[\w., -]{1,20000})"
)


ENDINGS = {
    # --- the first word of a FailureReason
    "CapacityError": "AWS has no capacity for this instance type. Queue the run again later, or choose another type.",
    "InternalServerError": "SageMaker itself failed. Queue the run again. With a RetryStrategy in the queue's "
    "configuration, SageMaker tries again by itself.",
    "AlgorithmError": "The job's code failed. The end of its log is in error.log.",
    "ClientError": "The job's configuration is wrong. Check its image, data, network, and the permissions of its role.",
    # --- the secondary status of a stopped training job
    "MaxRuntimeExceeded": "SageMaker stopped it at StoppingCondition.MaxRuntimeInSeconds. Raise that limit in "
    "the queue's configuration, or save checkpoints and queue the run again.",
    "MaxWaitTimeExceeded": "SageMaker had no spot capacity until StoppingCondition.MaxWaitTimeInSeconds. Raise "
    "that limit, choose another instance type, or turn EnableManagedSpotTraining off.",
    # --- the status of a build
    "FAULT": "AWS CodeBuild itself failed. Queue the run again.",
    "STOPPED": "Someone stopped the image build.",
    "TIMED_OUT": "The image build took longer than a build may take. Install fewer packages, or use a base image that "
    "has them: builder.accelerator.base_image or builder.base_image in the queue's configuration.",
    # --- errors of Step Functions
    "CodeBuild.AccountLimitExceededException": "Request a higher quota for concurrently running builds in the Service "
    "Quotas console. In a new account it can be zero.",
    "States.Timeout": "The training job did not end within its time limits and one day of waiting in line, so it was "
    "stopped. The SageMaker console has its log and status.",
}
"""What an end means, and what to do, by AWS's name of it. REMEDIES know more causes, by AWS's words."""

_TYPES = r": \[ml\.[\w., -]+\]?"


def remedy(*texts: str) -> str:
    """Return what to do about the first cause that the texts have; empty if none is known."""
    return next(_remedies(texts), "")


def explained(text: str) -> str:
    """Return an error's text with what to do about it, and without the names of all instance types."""
    todo = remedy(text)
    short = re.sub(_TYPES, "", text)
    return f"{short} {todo}" if todo and todo not in short else short


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return a question with the name that is nearest, or an empty text."""
    near = get_close_matches(given, sorted(known), n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else ""


def _remedies(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        wrong = re.search(_WRONG_TYPE, text, re.IGNORECASE)
        if wrong:
            types = [each for each in re.split(r",\s*", wrong["types"]) if each]
            yield did_you_mean(wrong["given"], types) or "Choose an InstanceType that SageMaker trains on."
        for each in REMEDIES:
            if found := each.found_in(text):
                yield each.sentence.format(**found.groupdict())
