"""SageMaker training jobs: checks requests, takes jobs through their states, and sends status events."""

import contextvars
import itertools
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from local import ACCOUNT_ID, REGION
from local.aws import seams
from local.aws.behaviour import Behaviour
from local.aws.cloud import Cloud
from local.aws.delivery import publish
from local.aws.iam import Iam
from local.aws.json_service import JsonService, Operation, Refused
from local.aws.runner import Images
from local.aws.training_run import Failed, TrainingRun
from local.folders import remove

TERMINAL = ("Completed", "Failed", "Stopped")
_STATUS_MESSAGES = {
    "Starting": "Launching requested ML instances",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Interrupted": "Waiting for spot capacity",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
}
# https://github.com/aws/amazon-sagemaker-examples/issues/2267
_NO_OBJECTS = (
    'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket exists in the '
    'selected region ({region}), that objects exist under that S3 prefix, and that the role "{role}" has '
    '"s3:ListBucket" permissions on bucket "{bucket}".'
)
NETWORK_INTERFACES = (
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
)
_THROUGH_SAGEMAKER = {"kms:viaservice": f"sagemaker.{REGION}.amazonaws.com", "kms:grantisforawsresource": "true"}
_CAPACITY = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type."
)


_SPOT_SHARE = 0.3
"""How many of a spot job's seconds are billed; SageMaker documents savings of up to 90%."""


