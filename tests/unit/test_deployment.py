"""AWS's partitions: the recognized registries, and the partition of a region."""

import json
import re
from pathlib import Path
from typing import Any

import botocore
import pytest

from launch_agent.deployment import ECR_HOST, Deployment, EcrAddress, ecr_address, ecr_host, partition_of

PARTITIONS = json.loads((Path(botocore.__file__).parent / "data" / "partitions.json").read_text())["partitions"]
REGIONS = [(partition, region) for partition in PARTITIONS for region in partition["regions"] if "global" not in region]


@pytest.mark.parametrize(("partition", "region"), REGIONS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_region_that_botocore_knows_has_its_partition_and_its_registry(partition: Any, region: str) -> None:
    host = f"123456789012.dkr.ecr.{region}.{partition['outputs']['dnsSuffix']}"
    assert partition_of(region) == partition["id"]
    assert ecr_host("123456789012", region) == host
    assert ecr_address(f"{host}/team/train:v1") == EcrAddress(host, "123456789012", region, "team/train", ":v1")


@pytest.mark.parametrize(
    "host",
    [
        "123456789012.dkr-ecr.us-east-1.on.aws",
        "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
        "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
    ],
)
def test_dual_stack_and_fips_registries_are_recognized(host: str) -> None:
    found = ecr_address(f"{host}/train@sha256:{'0' * 64}")
    assert found
    assert (found.host, found.repository, found.version[:8]) == (host, "train", "@sha256:")


@pytest.mark.parametrize(
    "address",
    [
        "docker.io/library/train",
        "public.ecr.aws/team/train",
        "123456789012.ecr.us-east-1.amazonaws.com/train",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example/train",
        "evil-123456789012.dkr.ecr.us-east-1.amazonaws.com/train",
        "1123456789012.dkr.ecr.us-east-1.amazonaws.com/train",
    ],
)
def test_what_only_looks_like_a_private_registry_is_none(address: str) -> None:
    assert ecr_address(address) is None


def test_a_registry_is_found_within_a_text_too() -> None:
    text = "FROM 123456789012.dkr.ecr.us-east-1.amazonaws.com/base:1 AS base"
    assert [found[0] for found in ECR_HOST.finditer(text)] == ["123456789012.dkr.ecr.us-east-1.amazonaws.com"]
    assert ECR_HOST.search(text.replace("1234", "91234")) is None


def test_a_long_text_without_a_registry_is_read_once() -> None:
    """With this length, a search that is not linear would not end."""
    for piece in ("1", "123456789012.dkr.ecr.", "123456789012.dkr.ecr.aaaa"):
        assert ECR_HOST.search(piece * (1_000_000 // len(piece))) is None


def test_a_role_by_name_is_one_of_the_account_and_partition() -> None:
    deployment = Deployment(
        account_id="1", partition="aws-cn", region="cn-north-1", stack_name="s", wandb_base_url="https://w"
    )
    assert deployment.role_arn("Training") == "arn:aws-cn:iam::1:role/Training"
    assert deployment.role_arn("arn:aws:iam::2:role/Other") == "arn:aws:iam::2:role/Other"
    assert re.match(r"https://cn-north-1\.console\.amazonaws\.cn/", deployment.training_job_page("x"))
