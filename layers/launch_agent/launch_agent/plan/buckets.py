"""The S3 buckets of a training job: each has to be there, in the job's own region.

The job would be refused, or fail when its training has been paid for
(https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_S3DataSource.html).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from launch_agent.model import shown

_BUCKET = re.compile(r"s3://([A-Za-z0-9._-]{3,255})(/|$)")
_WRITTEN = (("OutputDataConfig", "S3OutputPath"), ("CheckpointConfig", "S3Uri"))


class Unplaced(StrEnum):
    """What is known of a bucket without a region."""

    NOT_THERE = "not there"
    HIDDEN = "hidden"


class Place(NamedTuple):
    """A bucket that a request names, and where."""

    key: str
    uri: str
    bucket: str


def bucket_faults(request: Mapping[str, Any], region: str, find: Callable[[str], str | Unplaced]) -> Iterator[str]:
    """Say what is wrong with the buckets of a CreateTrainingJob request; `find` returns the region of one."""
    found: dict[str, str | Unplaced] = {}
    for place in _places(request):
        if place.bucket not in found:
            found[place.bucket] = find(place.bucket)
        where, said = found[place.bucket], f'{place.key} is "{shown(place.uri)}", and'
        if where is Unplaced.NOT_THERE:
            yield f"{said} there is no bucket {place.bucket}. Create it in {region}, or name one that is there."
        elif where not in (region, Unplaced.HIDDEN):
            yield (
                f"{said} the bucket {place.bucket} is in {where}. SageMaker uses buckets of its own region only. Name "
                f"one in {region}."
            )


def _places(request: Mapping[str, Any]) -> Iterator[Place]:
    uris = {f"{block}.{key}": request.get(block, {}).get(key) for block, key in _WRITTEN}
    for number, channel in enumerate(request.get("InputDataConfig", [])):
        source = channel.get("DataSource", {}).get("S3DataSource", {})
        uris[f"InputDataConfig[{number}].DataSource.S3DataSource.S3Uri"] = source.get("S3Uri")
    for key, uri in uris.items():
        named = _BUCKET.match(uri or "")
        if named:
            yield Place(key, uri, named[1])