class Training:
    """The account's training jobs, and the API for them."""

    def __init__(self, cloud: Cloud, iam: Iam, images: Images, behaviour: Behaviour) -> None:
        """Start without jobs. They will run in this cloud, with these images and this behaviour."""
        self._cloud, self._iam, self._images, self._behaviour = cloud, iam, images, behaviour
        self._shapes = itertools.cycle(("map", "list", "absent"))
        self._jobs: dict[str, dict[str, Any]] = {}
        self._tags: dict[str, list[dict[str, str]]] = {}
        self._stops: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.RLock()
        self.faults: list[dict[str, Any]] = []
        operations: dict[str, Operation] = {
            "CreateTrainingJob": self._create,
            "DescribeTrainingJob": lambda asked, _: self._described(self._find(asked)),
            "ListTrainingJobs": self._list,
            "StopTrainingJob": self._stop,
            "Search": self._search,
            "AddTags": self._add_tags,
            "ListTags": lambda asked, _: {"Tags": self._tags.get(asked["ResourceArn"], [])},
        }
        self._service = JsonService("sagemaker", operations, invalid="ValidationException")

    def install(self) -> None:
        """Let ministack route SageMaker's calls here."""
        patterns = {"target_prefixes": ["SageMaker."], "host_patterns": [r"api\.sagemaker\."]}
        seams.add("ministack.core.router:SERVICE_PATTERNS", "sagemaker", patterns)
        seams.add("ministack.app:SERVICE_HANDLERS", "sagemaker", self._service.handle)
        self._iam.know_tags(self._tags)

    def close(self) -> None:
        """Stop all jobs, and wait until their containers have ended."""
        for stop in self._stops.values():
            stop.set()
        for thread in self._threads:
            thread.join()

    # --- operations
    def _create(self, asked: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        name = asked["TrainingJobName"]
        arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT_ID}:training-job/{name}"
        _check_rules(asked)
        self._iam.caller_needs(
            headers, "iam:PassRole", asked["RoleArn"], **{"iam:passedtoservice": "sagemaker.amazonaws.com"}
        )
        if asked.get("Tags"):
            tags = {f"aws:requesttag/{tag['Key']}": tag["Value"] for tag in asked["Tags"]}
            context = {"sagemaker:taggingaction": "CreateTrainingJob", **tags}
            self._iam.caller_needs(headers, "sagemaker:AddTags", arn, **context)
        if not self._iam.trusts(asked["RoleArn"], "sagemaker.amazonaws.com"):
            raise Refused(
                "ValidationException",
                f"Could not assume role {asked['RoleArn']}. Please ensure that the role exists and allows principal "
                "'sagemaker.amazonaws.com' to assume the role.",
            )
        self._check_rights(asked, headers)
        self._injected_refusal(name)
        now = time.time()
        with self._lock:
            if name in self._jobs:
                raise Refused(
                    "ResourceInUse",
                    "Training job names must be unique within an AWS account and region, and a training job with this "
                    f"name already exists ({arn})",
                )
            job = {key: value for key, value in asked.items() if key != "Tags"}
            job |= {
                "TrainingJobArn": arn,
                "CreationTime": now,
                "LastModifiedTime": now,
                "SecondaryStatusTransitions": [],
            }
            self._jobs[name], self._stops[name] = job, threading.Event()
            self._tags[arn] = list(asked.get("Tags") or [])
        # The first status exists before CreateTrainingJob returns.
        self._move(job, "InProgress", "Starting")
        thread = threading.Thread(target=contextvars.copy_context().run, args=(self._live, job), daemon=True)
        self._threads.append(thread)
        thread.start()
        return {"TrainingJobArn": arn}

    def _check_rights(self, asked: dict[str, Any], headers: dict[str, str]) -> None:
        """Refuse a job if its role lacks permissions for its key, network or inputs. Raises Refused and Denied.

        https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html#sagemaker-roles-createtrainingjob-perms
        """
        role = asked["RoleArn"]
        key = (asked.get("ResourceConfig") or {}).get("VolumeKmsKeyId")
        if key:
            self._iam.need_for_either(role, headers, "kms:CreateGrant", _key_arn(key), **_THROUGH_SAGEMAKER)
        if asked.get("VpcConfig"):
            self._iam.need(role, NETWORK_INTERFACES)
        for channel in asked.get("InputDataConfig") or []:
            uri = ((channel.get("DataSource") or {}).get("S3DataSource") or {}).get("S3Uri")
            if uri:
                self._check_input(role, uri)

    def _check_input(self, role: str, uri: str) -> None:
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        try:
            found = self._cloud.client("s3", role).list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)["KeyCount"]
        except ClientError:
            found = 0
        if not found:
            raise Refused("ValidationException", _NO_OBJECTS.format(uri=uri, region=REGION, role=role, bucket=bucket))

    def _injected_refusal(self, name: str) -> None:
        fault = self._injected(name, "code")
        if fault:
            raise Refused(fault["code"], fault.get("message", "injected"))

    def _injected(self, name: str, kind: str) -> dict[str, Any] | None:
        """Return a planned fault of this kind for a job of this name, or None; count it as used."""
        for fault in self.faults:
            if fault.get(kind) and fault["match"] in name and fault.get("times", 1) > 0:
                fault["times"] = fault.get("times", 1) - 1
                return fault
        return None

    def _find(self, asked: dict[str, Any]) -> dict[str, Any]:
        job = self._jobs.get(asked["TrainingJobName"])
        if job is None:
            raise Refused("ValidationException", "Requested resource not found.")
        return job

    def _described(self, job: dict[str, Any]) -> dict[str, Any]:
        started, ended = job.get("TrainingStartTime"), job.get("TrainingEndTime")
        if not started or not ended:
            return job
        seconds = max(1, int(ended - started))
        billable = max(1, int(seconds * _SPOT_SHARE)) if job.get("EnableManagedSpotTraining") else seconds
        return {**job, "TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": billable}

    def _list(self, asked: dict[str, Any], _: dict[str, str]) -> dict[str, Any]:
        found = [job for name, job in self._jobs.items() if asked.get("NameContains", "") in name]
        found.sort(key=lambda job: job["CreationTime"], reverse=asked.get("SortOrder") != "Ascending")
        keys = (
            "TrainingJobName",
            "TrainingJobArn",
            "CreationTime",
            "TrainingEndTime",
            "LastModifiedTime",
            "TrainingJobStatus",
        )
        start, size = int(asked.get("NextToken", 0)), asked.get("MaxResults", 10)
        page = [{key: job[key] for key in keys if key in job} for job in found[start : start + size]]
        more = {"NextToken": str(start + size)} if start + size < len(found) else {}
        return {"TrainingJobSummaries": page, **more}

    def _search(self, asked: dict[str, Any], _: dict[str, str]) -> dict[str, Any]:
        """Find training jobs by equal attributes and tags; refuse other searches."""
        filters = asked.get("SearchExpression", {}).get("Filters", [])
        if asked["Resource"] != "TrainingJob" or any(each["Operator"] != "Equals" for each in filters):
            raise Refused(
                "ValidationException", "The embedded AWS searches only for training jobs, and only by Equals."
            )
        found = [
            job | {"Tags": self._tags[job["TrainingJobArn"]]}
            for job in list(self._jobs.values())
            if all(self._value(job, each["Name"]) == each["Value"] for each in filters)
        ]
        start, size = int(asked.get("NextToken", 0)), asked.get("MaxResults", 100)
        page = [{"TrainingJob": job} for job in found[start : start + size]]
        more = {"NextToken": str(start + size)} if start + size < len(found) else {}
        return {"Results": page, **more}

    def _value(self, job: dict[str, Any], name: str) -> object:
        _, _, tag = name.partition("Tags.")
        tags = {each["Key"]: each["Value"] for each in self._tags[job["TrainingJobArn"]]}
        return tags.get(tag) if tag else job.get(name)

    def _stop(self, asked: dict[str, Any], _: dict[str, str]) -> dict[str, Any]:
        job = self._find(asked)
        with self._lock:
            status = job["TrainingJobStatus"]
            if status in TERMINAL:
                raise Refused(
                    "ValidationException",
                    f"The request was rejected because the training job is in status {status}.",
                )
            if status != "Stopping":
                self._move(job, "Stopping", "Stopping")
            self._stops[job["TrainingJobName"]].set()
        return {}

    def _add_tags(self, asked: dict[str, Any], _: dict[str, str]) -> dict[str, Any]:
        known = {tag["Key"]: tag for tag in self._tags.setdefault(asked["ResourceArn"], [])}
        self._tags[asked["ResourceArn"]] = list((known | {tag["Key"]: tag for tag in asked["Tags"]}).values())
        return {"Tags": self._tags[asked["ResourceArn"]]}

    # --- a job's life
    def _live(self, job: dict[str, Any]) -> None:
        """Take a job through its states, in its own thread."""
        name = job["TrainingJobName"]
        folder = self._cloud.data / "training" / name
        run = TrainingRun(self._cloud, self._iam, self._images, job, folder, self._stops[name])
        try:
            self._phase(job, run, "Starting", 0.3, lambda: self._injected_failure(name))
            if self._injected(name, "interrupts"):
                self._phase(job, run, "Downloading", 0.2, run.download)
                self._phase(job, run, "Interrupted", 0.3, lambda: None)
                self._phase(job, run, "Starting", 0.3, lambda: None)
            job["TrainingStartTime"] = time.time()  # the instances are ready; billing starts
            self._phase(job, run, "Downloading", 0.2, run.download)
            self._move(job, "InProgress", "Training")
            limit = run.train()
            run.upload()
            if limit or run.stopped:
                self._move(job, "Stopped", limit or "Stopped")
                return
            self._phase(job, run, "Uploading", 0.1, lambda: None)
            job["FinalMetricDataList"] = run.metrics
            self._move(job, "Completed", "Completed")
        except Failed as error:
            job["FailureReason"] = str(error)[:1024]
            self._move(job, "Failed", "Failed")
        except _StoppedEarly:
            self._move(job, "Stopped", "Stopped")
        except Exception as error:
            # SageMaker's name for an error in the service itself. Without an end, the job would hide the error.
            job["FailureReason"] = f"InternalServerError: {error!r}"[:1024]
            self._move(job, "Failed", "Failed")
            raise
        finally:
            remove(folder)

    def _phase(
        self, job: dict[str, Any], run: TrainingRun, status: str, seconds: float, work: Callable[[], None]
    ) -> None:
        """Stay in a state for some time, and do its work. Raises Failed and _StoppedEarly."""
        if job["SecondaryStatus"] != status:
            self._move(job, "InProgress", status)
        work()
        if self._stops[job["TrainingJobName"]].wait(self._cloud.scaled(seconds)):
            raise _StoppedEarly

    def _injected_failure(self, name: str) -> None:
        fault = self._injected(name, "capacity") or self._injected(name, "fails")
        if fault:
            raise Failed(fault.get("fails", _CAPACITY))

    def _move(self, job: dict[str, Any], status: str, secondary: str) -> None:
        """Change the status, and send an event to EventBridge."""
        with self._lock:
            if job.get("TrainingJobStatus") == "Stopping" and status == "InProgress":
                return
            now = time.time()
            transitions = job["SecondaryStatusTransitions"]
            if transitions:
                transitions[-1]["EndTime"] = now
            transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": _STATUS_MESSAGES[secondary]})
            if status in TERMINAL:
                transitions[-1]["EndTime"] = job["TrainingEndTime"] = now
            job.update(TrainingJobStatus=status, SecondaryStatus=secondary, LastModifiedTime=now)
            if status == "Completed":
                job["ModelArtifacts"] = {"S3ModelArtifacts": TrainingRun.model_uri(job)}
            self._tell(job)

    def _tell(self, job: dict[str, Any]) -> None:
        detail = dict.fromkeys(_NULLS) | {
            key: value for key, value in self._described(job).items() if key not in ("Environment", "RetryStrategy")
        }
        shape, name = self._behaviour.event_tags, job["TrainingJobName"]
        detail |= _shown_tags(next(self._shapes) if shape == "mixed" else shape, self._tags[job["TrainingJobArn"]])
        detail = json.loads(json.dumps(_in_milliseconds(detail)))
        fault = next((each for each in self.faults if each.get("events") and each["match"] in name), {})
        copies = {"drop": 0, "duplicate": 2}.get(fault.get("events", ""), self._behaviour.event_copies)
        for _ in range(copies):
            publish("aws.sagemaker", "SageMaker Training Job State Change", detail, job["TrainingJobArn"])


