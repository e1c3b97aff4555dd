"""A bucket that is missing, or in another region, is known before anything is built or trained."""

import pytest

from local.wandb.queues import ItemState
from tests.simulation.dynamodb import Refused
from tests.simulation.faults import NoFaults
from tests.simulation.world import DAY, JOB, World, world

OUTPUT, INPUT = "my-bucket", "my-data"
INPUTS = [
    {"ChannelName": "train", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{INPUT}/x"}}}
]


def said(made: World, job: str | None = None) -> str:
    """Queue a run that is refused for its buckets; return what its item says."""
    item = made.push(job=job, resource_args={"sagemaker": {"InputDataConfig": INPUTS}})
    assert made.run_until_idle(within=DAY), made.check().everything
    assert made.check().everything == []
    assert (item.state, made.jobs(item), made.builds.builds) == (ItemState.FAILED, [], {})
    assert item.error
    return str(item.error["message"])


@pytest.mark.parametrize("job", [None, JOB], ids=["image", "code"])
def test_a_run_whose_output_bucket_is_missing_builds_and_trains_nothing(job: str | None) -> None:
    with world(2, NoFaults()) as made:
        made.buckets[OUTPUT] = Refused("NotFound")
        words = said(made, job)
        assert 'OutputDataConfig.S3OutputPath is "s3://my-bucket/output", and there is no bucket my-bucket.' in words
        assert words.startswith('InvalidRunSpec: The run spec from queue "sagemaker" cannot be launched:')


def test_every_bucket_that_is_elsewhere_is_named_also_where_it_may_not_be_used() -> None:
    with world(2, NoFaults()) as made:
        made.buckets = {OUTPUT: "eu-west-1", INPUT: Refused("Forbidden", region="ap-northeast-1")}
        words = said(made)
        assert "the bucket my-bucket is in eu-west-1" in words
        assert (
            'InputDataConfig[0].DataSource.S3DataSource.S3Uri is "s3://my-data/x", and the bucket my-data is in'
            in words
        )


def test_a_bucket_that_cannot_be_looked_at_is_no_fault() -> None:
    with world(2, NoFaults()) as made:
        made.buckets[OUTPUT] = Refused("Forbidden")
        item = made.push()
        assert made.run_until_idle()
        assert (made.verdicts(), item.error) == ({"finished": 1}, None)
        assert made.check().everything == []


def test_a_bucket_is_looked_at_once_for_each_run() -> None:
    faults = NoFaults()
    with world(2, faults) as made:
        channels = [{**INPUTS[0], "ChannelName": name} for name in ("train", "test")]
        made.push(resource_args={"sagemaker": {"InputDataConfig": channels}})
        assert made.run_until_idle()
        assert sum(count for site, count in faults.seen.items() if site.operation == "HeadBucket") == 2
