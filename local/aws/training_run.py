"""The work of one training job: its inputs, its containers, and its outputs in S3."""

import json
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from local import REGION
from local.aws.cloud import Cloud
from local.aws.containers import Run, pulled
from local.aws.iam import Denied, Iam
from local.aws.logs import Log, log_stream
from local.aws.registry_client import RegistryClient
from local.aws.runner import Container, Images, NoSuchImage, command_of, in_own_registry, run_of
from local.folders import remove

_LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_CANNOT_PULL = (
    "ClientError: Cannot pull algorithm container. Either the image does not exist or its permissions are incorrect. {}"
)
# https://github.com/aws/amazon-sagemaker-examples/issues/4384
_CANNOT_DOWNLOAD = "ClientError: Data download failed:Unable to download object {uri} ({why})"

RunIn = Callable[[list[str], dict[str, str], Path], Run]
"""Returns how to run a command in an image, with an environment and a folder as /opt/ml."""


class Failed(Exception):
    """The job failed; the text is its FailureReason."""


class TrainingRun:
    """One running job, with its own role's credentials."""

    def __init__(
        self, cloud: Cloud, iam: Iam, images: Images, job: dict[str, Any], folder: Path, stop: threading.Event
    ) -> None:
        """Prepare a job with `folder` for its files; setting `stop` stops it."""
        self._cloud, self._iam, self._images, self._job, self._folder, self._stop = (
            cloud,
            iam,
            images,
            job,
            folder,
            stop,
        )
        self._session = f"SageMaker-{job['TrainingJobName']}"
        resources = job["ResourceConfig"]
        self._hosts = [f"algo-{number + 1}" for number in range(resources.get("InstanceCount") or 1)]
        self._limit_reached = False
        self.metrics: list[dict[str, Any]] = []

    @property
    def stopped(self) -> bool:
        """Whether the job was stopped."""
        return self._stop.is_set()

    def _client(self, service: str) -> Any:
        return self._cloud.client(service, self._job["RoleArn"], self._session)

    # --- inputs
    def download(self) -> None:
        """Create each host's /opt/ml, with configuration and channels, also on new hosts after an interruption.

        Raises Failed.
        """
        remove(self._folder)
        channels = self._job.get("InputDataConfig") or []
        for host in self._hosts:
            for name in ("input/config", "input/data", "model", "output/data", "checkpoints"):
                (self._folder / host / name).mkdir(parents=True)
            config = self._folder / host / "input/config"
            (config / "hyperparameters.json").write_text(json.dumps(self._job.get("HyperParameters") or {}))
            (config / "resourceconfig.json").write_text(json.dumps(self._resources(host)))
            described = {each["ChannelName"]: {"TrainingInputMode": "File"} for each in channels}
            (config / "inputdataconfig.json").write_text(json.dumps(described))
            for channel in channels:
                self._download_channel(channel, self._folder / host / "input/data" / channel["ChannelName"])

    def _resources(self, host: str) -> dict[str, Any]:
        instance = self._job["ResourceConfig"].get("InstanceType")
        return {
            "current_host": host,
            "hosts": self._hosts,
            "network_interface_name": "eth0",
            "current_instance_type": instance,
            "current_group_name": "homogeneousCluster",
        }

    def _download_channel(self, channel: dict[str, Any], folder: Path) -> None:
        folder.mkdir()
        source = channel.get("DataSource", {}).get("S3DataSource")
        if not source:
            return
        bucket, _, prefix = source["S3Uri"].removeprefix("s3://").partition("/")
        key = prefix
        try:
            pages = self._client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
            for key in keys:
                target = folder / (key[len(prefix) :].lstrip("/") or key.rpartition("/")[2])
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self._client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
        except ClientError as error:
            why = f"{error.response['Error']['Code']}: {error.response['Error'].get('Message', '')}"
            raise Failed(_CANNOT_DOWNLOAD.format(uri=f"s3://{bucket}/{key}", why=why)) from error
        if not keys:
            raise Failed(_CANNOT_DOWNLOAD.format(uri=source["S3Uri"], why="NoSuchKey: The object does not exist"))

    # --- training
    def train(self) -> str:
        """Run all hosts' containers to their end; return the limit that ended them, or an empty text. Raises Failed."""
        specification = self._job["AlgorithmSpecification"]
        if specification.get("AlgorithmName"):
            self._pretend(specification["AlgorithmName"])
            return ""
        image = self._pull(specification["TrainingImage"])
        codes: dict[str, int] = {}
        threads = [threading.Thread(target=self._run_host, args=(host, image, codes)) for host in self._hosts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._limit_reached:
            return "MaxRuntimeExceeded"
        failed = next((host for host in self._hosts if codes[host] != 0), None)
        if failed and not self.stopped:
            self.upload()
            raise Failed(f"AlgorithmError: {self._failure(failed)}, exit code: {codes[failed]}")
        return ""

    def _pretend(self, algorithm: str) -> None:
        """Simulate one of SageMaker's own algorithms, which cannot run here."""
        log = self._log(self._hosts[0])
        log.put(f"[simulated] {algorithm} is an algorithm of SageMaker's own; nothing was trained.")
        log.close()
        self.metrics = [{"MetricName": "train:simulated", "Value": 1.0, "Timestamp": int(time.time())}]

    def _pull(self, address: str) -> tuple[dict[str, Any], RunIn]:
        """Return an image's description, and a function that runs a command in it. Raises Failed."""
        try:
            self._iam.can_pull(self._job["RoleArn"], address)
            described = self._images.get(address)
            if described is not None:
                return described, partial(run_of, described)
            client = RegistryClient.of_role(self._cloud, self._job["RoleArn"], self._session)
            image = pulled(client, *in_own_registry(address))
        except (Denied, NoSuchImage) as error:
            raise Failed(_CANNOT_PULL.format(error)) from error
        if image is None:
            raise Failed(_CANNOT_PULL.format(address))
        return {"entrypoint": image.config.get("Entrypoint")}, partial(self._images.containers.run, image)

    def _run_host(self, host: str, image: tuple[dict[str, Any], RunIn], codes: dict[str, int]) -> None:
        log = self._log(host)
        described, run_in = image
        try:
            command = command_of(described, self._job["AlgorithmSpecification"])
            container = Container(run_in(command, self._environment(), self._folder / host))
        except (OSError, IndexError, subprocess.CalledProcessError) as error:
            log.put(f"exec failed: {getattr(error, 'stderr', '') or error}")
            codes[host] = 127
        else:
            threading.Thread(target=self._watch, args=(container,), daemon=True).start()
            codes[host] = container.wait(log.put)
        log.close()

    def _watch(self, container: Container) -> None:
        """Stop a container when the job is stopped or reaches its time limit."""
        deadline = time.monotonic() + self._job["StoppingCondition"].get("MaxRuntimeInSeconds", 86_400)
        while container.process.poll() is None:
            if time.monotonic() > deadline:
                self._limit_reached = True
            if self._limit_reached or self._stop.wait(0.02):
                container.stop()
                return

    def _environment(self) -> dict[str, str]:
        return {
            **self._cloud.credentials(self._job["RoleArn"], self._session),
            "AWS_ENDPOINT_URL": self._cloud.url,
            "AWS_REGION": REGION,
            **(self._job.get("Environment") or {}),
            "TRAINING_JOB_NAME": self._job["TrainingJobName"],
            "TRAINING_JOB_ARN": self._job["TrainingJobArn"],
        }

    def _failure(self, host: str) -> str:
        path = self._folder / host / "output/failure"
        return path.read_text(errors="replace")[:1024] if path.exists() else ""

    def _log(self, host: str) -> Log:
        stream = f"{self._job['TrainingJobName']}/{host}-{int(time.time())}"
        return log_stream(self._client("logs"), _LOG_GROUP, stream)

    # --- outputs
    @staticmethod
    def model_uri(job: dict[str, Any]) -> str:
        """Return the S3 URI of a job's model."""
        return f"{job['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job['TrainingJobName']}/output/model.tar.gz"

    def upload(self) -> None:
        """Upload the first host's model and output to S3. Raises Failed."""
        bucket, _, model_key = self.model_uri(self._job).removeprefix("s3://").partition("/")
        first = self._folder / self._hosts[0]
        for name, key in (("model", model_key), ("output", model_key.replace("model.tar.gz", "output.tar.gz"))):
            if name == "output" and not any(path.is_file() for path in (first / name).rglob("*")):
                continue
            archive = self._folder / f"{name}.tar.gz"
            with tarfile.open(archive, "w:gz") as packed:
                packed.add(first / name, arcname=".")
            try:
                self._client("s3").upload_file(str(archive), bucket, key)
            except Exception as error:
                raise Failed(f"ClientError: Artifact upload failed:{error}") from error