class _StoppedEarly(Exception):
    """The job was stopped before its container ran."""


_NULLS = ("FailureReason", "FinalMetricDataList", "ModelArtifacts", "TrainingEndTime", "TrainingStartTime", "VpcConfig")
"""The fields that are null in an event if the job has none: the test event of awslabs/mlspace."""


def _shown_tags(shape: str, tags: list[dict[str, str]]) -> dict[str, Any]:
    """Return a job's tags in one of the forms in AWS's own sources: a map (mlspace), a list (CDK's schema), or none."""
    if shape == "absent":
        return {}
    return {"Tags": {tag["Key"]: tag["Value"] for tag in tags} if shape == "map" else tags}


def _key_arn(key: str) -> str:
    return key if key.startswith("arn:") else f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/{key}"


def _in_milliseconds(detail: dict[str, Any]) -> dict[str, Any]:
    """Convert times to epoch milliseconds, as in events."""
    times = ("CreationTime", "LastModifiedTime", "TrainingStartTime", "TrainingEndTime", "StartTime", "EndTime")
    written = {key: int(value * 1000) if key in times and value else value for key, value in detail.items()}
    if "SecondaryStatusTransitions" in detail:
        written["SecondaryStatusTransitions"] = [
            _in_milliseconds(each) for each in detail["SecondaryStatusTransitions"]
        ]
    return written


