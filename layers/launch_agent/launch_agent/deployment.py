"""Where this launch agent is deployed: account, region and partition, and the addresses that follow from them."""

import re
from typing import NamedTuple
from urllib.parse import quote

from launch_agent.model import Model


class _Partition(NamedTuple):
    region_prefix: str
    dns_suffix: str


_PARTITIONS = {
    "aws-cn": _Partition("cn-", "amazonaws.com.cn"),
    "aws-us-gov": _Partition("us-gov-", "amazonaws.com"),
    "aws-iso": _Partition("us-iso-", "c2s.ic.gov"),
    "aws-iso-b": _Partition("us-isob-", "sc2s.sgov.gov"),
    "aws-iso-e": _Partition("eu-isoe-", "cloud.adc-e.uk"),
    "aws-iso-f": _Partition("us-isof-", "csp.hci.ic.gov"),
    "aws-eusc": _Partition("eusc-", "amazonaws.eu"),
    "aws": _Partition("", "amazonaws.com"),
}
"""From botocore's `partitions.json`."""

_DUAL_STACK_SUFFIXES = ("on.aws", "on.amazonwebservices.com.cn")
_SUFFIXES = {partition.dns_suffix for partition in _PARTITIONS.values()}.union(_DUAL_STACK_SUFFIXES)
ECR_HOST = re.compile(
    r"(?<!\d)(?P<account>\d{12})\.dkr[.-]ecr(-fips)?\.(?P<region>[a-z0-9-]{1,40})\."
    rf"({'|'.join(re.escape(suffix) for suffix in sorted(_SUFFIXES, key=len, reverse=True))})(?![\w.-])"
)
"""The host of a private ECR registry in any partition, IPv4 or dual-stack
(https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-requests.html)."""


class EcrAddress(NamedTuple):
    """An address in Amazon ECR. `version` begins with the : of a tag or the @ of a digest, or is empty."""

    host: str
    account: str
    region: str
    repository: str
    version: str


def ecr_address(text: str) -> EcrAddress | None:
    """Split an image or repository address; return None if it is not in Amazon ECR."""
    host = ECR_HOST.match(text)
    if not host:
        return None
    path = text[host.end() :]
    repository = re.match(r"(?:/([^:@]*))?", path)
    rest = path[repository.end() :] if repository else path
    return EcrAddress(host[0], host["account"], host["region"], (repository and repository[1]) or "", rest)


def partition_of(region: str) -> str:
    """Return the partition that a region is in."""
    return next(name for name, partition in _PARTITIONS.items() if region.startswith(partition.region_prefix))


def ecr_host(account: str, region: str) -> str:
    """Return the host of an account's registry."""
    return f"{account}.dkr.ecr.{region}.{_PARTITIONS[partition_of(region)].dns_suffix}"


class Deployment(Model):
    """One deployed stack and its W&B server. The template sets the fields, or the options of a dry run."""

    account_id: str
    partition: str = "aws"
    region: str
    stack_name: str
    wandb_base_url: str
    image_repository: str = ""
    """The address of the repository for built images; empty if the stack builds no images."""
    run_api_key_secret: str = ""
    """The ARN of the secret with the W&B API key for containers; empty if they get the launch agent's."""
    run_secret_arns: str = ""
    """The ARNs of the secrets that queues can name in `Environment`, separated by commas."""

    def role_arn(self, role: str) -> str:
        """Return the ARN of a role, given its ARN or the name of a role of this account."""
        if role.startswith("arn:"):
            return role
        return f"arn:{self.partition}:iam::{self.account_id}:role/{role}"

    def training_job_arn(self, name: str) -> str:
        """Return the ARN of a training job."""
        return f"arn:{self.partition}:sagemaker:{self.region}:{self.account_id}:training-job/{name}"

    def console(self, path: str) -> str:
        """Return the address of a page of the AWS console in this region; `path` is for example `states/home#/...`."""
        hosts = {"aws-cn": "console.amazonaws.cn", "aws-us-gov": "console.amazonaws-us-gov.com"}
        return f"https://{self.region}.{hosts.get(self.partition, 'console.aws.amazon.com')}/{path}"

    def run_page(self, entity: str, project: str, run_id: str) -> str:
        """Return the address of a run in W&B."""
        base = self.wandb_base_url.rstrip("/")
        app = "https://wandb.ai" if base == "https://api.wandb.ai" else base
        return f"{app}/{quote(entity)}/{quote(project)}/runs/{quote(run_id)}"

    def training_job_page(self, name: str) -> str:
        """Return the address of a training job in the console."""
        return self.console(f"sagemaker/home?region={self.region}#/jobs/{name}")

    def training_logs_page(self, name: str) -> str:
        """Return the address of a training job's log streams in the console."""
        group = "$252Faws$252Fsagemaker$252FTrainingJobs"
        return self.console(
            f"cloudwatch/home?region={self.region}#logsV2:log-groups/log-group/{group}$3FlogStreamNameFilter$3D{name}$252F"
        )

    def execution_page(self, execution_arn: str) -> str:
        """Return the address of an execution in the console."""
        return self.console(f"states/home?region={self.region}#/v2/executions/details/{execution_arn}")