def _check_rules(asked: dict[str, Any]) -> None:
    """Apply SageMaker's rules that are not in its model. Raises Refused."""
    for faulty, message in _rules(asked):
        if faulty:
            raise Refused("ValidationException", message)


def _rules(asked: dict[str, Any]) -> list[tuple[object, str]]:
    specification, resources = asked.get("AlgorithmSpecification") or {}, asked.get("ResourceConfig") or {}
    stopping = asked.get("StoppingCondition") or {}
    image = specification.get("TrainingImage") or ""
    groups = resources.get("InstanceGroups") or resources.get("InstancePreferences")
    wait, runtime = stopping.get("MaxWaitTimeInSeconds"), stopping.get("MaxRuntimeInSeconds", 86_400)
    spot = asked.get("EnableManagedSpotTraining")
    config = specification.get("TrainingImageConfig")
    return [
        (not specification, "AlgorithmSpecification: Member must not be null"),
        (not resources, "ResourceConfig: Member must not be null"),
        (not stopping, "StoppingCondition: Member must not be null"),
        (
            bool(image) == bool(specification.get("AlgorithmName")),
            "Exactly one of TrainingImage and AlgorithmName must be specified.",
        ),
        (not groups and not resources.get("InstanceType"), "InstanceType is required in ResourceConfig."),
        (not groups and resources.get("InstanceCount", 0) < 1, "InstanceCount must be at least 1."),
        (not asked["OutputDataConfig"]["S3OutputPath"].startswith("s3://"), "S3OutputPath must be an S3 URI."),
        (
            spot and (wait is None or wait < runtime),
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds.",
        ),
        (
            wait is not None and not spot,
            "MaxWaitTimeInSeconds above 0 is not supported when EnableManagedSpotTraining is false.",
        ),
        (
            image and not config and ".dkr.ecr." not in image,
            f"TrainingImageConfig with TrainingRepositoryAccessMode Vpc must be provided for the image {image}.",
        ),
        (
            ".dkr.ecr." in image and f".dkr.ecr.{REGION}." not in image,
            f"Cross region ECR image pulls are not allowed: {image} is not in {REGION}.",
        ),
    ]
